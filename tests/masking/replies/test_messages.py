"""Messages, by the channel that they came on: whole, at places in what is JSON, and what detectors find."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.masking import MaskerError, RootKey, Unmaskable
from lockgate.masking.replies import MessageMasker, NameMask, plan_message
from lockgate.values.selector import parse_name
from tests.masking.replies.server import Client

KEYS = RootKey(bytes(32)).keys("cache")
MAIL = b"ann@example.org"
EVENT = b'{"user": {"email": "%b", "name": "Ann"}, "n": 1}' % MAIL
DETECTORS = {"email": "partial", "card": "redact"}


def masked(name: str, masker: str = "redact") -> NameMask:
    return NameMask(parse_name(name), masker)


WHOLE, PLACE = masked("&news:*"), masked("&events:*#$.user.email", "partial")


def plan(channel: str, *masks: NameMask, detectors: dict[str, str] | None = None) -> MessageMasker | None:
    return plan_message(channel.encode(), masks, keys=KEYS, detectors=detectors or {})


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


def message(channel: str, text: bytes, kind: bytes = b"*", pattern: str | None = None, word: str = "message") -> bytes:
    names = [channel] if pattern is None else [pattern, channel]
    parts = [("p" if pattern is not None else "") + word, *names]
    return b"%b%d\r\n" % (kind, len(parts) + 1) + b"".join(bulk(part.encode()) for part in parts) + bulk(text)


def shown(push: bytes, *masks: NameMask, channel: str = "news:1", resp3: bool = False) -> bytes:
    found = plan(channel, *masks)
    assert found is not None
    return found.mask(push, resp3=resp3)[0]


def test_where_nothing_is_masked_messages_pass() -> None:
    assert plan("news:1") is None
    assert plan("other", WHOLE, PLACE) is None
    assert plan("news:1", masked("news:*"), masked("*")) is None, "patterns of keys"
    with pytest.raises(MaskerError):
        plan("news:1", masked("&news:*", "blur"))


@pytest.mark.parametrize("kind", [b"*", b">"])
@pytest.mark.parametrize("pattern", [None, "n*"])
def test_a_message_is_masked_whole_and_its_names_are_kept(kind: bytes, pattern: str | None) -> None:
    for text in (MAIL, b"", b"\xff\0\r\n", EVENT):
        found = plan("news:1", WHOLE)
        assert found is not None
        assert found.mask(message("news:1", text, kind, pattern)) == (message("news:1", b"***", kind, pattern), 1, {})
    sharded = message("news:1", MAIL, kind, word="smessage")
    assert shown(sharded, WHOLE) == message("news:1", b"***", kind, word="smessage")


def test_maskers_are_those_of_values() -> None:
    for masker, expected in (("partial", b"a***@e***.org"), ("truncate:3", b"ann"), ("veil", b"***")):
        assert shown(message("news:1", MAIL), masked("&news:*", masker)) == message("news:1", expected)
    hashed = shown(message("news:1", MAIL), masked("&news:*", "hash"))
    assert MAIL not in hashed
    assert hashed == shown(message("news:1", MAIL), masked("&news:*", "hash"))
    nothing = masked("&news:*", "null")
    assert shown(message("news:1", MAIL), nothing).endswith(b"$-1\r\n")
    assert shown(message("news:1", MAIL), nothing, resp3=True).endswith(b"_\r\n")
    assert shown(message("news:1", MAIL, b">"), nothing).endswith(b"_\r\n")


def test_of_several_the_strictest_counts() -> None:
    mild, strict = masked("&*", "partial"), masked("&news:*", "redact")
    for masks in ((mild, strict), (strict, mild)):
        assert shown(message("news:1", MAIL), *masks) == message("news:1", b"***")
    assert shown(message("x", MAIL), mild, strict, channel="x") == message("x", b"a***@e***.org")
    # a place in it is no more than the whole
    together = shown(message("events:1", EVENT), PLACE, masked("&events:*"), channel="events:1")
    assert together == message("events:1", b"***")


def test_a_place_in_a_message_that_is_json() -> None:
    found = plan("events:1", PLACE)
    assert found is not None
    hidden = EVENT.replace(MAIL, b"a***@e***.org")
    assert found.mask(message("events:1", EVENT)) == (message("events:1", hidden), 1, {})
    elsewhere = b'{"user": {"name": "Ann"}}'
    assert found.mask(message("events:1", elsewhere)) == (message("events:1", elsewhere), 0, {})


@pytest.mark.parametrize(
    "text",
    [
        MAIL,
        b"",
        EVENT[:-1],
        EVENT + b",",
        b"\xff" + EVENT,
        b"\xef\xbb\xbf" + EVENT,
        EVENT + EVENT,
        EVENT.replace(b'"n"', b"n"),
        b"[" * 200 + b"]" * 200,
    ],
)
def test_what_is_no_json_may_hold_anything(text: bytes) -> None:
    assert shown(message("events:1", text), PLACE, channel="events:1") == message("events:1", b"***")


def test_a_name_that_is_written_otherwise_or_twice_is_the_same_place() -> None:
    for text in (
        rb'{"us\u0065r": {"em\u0061il": "ann@example.org"}}',
        b'{"user": {"email": "ann@example.org", "email": "ann@example.org"}}',
    ):
        assert b"ann@" not in shown(message("events:1", text), PLACE, channel="events:1")


def test_detectors_look_through_what_is_left_and_not_at_names() -> None:
    name = MAIL.decode()
    found = plan(name, detectors=DETECTORS)
    assert found is not None
    assert found.mask(message(name, b"by " + MAIL)) == (message(name, b"by a***@e***.org"), 0, {"email": 1})
    by_pattern = message(name, MAIL, b">", pattern=name)
    assert found.mask(by_pattern)[0] == message(name, b"a***@e***.org", b">", pattern=name)
    for plain in (message("c", b"plain"), b"not even a message"):
        assert found.mask(plain) == (plain, 0, {}), "without a hint it isn't read"
    both = plan("events:1", PLACE, detectors=DETECTORS)
    assert both is not None
    text = EVENT.replace(b"Ann", b"4111111111111111")
    _, cells, kinds = both.mask(message("events:1", text))
    assert (cells, kinds) == (1, {"card": 1})
    assert b"4111" not in both.mask(message("events:1", text))[0]


@pytest.mark.parametrize(
    "sent",
    [
        b"*3\r\n$7\r\nmessage\r\n$6\r\nnews:1\r\n",
        b"*2\r\n$7\r\nmessage\r\n$6\r\nnews:1\r\n",
        b"*4\r\n$7\r\nmessage\r\n$6\r\nnews:1\r\n$1\r\nx\r\n$6\r\ns3cret\r\n",
        b"*3\r\n$8\r\npmessage\r\n$1\r\n*\r\n$6\r\nnews:1\r\n",
        b"*3\r\n$5\r\nother\r\n$6\r\nnews:1\r\n$6\r\ns3cret\r\n",
        b"|1\r\n+a\r\n+b\r\n>3\r\n$7\r\nmessage\r\n$6\r\nnews:1\r\n$6\r\ns3cret\r\n",
        b">3\r\n$7\r\nmessage\r\n$6\r\nnews:1\r\n|1\r\n+s3cret\r\n+b\r\n$1\r\nx\r\n",
        b"*3\r\n$7\r\nmessage\r\n$6\r\nnews:1\r\n*1\r\n*1\r\n$6\r\ns3cret\r\n",
        b"$6\r\ns3cret\r\n",
        b":1\r\n",
        b"*0\r\n",
    ],
)
def test_what_is_no_message_is_not_shown(sent: bytes) -> None:
    with pytest.raises(Unmaskable):
        shown(sent, WHOLE)


def test_whatever_a_message_holds_in_place_of_a_string_is_hidden() -> None:
    front = b">3\r\n$7\r\nmessage\r\n$6\r\nnews:1\r\n"
    for value in (b"+s3cret\r\n", b"=10\r\ntxt:s3cret\r\n", b"$?\r\n;3\r\ns3c\r\n;3\r\nret\r\n;0\r\n", b":42424242\r\n",
                  b",42424242.5\r\n", b"*2\r\n$6\r\ns3cret\r\n:42424242\r\n", b"-ERR s3cret\r\n"):  # fmt: skip
        found = shown(front + value, WHOLE)
        assert b"s3c" not in found
        assert b"4242" not in found


@given(st.binary(max_size=60), st.sampled_from([b"*", b">"]), st.booleans())
def test_no_message_shows_through_its_mask(text: bytes, kind: bytes, by_pattern: bool) -> None:
    pattern = "n*" if by_pattern else None
    assert shown(message("news:1", text, kind, pattern), WHOLE) == message("news:1", b"***", kind, pattern)


def test_it_is_what_a_server_says(client: Client) -> None:
    client.ask("SUBSCRIBE", "news:1")
    kind = b">" if client.resp3 else b"*"
    found = plan("news:1", WHOLE)
    assert found is not None
    confirmation = kind + b"3\r\n$9\r\nsubscribe\r\n$6\r\nnews:1\r\n:1\r\n"
    with pytest.raises(Unmaskable, match="no message"):
        found.mask(confirmation)
