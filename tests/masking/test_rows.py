"""The reference and the compiled kernel, side by side: every test of a row runs on both."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.masking import _rows, rows
from lockgate.masking.cells import ALIKE, Action, Cell, mask_value
from lockgate.masking.partial import partial

Buffer = bytes | bytearray | memoryview
Cells = tuple[Cell, ...]
KEY = bytes(range(32))
KEEP, NULL, REDACT, PARTIAL, JSON, JSONB = ((Cell(action),) for action in list(Action)[:6])


class Kernel(NamedTuple):
    skip_rows: Callable[[Buffer, int, int], tuple[int, int]]
    mask_rows: Callable[[Buffer, int, int, Cells], tuple[bytes, int, int, int]]


def compiled_rows(buffer: Buffer, start: int, end: int, cells: Cells) -> tuple[bytes, int, int, int]:
    return _rows.mask_rows(buffer, start, end, _rows.Program(cells))


REFERENCE = Kernel(rows.skip_rows, rows.mask_rows)
COMPILED = Kernel(_rows.skip_rows, compiled_rows)


@pytest.fixture(params=[REFERENCE, COMPILED], ids=["reference", "compiled"])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    found: Kernel = request.param
    return found


def row(*values: bytes | None) -> bytes:
    body = struct.pack("!H", len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return b"D" + struct.pack("!I", 4 + len(body)) + body


COMPLETE = b"C\0\0\0\rSELECT 2\0"


def test_skip_stops_behind_the_last_whole_row(kernel: Kernel) -> None:
    two = row(b"1", b"ann") + row(b"2", None)
    assert kernel.skip_rows(two + COMPLETE, 0, len(two) + len(COMPLETE)) == (len(two), 2)
    assert kernel.skip_rows(two + two[:9], 0, len(two) + 9) == (len(two), 2)
    assert kernel.skip_rows(COMPLETE, 0, len(COMPLETE)) == (0, 0)
    assert kernel.skip_rows(b"", 0, 0) == (0, 0)


def test_offsets_bound_the_walk(kernel: Kernel) -> None:
    data = b"xx" + row(b"1") + row(b"2") + row(b"3")
    size = len(row(b"1"))
    assert kernel.skip_rows(data, 2, 2 + 2 * size) == (2 + 2 * size, 2)
    assert kernel.skip_rows(data, 2, 2 + 2 * size - 1) == (2 + size, 1)
    assert kernel.mask_rows(data, 2 + size, 2 + 2 * size, REDACT) == (row(b"***"), 2 + 2 * size, 1, 1)


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (0, 100), (5, 4), (12, 13)])
def test_offsets_outside_the_buffer_are_refused(kernel: Kernel, start: int, end: int) -> None:
    with pytest.raises(ValueError, match="offsets"):
        kernel.skip_rows(row(b"1"), start, end)
    with pytest.raises(ValueError, match="offsets"):
        kernel.mask_rows(row(b"1"), start, end, KEEP)


def test_what_each_action_makes_of_a_value(kernel: Kernel) -> None:
    data = row(b"kept", b"gone", b"secret", b"ann@example.org", b'{"a":1}', b'\x01{"a":1}')
    expected = row(b"kept", None, b"***", b"a***@e***.org", b'"***"', b'\x01"***"')
    actions = KEEP + NULL + REDACT + PARTIAL + JSON + JSONB
    assert kernel.mask_rows(data, 0, len(data), actions) == (expected, len(data), 1, 5)


def test_null_stays_null_and_is_not_counted(kernel: Kernel) -> None:
    data = row(None, None, None, None, b"")
    actions = NULL + REDACT + PARTIAL + JSON + REDACT
    assert kernel.mask_rows(data, 0, len(data), actions) == (row(None, None, None, None, b"***"), len(data), 1, 1)


def test_null_is_shown_as_any_value_where_it_would_tell(kernel: Kernel) -> None:
    cells = tuple(Cell(action, null=True) for action in (Action.REDACT, Action.REDACT_JSON, Action.REDACT_JSONB))
    data = row(None, None, None) + row(b"a", b"1", b"\x011")
    shown = row(b"***", b'"***"', b'\x01"***"')
    assert kernel.mask_rows(data, 0, len(data), cells) == (shown * 2, len(data), 2, 6)


def test_every_kind_of_buffer_is_taken(kernel: Kernel) -> None:
    data = row(b"ann", b"1")
    for buffer in (data, bytearray(data), memoryview(data), memoryview(bytearray(b"x" + data))[1:]):
        assert kernel.mask_rows(buffer, 0, len(data), REDACT + KEEP)[0] == row(b"***", b"1")
        assert kernel.skip_rows(buffer, 0, len(data)) == (len(data), 1)


def test_a_bytearray_can_be_resized_afterwards(kernel: Kernel) -> None:
    data = bytearray(row(b"ann"))
    kernel.mask_rows(data, 0, len(data), REDACT)
    with pytest.raises(ValueError, match="offsets"):
        kernel.mask_rows(data, 0, len(data) + 1, REDACT)
    data[0:1] = b"X"
    with pytest.raises(ValueError, match="columns"):
        kernel.mask_rows(b"D" + data[1:], 0, len(data), REDACT + KEEP)
    del data[:]


def test_output_larger_than_input(kernel: Kernel) -> None:
    """Empty values become stars: the result outgrows what was made room for at first."""
    data = row(*[b""] * 50) * 300
    masked, _, count, cells = kernel.mask_rows(data, 0, len(data), REDACT * 50)
    assert masked == row(*[b"***"] * 50) * 300
    assert (count, cells) == (300, 15000)


def test_rows_without_columns(kernel: Kernel) -> None:
    assert kernel.mask_rows(row() * 3, 0, 21, ()) == (row() * 3, 21, 3, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"D\0\0\0\0" + bytes(20),
        b"D\0\0\0\x05" + bytes(20),
        b"D\xff\xff\xff\xff" + bytes(20),
        b"D\x80\0\0\0" + bytes(20),
        b"D\x40\0\0\x01" + bytes(20),
        b"D\0\0\0\x05",  # though the row is not there yet
    ],
)
def test_an_impossible_row_length_is_refused(kernel: Kernel, data: bytes) -> None:
    with pytest.raises(ValueError, match="impossible length"):
        kernel.skip_rows(data, 0, len(data))
    with pytest.raises(ValueError, match="impossible length"):
        kernel.mask_rows(data, 0, len(data), REDACT)


def test_the_largest_possible_length_is_waited_for(kernel: Kernel) -> None:
    data = b"D\x40\0\0\0" + bytes(20)
    assert kernel.skip_rows(data, 0, len(data)) == (0, 0)
    assert kernel.mask_rows(data, 0, len(data), REDACT) == (b"", 0, 0, 0)


def framed(body: bytes) -> bytes:
    return b"D" + struct.pack("!I", 4 + len(body)) + body


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\0\x01\0\0\0\x05ab", "column of an impossible length"),
        (b"\0\x01\x7f\xff\xff\xffab", "column of an impossible length"),
        (b"\0\x01\xff\xff\xff\xfeab", "column of an impossible length"),
        (b"\0\x01\x80\0\0\0ab", "column of an impossible length"),
        (b"\0\x01\0\0\0", "inside a column"),
        (b"\0\x01", "inside a column"),
        (b"\0\x01\0\0\0\x01ab", "behind its last"),
        (b"\0\x00", "another number"),
        (b"\0\x02\0\0\0\x01a\0\0\0\x01b", "another number"),
        (b"\xff\xff\0\0\0\x01a", "another number"),
    ],
)
@pytest.mark.parametrize("action", [KEEP, REDACT, NULL, PARTIAL])
def test_a_row_that_is_none_is_refused(kernel: Kernel, body: bytes, why: str, action: Cells) -> None:
    # neither what comes before nor behind it helps
    data = row(b"1") + framed(body) + row(b"1")
    with pytest.raises(ValueError, match=why):
        kernel.mask_rows(data, 0, len(data), action)


def test_an_unknown_action_is_refused_not_taken_for_keep() -> None:
    with pytest.raises(ValueError, match="not a valid Action"):
        _rows.Program([Cell(9999)])  # type: ignore[arg-type]


@pytest.mark.parametrize("action", [Action.HASH, Action.TOKEN_TEXT, Action.TOKEN_UUID])
def test_a_key_of_another_size_is_refused(action: Action) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        _rows.Program([Cell(action, key=b"short")])


def test_a_program_says_whether_it_masks() -> None:
    assert _rows.Program([*KEEP, *NULL]).masks
    assert not _rows.Program([*KEEP, *KEEP]).masks
    assert not _rows.Program([]).masks


def test_a_value_by_itself() -> None:
    program = _rows.Program([*KEEP, *NULL, *PARTIAL])
    shown = [_rows.mask_value(program, column, b"ann@example.org") for column in range(3)]
    assert shown == [b"ann@example.org", None, b"a***@e***.org"]
    for column in (-1, 3):
        with pytest.raises(IndexError):
            _rows.mask_value(program, column, b"ann")


def answer(function: Callable[..., Any], *arguments: object) -> object:
    try:
        return function(*arguments)
    except ValueError as error:
        return str(error)


def same(data: bytes, start: int, end: int, actions: Cells) -> None:
    assert answer(COMPILED.skip_rows, data, start, end) == answer(REFERENCE.skip_rows, data, start, end)
    found = answer(COMPILED.mask_rows, data, start, end, actions)
    assert found == answer(REFERENCE.mask_rows, data, start, end, actions)


values = st.none() | st.binary(max_size=40) | st.text(max_size=20).map(lambda t: t.encode("utf-8", "surrogatepass"))
cells = st.builds(
    Cell,
    st.sampled_from(list(Action)),
    st.booleans(),
    st.sampled_from([1, 2, 4, 8, -30, 3650]),
    st.just(KEY),
) | st.builds(Cell, st.sampled_from(sorted(ALIKE)), null=st.just(True))
plans = st.integers(0, 6).flatmap(lambda n: st.tuples(*[cells] * n))


@st.composite
def results(draw: st.DrawFn) -> tuple[list[Sequence[bytes | None]], Cells]:
    actions = draw(plans)
    lines = draw(st.lists(st.lists(values, min_size=len(actions), max_size=len(actions)), max_size=8))
    return list(lines), actions


@given(results(), st.data())
def test_the_kernel_is_the_reference_wherever_it_is_cut(
    result: tuple[list[Sequence[bytes | None]], Cells], data: st.DataObject
) -> None:
    lines, actions = result
    stream = b"".join(row(*line) for line in lines) + COMPLETE
    end = data.draw(st.integers(0, len(stream)))
    start = data.draw(st.integers(0, end))
    same(stream, start, end, actions)
    same(stream, 0, end, actions)


@given(results(), st.integers(1, 60))
def test_fed_in_pieces_the_result_is_the_same(result: tuple[list[Sequence[bytes | None]], Cells], step: int) -> None:
    lines, actions = result
    stream = b"".join(row(*line) for line in lines)
    whole = COMPILED.mask_rows(stream, 0, len(stream), actions)[0]
    pieces, offset = b"", 0
    for end in (*range(0, len(stream), step), len(stream)):
        out, offset, _, _ = COMPILED.mask_rows(stream, offset, end, actions)
        pieces += out
    assert pieces == whole
    assert offset == len(stream)


@given(results(), st.data())
def test_bytes_changed_at_random_are_read_alike(
    result: tuple[list[Sequence[bytes | None]], Cells], data: st.DataObject
) -> None:
    lines, actions = result
    stream = bytearray(b"".join(row(*line) for line in lines) + COMPLETE)
    for place in data.draw(st.lists(st.integers(0, len(stream) - 1), max_size=4)):
        stream[place] = data.draw(st.sampled_from([0, 1, 2, 4, 0x44, 0x7F, 0x80, 0xFF]))
    same(bytes(stream), 0, len(stream), actions)


@given(st.binary(max_size=80).map(lambda tail: b"D" + tail), plans)
def test_noise_is_read_alike(data: bytes, actions: Cells) -> None:
    same(data, 0, len(data), actions)


shapes = st.one_of(
    st.text(),
    st.emails(),
    st.from_regex(r"[a-zé@.]{0,12}@[a-zé.]{0,12}\.[a-zA-Z0-9]{0,10} {0,2}", fullmatch=True),
    st.from_regex(r"[0-9 ()+-]{0,36}", fullmatch=True),
    st.text(alphabet="日é😀a@. *", max_size=30),
).map(lambda t: t.encode("utf-8", "surrogatepass"))


@settings(max_examples=1000)
@given(shapes, st.integers(-20, 20))
def test_partial_is_the_reference_to_the_byte(value: bytes, cut: int) -> None:
    """Cut anywhere, so in the middle of a character too."""
    for text in (value, value[:cut], value[cut:]):
        data = row(text)
        assert COMPILED.mask_rows(data, 0, len(data), PARTIAL)[0] == row(partial(text))


@pytest.mark.parametrize("lead", range(0x80, 0x100))
def test_partial_agrees_on_every_start_of_a_character(lead: int) -> None:
    for second in range(0x7F, 0xC1):
        for rest in (b"", b"\x80", b"\x80\x80", b"\x80\xc0", b"\x80\x80abc", b"abcd"):
            text = bytes((lead, second)) + rest
            data = row(text * 3)
            assert COMPILED.mask_rows(data, 0, len(data), PARTIAL)[0] == row(partial(text * 3))


@given(st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=30)), max_size=20), st.sampled_from([1, 2, 4, 5]))
def test_a_marker_in_a_masked_column_never_comes_out(pairs: list[tuple[bytes, bytes]], action: int) -> None:
    marker = b"5f3d9c-MARKER"
    data = b"".join(row(b"kept", left + marker + right, None) for left, right in pairs)
    masked = COMPILED.mask_rows(data, 0, len(data), (*KEEP, Cell(Action(action)), *KEEP))[0]
    assert marker not in masked
    assert masked.count(b"kept") == len(pairs)


@given(st.text(alphabet="0123456789abcdef", min_size=8, max_size=200))
def test_partial_shows_one_character_of_a_secret(secret: str) -> None:
    data = row(b"x" + secret.encode())
    assert secret.encode()[:2] not in COMPILED.mask_rows(data, 0, len(data), PARTIAL)[0]


def text_forms(values: st.SearchStrategy[object]) -> st.SearchStrategy[bytes]:
    return values.map(lambda value: str(value).encode())


numerics = st.builds(
    lambda sign, whole, fraction: f"{sign}{whole}{'.' if fraction else ''}{fraction}".encode(),
    st.sampled_from(["", "-"]),
    st.integers(0, 10**70),
    st.text(alphabet="0123456789", max_size=70),
)
numerics_sent = st.builds(
    lambda weight, sign, scale, words: struct.pack(f"!HhHH{len(words)}H", len(words), weight, sign, scale, *words),
    st.integers(-3, 20) | st.integers(-(2**15), 2**15 - 1),
    st.sampled_from([0, 0x4000, 0xC000, 0xD000]),
    st.integers(0, 70),
    st.lists(st.integers(0, 9999) | st.integers(0, 65535), max_size=20),
)
times = st.from_regex(
    r"[0-9]{4}-[01][0-9]-[0-3][0-9]( [0-2][0-9]:[0-5][0-9]:[0-6][0-9](\.[0-9]{1,7})?([+-][0-9]{2}(:[0-9]{2}){0,3})?)?",
    fullmatch=True,
).map(str.encode)
forms = st.one_of(
    shapes,
    text_forms(st.integers(-(2**64), 2**64)),
    text_forms(st.uuids()),
    text_forms(st.dates()),
    text_forms(st.datetimes()),
    times,
    numerics,
    numerics_sent,
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=16, max_size=16),
    st.text(alphabet="aZ9éжا日本\u2019\u00a0😀@.-", max_size=90).map(str.encode),
    st.binary(max_size=300),
    st.sampled_from([b"infinity", b"-infinity", b"0044-03-15 BC", b"NaN", b"", b"0", b"-0", b"00"]),
)


@settings(max_examples=750)
@given(st.booleans(), st.sampled_from([1, 2, 4, 8, -30, 3650]), forms)
def test_every_masker_is_its_reference_to_the_byte(binary: bool, size: int, value: bytes) -> None:
    """Each of them on every value: what takes long is to think of one."""
    for cell in (*(Cell(action, binary, size, KEY) for action in Action), *(Cell(a, null=True) for a in sorted(ALIKE))):
        assert _rows.mask_value(_rows.Program([cell]), 0, value) == mask_value(cell, value)
