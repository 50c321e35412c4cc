from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.wire.gate import ProtocolError
from lockgate.wire.postgresql import frames
from tests.support.playbook import bind, fields


def test_a_message_has_a_length_that_counts_itself() -> None:
    assert frames.frame(b"Q", b"x\0") == b"Q\0\0\0\6x\0"
    assert frames.ready_for_query(ord("I")) == b"Z\0\0\0\5I"


@given(st.dictionaries(st.text(min_size=1).filter(lambda t: "\0" not in t), st.text().filter(lambda t: "\0" not in t)))
def test_start_up_parameters_survive(parameters: dict[str, str]) -> None:
    packet = frames.startup(parameters)
    assert int.from_bytes(packet[:4], "big") == len(packet)
    assert frames.parse_startup(packet[8:]) == parameters


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not terminated"),
        (b"user\0ann", "not terminated"),
        (b"user\0", "pairs"),
        (b"user\0ann\0", "pairs"),
        (b"user\0ann\0database\0\0", "pairs"),
        (b"user\0ann\0user\0bob\0\0", "given twice"),
        (b"\0\0\0", "empty"),
        (b"user\0ann\0\0more\0", "pairs"),
        (b"user\0\xff\0\0", "UTF-8"),
    ],
)
def test_broken_start_up_packets(body: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        frames.parse_startup(body)


@given(st.binary(max_size=60))
def test_no_start_up_packet_raises_anything_else(body: bytes) -> None:
    try:
        parameters = frames.parse_startup(body)
    except ProtocolError:
        return
    assert frames.startup(parameters)[8:] == body


def test_negotiation_names_the_whole_version() -> None:
    """libpq 18 takes a bare minor version for "pre-3.0" and gives up."""
    assert frames.negotiate_protocol_version(["_pq_.x"]) == frames.frame(b"v", b"\0\3\0\0\0\0\0\1_pq_.x\0")


def test_the_columns_of_a_row_description() -> None:
    payload = struct.pack("!h", 2) + b"id\0" + struct.pack("!IhIhih", 4_000_000_000, 1, 23, 4, -1, 0)
    payload += b"mail\xc3\0" + struct.pack("!IhIhih", 0, 0, 1043, -1, 24, 1)
    assert frames.parse_fields(payload) == (
        frames.Field("id", 4_000_000_000, 1, 23, 0, -1),
        frames.Field("mail�", 0, 0, 1043, 1, 24),
    )


def test_descriptions_are_remembered_up_to_a_length() -> None:
    short, long = fields("a")[5:], fields(*("a" for _ in range(300)))[5:]
    assert len(long) > frames.KNOWN_BYTES
    assert frames.parse_fields(short) is frames.parse_fields(fields("a")[5:])
    assert frames.parse_fields(long) is not frames.parse_fields(long)


@given(st.integers(0, 40))
def test_a_row_description_that_ends_early(cut: int) -> None:
    payload = fields("a", "b")[5:]
    with pytest.raises(ProtocolError):
        frames.parse_fields(payload[: min(cut, len(payload) - 1)])


def test_a_row_description_that_goes_on() -> None:
    with pytest.raises(ProtocolError, match="left over"):
        frames.parse_fields(fields("a")[5:] + b"\0")


@given(st.lists(st.none() | st.binary(max_size=9), max_size=5))
def test_the_values_of_a_bind(values: list[bytes | None]) -> None:
    message = bind("", "", *values)
    assert frames.parse_parameters(message, 7) == (b"", values)


@given(st.binary(max_size=40))
def test_no_bind_raises_anything_else(payload: bytes) -> None:
    try:
        codes, values = frames.parse_parameters(payload, 0)
    except ProtocolError:
        return
    assert len(codes) % 2 == 0
    assert sum(len(v or b"") for v in values) <= len(payload)


@pytest.mark.parametrize(
    "payload",
    [b"\xff\xff\0\0\0\0", b"\0\0\0\1\xff\xff\xff\xfe\0\0", b"\0\0\0\1\x7f\xff\xff\xff\0\0", b"\0\0\0\0\0\0\0"],
)
def test_lengths_that_make_no_sense_in_a_bind(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        frames.parse_parameters(payload, 0)


def test_a_string_without_its_end() -> None:
    assert frames.cstring(b"ab\0c", 0) == (b"ab", 3)
    with pytest.raises(ProtocolError):
        frames.cstring(b"ab", 0)
    assert frames.parse_error(b"SERROR\0C42501\0\0") == {"S": "ERROR", "C": "42501"}
    assert frames.parse_parameters(bind("p", "s", b"1"), 5 + 4)[1] == [b"1"]
