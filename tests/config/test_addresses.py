"""Addresses as the configuration writes them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.config.addresses import check_endpoint, check_url, is_host_name, split_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:5432", "127.0.0.1", 5432),
        ("10.0.0.0/8:5432", "10.0.0.0/8", 5432),
        ("*:65535", "*", 65535),
        ("[::1]:1", "::1", 1),
        ("[fd00::/8]:5432", "fd00::/8", 5432),
        ("[::ffff:10.0.0.1]:5432", "::ffff:10.0.0.1", 5432),
        ("db:5432", "db", 5432),
        ("db-1.shop_eu.example.com:5432", "db-1.shop_eu.example.com", 5432),
        ("3com.com:5432", "3com.com", 5432),
        ("db:05432", "db", 5432),
    ],
)
def test_an_address_is_split(text: str, host: str, port: int) -> None:
    assert split_address(text) == (host, port)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "HOST:PORT"),
        ("db", "HOST:PORT"),
        (":5432", "HOST:PORT"),
        ("db:", "is not a port"),
        ("db:0", "is not a port"),
        ("db:65536", "is not a port"),
        ("db:-1", "is not a port"),
        ("db:+1", "is not a port"),
        ("db:1e3", "is not a port"),
        ("db: 5432", "is not a port"),
        ("db:٥٤٣٢", "is not a port"),
        ("db:" + "9" * 5000, "is not a port"),
        ("::1:5432", r"\[ADDRESS\]:PORT"),
        ("fd00::/8:5432", r"\[ADDRESS\]:PORT"),
        ("[db]:5432", r"\[ADDRESS\]:PORT"),
        ("[127.0.0.1]:5432", r"\[ADDRESS\]:PORT"),
        ("[::1:5432", r"\[ADDRESS\]:PORT"),
        ("[fe80::1%eth0]:5432", "zone"),
        ("[::g]:5432", "::g"),
        ("10.0.0.1/8:5432", "host bits set"),
        ("10.0.0.0/33:5432", "10.0.0.0/33"),
        ("10.0.0.0/:5432", "10.0.0.0/"),
        # what inet_aton(3) takes for an address, or might: 127.0.0.1 in other words
        ("127.1:5432", "127.1"),
        ("0177.0.0.1:5432", "0177"),
        ("2130706433:5432", "2130706433"),
        ("0x7f.1:5432", "0x7f.1"),
        ("999.1.1.1:5432", "999.1.1.1"),
        ("db..example:5432", "neither an address nor a host name"),
        ("-db:5432", "neither an address nor a host name"),
        ("db-:5432", "neither an address nor a host name"),
        ("db example:5432", "neither an address nor a host name"),
        ("db\n:5432", "neither an address nor a host name"),
        ("*.example.com:5432", "neither an address nor a host name"),
        ("a" * 64 + ":5432", "neither an address nor a host name"),
        (".".join(["a" * 60] * 5) + ":5432", "neither an address nor a host name"),
        ("münchen:5432", "neither an address nor a host name"),
    ],
)
def test_what_is_no_address_is_refused(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        split_address(text)


@given(st.text())
def test_any_text_is_split_or_refused(text: str) -> None:
    try:
        host, port = split_address(text)
    except ValueError:
        return
    assert host
    assert 1 <= port <= 65535


@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_address_there_is_can_be_written(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    text = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
    assert split_address(text) == (str(address), port)


@pytest.mark.parametrize("text", ["127.0.0.1:9464", "[::1]:9464", "localhost:9464", "0.0.0.0:9464"])
def test_an_endpoint_is_one_address(text: str) -> None:
    check_endpoint(text)


@pytest.mark.parametrize("text", ["*:9464", "10.0.0.0/8:9464", "[fd00::/8]:9464", "9464", "unix:/run/x"])
def test_an_endpoint_is_no_more_than_one(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        check_endpoint(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8080",
        "https://collector.example.com",
        "http://[::1]:8080",
        "http://[::1]/",
        "https://c/lockgate",
    ],
)
def test_a_url_of_the_collector(text: str) -> None:
    check_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:8080",
        "localhost:8080",
        "ftp://c/",
        "file:///etc/passwd",
        "http://",
        "http://:8080",
        "http://c:0",
        "http://c:x",
        "http://*:8080",
        "http://[::1:8080",
        "http://c/?a=b",
        "http://c/#a",
        "http://c/ x",
        "http://c\n/",
    ],
)
def test_what_is_no_url_of_the_collector(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        check_url(text)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="name or password") as caught:
        check_url("http://ann:hunter2@collector:8080")
    assert "hunter2" not in str(caught.value)


@given(st.text() | st.text().map("http://{}".format))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        check_url(text)
    except ValueError:
        return
    assert text.lower().startswith("http")


@pytest.mark.parametrize("text", ["db", "db.internal", "a_b", "xn--bcher-kva.de", "1.db", "a" * 63])
def test_a_name_that_a_host_could_have(text: str) -> None:
    assert is_host_name(text)


@pytest.mark.parametrize(
    "text", ["", "*.db", "10.0.0.5", "1", "0x7f", "a b", "a..b", "-a", "a" * 64, "::1", "a." * 127 + "aa"]
)
def test_a_name_that_none_has(text: str) -> None:
    assert not is_host_name(text)
