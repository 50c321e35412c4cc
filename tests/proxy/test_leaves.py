"""What clients are shown: a leaf for each destination and name, minted in time, never kept without bound."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest

from lockgate.identity.authority import LEAF_LIFE, Authority
from lockgate.proxy import leaves as module
from lockgate.proxy.leaves import MARGIN, Leaves
from lockgate.proxy.tls import Tls, TlsError


class Now:
    def __init__(self) -> None:
        self.now = datetime.datetime.now(datetime.UTC)

    def __call__(self) -> datetime.datetime:
        return self.now


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def authority(tmp_path: Path, now: Now) -> Authority:
    return Authority.load_or_create(tmp_path / "state", "host-1", now)


def shake(authority: Authority, context: ssl.SSLContext, asked: str, verified: str | None = None) -> None:
    """A client's handshake that asks for, and verifies, a name or an address. Raises what the client makes of it."""
    trusting = ssl.create_default_context(cadata=authority.pem.decode())
    trusting.check_hostname = verified is None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(incoming, outgoing, server_hostname=asked)
    server = Tls(context)
    for _ in range(4):
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            server.receive(memoryview(outgoing.read()))
            incoming.write(server.take())
        else:
            return
    raise AssertionError("the handshake does not end")


@pytest.mark.parametrize(
    "asked", ["10.0.0.5", "db.internal", "other.internal", "DB.internal", "a_b", "xn--bcher-kva.de"]
)
def test_a_client_can_verify_what_it_dialled_by_any_name(authority: Authority, asked: str) -> None:
    shake(authority, Leaves(authority).context("10.0.0.5", ("db.internal",)), asked)


def test_and_no_other_address(authority: Authority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        shake(authority, Leaves(authority).context("10.0.0.5", ("db.internal",)), "10.0.0.6")


def test_one_leaf_serves_a_destination_until_a_day_before_its_end(authority: Authority, now: Now) -> None:
    leaves = Leaves(authority, now)
    first = leaves.context("10.0.0.5", ())
    now.now += LEAF_LIFE - MARGIN - datetime.timedelta(seconds=5)
    assert leaves.context("10.0.0.5", ()) is first
    now.now += datetime.timedelta(seconds=10)
    assert leaves.context("10.0.0.5", ()) is not first
    assert len(leaves) == 1


@pytest.mark.parametrize(
    "name",
    [
        b"*.internal", b"..", b"-a", b"a b", b"a/b", b"x" * 64, b".".join([b"a" * 60] * 5)[:254], b"10.0.0.7", b"a\nb",
        b"'; DROP", b"::1",
    ],
)  # fmt: skip
def test_a_name_that_no_host_has_is_not_certified(authority: Authority, name: bytes) -> None:
    leaves = Leaves(authority)
    server = Tls(leaves.context("10.0.0.5", ()))
    with pytest.raises(TlsError):
        server.receive(memoryview(hello(name)))
    assert server.take()[:1] == b"\x15"
    assert len(leaves) == 1


@pytest.mark.parametrize("name", [b"a\0.internal", b"x" * 300, b""])
def test_a_name_that_is_none_is_refused_by_openssl(authority: Authority, name: bytes) -> None:
    leaves = Leaves(authority)
    with pytest.raises(TlsError):
        Tls(leaves.context("10.0.0.5", ())).receive(memoryview(hello(name)))
    assert len(leaves) == 1


def hello(name: bytes) -> bytes:
    """A TLS 1.2 ClientHello that asks for `name`, whatever it is made of (RFC 6066, section 3)."""

    def sized(data: bytes, width: int = 2) -> bytes:
        return len(data).to_bytes(width, "big") + data

    extensions = (
        b"\0\0" + sized(sized(b"\0" + sized(name)))
        + b"\0\x0a" + sized(sized(b"\0\x17")) + b"\0\x0d" + sized(sized(b"\x04\x03"))
    )  # fmt: skip
    body = b"\x03\x03" + bytes(32) + b"\0" + sized(b"\xc0\x2b") + b"\x01\0" + sized(extensions)
    return b"\x16\x03\x01" + sized(b"\x01" + sized(body, 3))


def test_no_number_of_names_makes_it_keep_more(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAVES", 3)
    leaves = Leaves(authority)
    mine = leaves.context("10.0.0.5", ())
    for number in range(20):
        assert leaves.context("10.0.0.5", ()) is mine  # what is in use stays
        Tls(mine).receive(memoryview(hello(b"name-%d" % number)))
        assert len(leaves) <= 3


def test_a_name_of_bytes_that_are_no_text_is_told_in_one_line(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python can't hand such a name on, and says so on the side."""
    import sys

    aside: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: aside.append(type(told.exc_value)))
    with pytest.raises(TlsError):
        Tls(Leaves(authority).context("10.0.0.5", ())).receive(memoryview(hello(b"\xff\xfe")))
    assert aside == [UnicodeDecodeError]
