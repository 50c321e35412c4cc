"""Refusals are one line of Redis's, whatever stands in them."""

from __future__ import annotations

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.wire.gate import Refusal, Why
from lockgate.wire.redis import errors


@pytest.mark.parametrize(
    ("refusal", "reply"),
    [
        (Refusal(Why.DENIED, "lockgate: not you"), b"-NOPERM lockgate: not you\r\n"),
        (Refusal(Why.DENIED, "lockgate: not you", "policy p", "Ask ann."),
         b"-NOPERM lockgate: not you (policy p) Ask ann.\r\n"),
        (Refusal(Why.NO_ROLE, "lockgate: who?"), b"-NOPERM lockgate: who?\r\n"),
        (Refusal(Why.UNRECORDED, "lockgate: full"), b"-MISCONF lockgate: full\r\n"),
        (Refusal(Why.FAILED, "lockgate: failed"), b"-ERR lockgate: failed\r\n"),
        (Refusal(Why.DENIED, "a\r\n+OK\r\n\x00\x7f\x85\u2028b"), b"-NOPERM a  +OK      b\r\n"),
        (Refusal(Why.DENIED, "caf\u00e9 \ud800"), "-NOPERM café  \r\n".encode()),
    ],
)  # fmt: skip
def test_a_refusal(refusal: Refusal, reply: bytes) -> None:
    assert errors.error_reply(refusal) == reply


@given(code=st.sampled_from(Why), message=st.text(), detail=st.none() | st.text(), hint=st.none() | st.text())
def test_nothing_in_a_refusal_ends_the_line(code: Why, message: str, detail: str | None, hint: str | None) -> None:
    reply = errors.error_reply(Refusal(code, message, detail, hint))
    assert reply.count(b"\r") == reply.count(b"\n") == 1
    reader = hiredis.Reader()
    reader.feed(reply)
    assert isinstance(reader.gets(), hiredis.ReplyError)
    assert not reader.has_data()


def test_a_refusal_is_not_longer_than_a_line_may_be() -> None:
    assert len(errors.error_reply(Refusal(Why.DENIED, "x" * 10_000))) < 1100


@pytest.mark.parametrize(
    ("reply", "text", "code"),
    [
        (b"-ERR no\r\n", b"ERR no", "ERR"),
        (b"-WRONGTYPE\r\n", b"WRONGTYPE", "WRONGTYPE"),
        (b"!9\r\nNOAUTH no\r\n", b"NOAUTH no", "NOAUTH"),
        (b"-no such\r\n", b"no such", "ERR"),
        (b"-Err x\r\n", b"Err x", "ERR"),
        (b"-" + b"X" * 99 + b"\r\n", b"X" * 99, "ERR"),
    ],
)
def test_what_an_error_says(reply: bytes, text: bytes, code: str) -> None:
    assert errors.text_of(reply) == text
    assert errors.code_of(text) == code


def test_what_is_no_error_says_nothing() -> None:
    assert errors.text_of(b"+OK\r\n") is None
