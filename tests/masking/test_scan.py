from __future__ import annotations

import json
import struct
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.masking import RootKey, _rows, build_plan, mask_rows, rows
from lockgate.masking.detectors import CANDIDATES, KINDS
from lockgate.masking.plan import Plan
from lockgate.masking.scan import Watch, hints_of, watch
from lockgate.masking.types import BYTEA, FIRST_OF_USERS, INT4, JSON, JSONB, RECORD, TEXT, TSVECTOR, UUID, VARCHAR, XML

KEYS = RootKey(bytes(32)).keys("orders")
ALL = dict.fromkeys(KINDS, "redact")
CARD = b"4111 1111 1111 1111"


@dataclass(frozen=True)
class Field:
    type_oid: int = TEXT
    format: int = 0
    name: str = "c"
    table_oid: int = 0
    column_number: int = 0
    type_modifier: int = -1


def row(*values: bytes | None) -> bytes:
    body = struct.pack("!H", len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return b"D" + struct.pack("!I", 4 + len(body)) + body


def plan_of(
    fields: list[Field], detectors: dict[str, str] = ALL, maskers: list[str | None] | None = None, *, utf8: bool = True
) -> Plan:
    return build_plan(fields, maskers or [None] * len(fields), keys=KEYS, detectors=detectors, utf8=utf8)


def shown(value: bytes, field: Field = Field(), detectors: dict[str, str] = ALL) -> tuple[bytes | None, dict[str, int]]:
    """One value through everything that stands before a client."""
    data = row(b"before", value, None)
    out, reached, count, _, found = mask_rows(data, 0, len(data), plan_of([Field(), field, Field()], detectors))
    assert (reached, count) == (len(data), 1)
    size = struct.unpack_from("!i", out, 7 + 4 + 6)[0]
    text = None if size < 0 else out[21 : 21 + size]
    assert out == row(b"before", text, None)
    return text, dict(found)


def test_what_is_found_is_replaced_and_counted_by_kind() -> None:
    value = b"ann@example.org paid with 4111 1111 1111 1111 and 5555-5555-5555-4444"
    assert shown(value) == (b"*** paid with *** and ***", {"email": 1, "card": 2})


def test_each_kind_has_its_masker() -> None:
    detectors = {"email": "partial", "card": "partial", "us_ssn": "redact", "phone": "tokenise", "jwt": "null"}
    text, found = shown(b"ann@example.org|4111 1111 1111 1111|078-05-1120|+49 171 1234567", detectors=detectors)
    assert text is not None
    mail, card, ssn, phone = text.split(b"|")
    assert (mail, card, ssn) == (b"a***@e***.org", b"**** **** **** 1111", b"***")
    assert len(phone) == 15
    assert phone != b"+49 171 1234567"
    assert found == {"email": 1, "card": 1, "us_ssn": 1, "phone": 1}


def test_only_what_policy_named_is_looked_for() -> None:
    assert shown(b"ann@example.org 078-05-1120", detectors={"us_ssn": "redact"}) == (
        b"ann@example.org ***",
        {"us_ssn": 1},
    )


def test_what_a_mask_would_make_longer_is_redacted() -> None:
    """The column's declared width holds what stood there and no more."""
    assert shown(b"a@b.co", detectors={"email": "partial"})[0] == b"***"
    assert shown(b"078-05-1120", detectors={"us_ssn": "hash"})[0] == b"***"


def test_what_overlaps_is_one_and_hidden_whole() -> None:
    both = {"email": "partial", "cloud_key": "partial"}
    assert shown(b"x AKIAIOSFODNN7EXAMPLE@example.org", detectors=both) == (b"x ***", {"email": 1, "cloud_key": 1})


def test_null_takes_the_whole_value() -> None:
    assert shown(b"card " + CARD, detectors={"card": "null"}) == (None, {"card": 1})


def test_masked_columns_are_not_looked_at_again() -> None:
    data = row(b"ann@example.org", b"ann@example.org")
    plan = plan_of([Field(), Field()], ALL, ["partial", None])
    out, _, _, cells, found = mask_rows(data, 0, len(data), plan)
    assert (out, cells, dict(found)) == (row(b"a***@e***.org", b"***"), 1, {"email": 1})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"mail": "ann@example.org"}', b'{"mail": "***"}'),
        (b'{"card": 4111111111111111}', b'"***"'),
        (b'["4111 1111 1111 1111", 1]', b'["***", 1]'),
    ],
)
def test_json_stays_json(value: bytes, expected: bytes) -> None:
    for field in (Field(JSON), Field(JSONB)):
        assert shown(value, field)[0] == expected
        json.loads(expected)
    assert shown(b"\x01" + value, Field(JSONB, 1))[0] == b"\x01" + expected


def test_parts_with_lengths_of_their_own_become_null() -> None:
    assert shown(b"\0\0\0\x03abc\0\0\x00A" + CARD, Field(1009, 1)) == (None, {"card": 1})
    assert shown(b'{"%b",x}' % CARD, Field(1009, 0)) == (b'{"***",x}', {"card": 1})
    assert shown(b"{ann@example.org,x}", Field(1009, 0)) == (b"{***,x}", {"email": 1})


@pytest.mark.parametrize(
    ("oid", "text", "binary"),
    [
        (TEXT, Watch.TEXT, Watch.TEXT), (VARCHAR, Watch.TEXT, Watch.TEXT), (XML, Watch.TEXT, Watch.TEXT),
        (JSON, Watch.JSON, Watch.JSON), (JSONB, Watch.JSON, Watch.JSONB), (1009, Watch.TEXT, Watch.WHOLE),
        (RECORD, Watch.TEXT, Watch.WHOLE), (TSVECTOR, Watch.TEXT, Watch.WHOLE),
        (FIRST_OF_USERS, Watch.TEXT, Watch.WHOLE), (INT4, Watch.NOT, Watch.NOT), (UUID, Watch.NOT, Watch.NOT),
        (BYTEA, Watch.NOT, Watch.NOT),
    ],
)  # fmt: skip
def test_what_is_looked_at_and_how(oid: int, text: Watch, binary: Watch) -> None:
    assert (watch(oid, 0, ()), watch(oid, 1, ())) == (text, binary)
    assert watch(70000, 1, (70000,)) is Watch.TEXT


def test_a_column_that_is_not_text_passes() -> None:
    assert shown(CARD, Field(BYTEA)) == (CARD, {})
    assert plan_of([Field(INT4)]).masks is False


def test_a_value_made_to_keep_us_busy_is_hidden_whole() -> None:
    busy = b"000-00-0000 " * (CANDIDATES + 1)
    assert shown(busy, detectors={"us_ssn": "redact"}) == (b"***", {"us_ssn": 1})
    assert shown(b'"%b"' % busy, Field(JSON), {"us_ssn": "redact"})[0] == b'"***"'
    assert shown(busy, Field(RECORD, 1), {"us_ssn": "redact"})[0] is None


def test_text_in_another_encoding_is_redacted_whatever_the_masker() -> None:
    data = row(b"caf\xe9 " + CARD)
    plan = plan_of([Field()], {"card": "partial"}, utf8=False)
    assert mask_rows(data, 0, len(data), plan)[0] == row(b"caf\xe9 ***")


def test_what_is_not_detected_is_an_error() -> None:
    with pytest.raises(ValueError, match="'face' is not detected"):
        plan_of([Field()], {"face": "redact"})
    with pytest.raises(ValueError, match="not a masker"):
        plan_of([Field()], {"card": "hide"})


def test_a_length_before_a_value_is_not_part_of_it() -> None:
    """A value of 48 bytes has a '0' before it, one of 97 an 'a'."""
    for size in (*range(0x30, 0x3A), *range(0x41, 0x5B), *range(0x61, 0x7B)):
        value = (CARD + b" " + b"x" * 200)[:size]
        assert shown(value)[0] == b"***" + value[len(CARD) :]
        value = (b"ann@example.org " + b"x" * 200)[:size]
        assert shown(value)[0] == b"***" + value[15:]


texts = st.lists(
    st.sampled_from([CARD, b"ann@example.org", b"078-05-1120", b"x", b" ", b"D\0\0\0", b"123", b"@", b"-", b"\xff"]),
    max_size=6,
).map(b" ".join)


@given(st.lists(st.tuples(st.none() | texts, st.none() | texts, texts), max_size=8))
def test_rows_come_out_as_if_each_value_had_been_read_by_itself(lines: list[tuple[bytes | None, ...]]) -> None:
    fields = [Field(), Field(BYTEA), Field()]
    data = b"".join(row(*line) for line in lines)
    out, _, count, _, _ = mask_rows(data, 0, len(data), plan_of(fields))
    assert count == len(lines)
    expected = [row(*(v if v is None or n == 1 else shown(v)[0] for n, v in enumerate(line))) for line in lines]
    assert out == b"".join(expected)
    for marker in (CARD, b"ann@example.org", b"078-05-1120"):
        assert marker not in b"".join(row(line[0], line[2]) for line in _split(out))


def _split(data: bytes) -> list[list[bytes | None]]:
    lines, at = [], 0
    while at < len(data):
        end = at + 1 + struct.unpack_from("!I", data, at + 1)[0]
        count, place = struct.unpack_from("!H", data, at + 5)[0], at + 7
        line: list[bytes | None] = []
        for _ in range(count):
            size = struct.unpack_from("!i", data, place)[0]
            line.append(None if size < 0 else data[place + 4 : place + 4 + size])
            place += 4 + max(size, 0)
        assert place == end
        lines.append(line)
        at = end
    return lines


@given(st.lists(st.lists(st.none() | st.binary(max_size=9), min_size=2, max_size=2), max_size=8), st.data())
def test_the_kernel_touches_what_the_reference_does(lines: list[list[bytes | None]], data: st.DataObject) -> None:
    buffer = b"".join(row(*line) for line in lines)
    marks = sorted(data.draw(st.sets(st.integers(0, len(buffer)), max_size=8)))
    spans = [(a, b) for a, b in zip(marks[::2], marks[1::2], strict=False)]
    columns = data.draw(st.binary(min_size=2, max_size=2))
    assert _rows.touched_cells(buffer, columns, spans) == rows.touched_cells(buffer, columns, spans)


def test_the_look_for_all_hints_sees_what_each_by_itself_sees() -> None:
    """A set that runs out of memory says that nothing was found: hostile bytes must not bring it there."""
    hints = hints_of(KINDS)
    hostile = b"".join(bytes((n * 7 & 255, n >> 3 & 255, 0x41 + n % 26, 0x30 + n % 10)) * 3 for n in range(50_000))
    for marker, kind in ((CARD, "card"), (b"ann@example.org", "email"), (b"AKIAIOSFODNN7EXAMPLE", "cloud_key")):
        found = hints.kinds_in(hostile + b" " + marker + b" " + hostile)
        assert KINDS.index(kind) in found
