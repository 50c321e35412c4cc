"""Copied rows to DataRow messages and back: the reference and the compiled kernel, side by side."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.masking import _copy, copy_rows
from lockgate.masking.copy_rows import MASKED, QUOTED, Buffer, Layout
from lockgate.values.copying import CopyKind
from tests.masking.test_rows import row
from tests.support.playbook import copy_data


class Kernel(NamedTuple):
    unpack: Callable[[Buffer, int, int, Layout], tuple[bytes, int, int]]
    row_end: Callable[[Buffer, int, int, Layout], int]
    pack: Callable[[bytes, Layout], bytes]


REFERENCE = Kernel(copy_rows.unpack, copy_rows.row_end, copy_rows.pack)
COMPILED = Kernel(_copy.unpack, _copy.row_end, _copy.pack)
TEXT = Layout(CopyKind.TEXT, b"\t", rb"\N", b'"', b'"', bytes((0, MASKED)), True)
CSV = Layout(CopyKind.CSV, b",", b"", b'"', b'"', bytes((0, MASKED)), True)
BINARY = Layout(CopyKind.BINARY, b"\t", rb"\N", b'"', b'"', bytes((0, MASKED)), True)


@pytest.fixture(params=[REFERENCE, COMPILED], ids=["reference", "compiled"])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    found: Kernel = request.param
    return found


def binary(*values: bytes | None) -> bytes:
    return row(*values)[5:]


@pytest.mark.parametrize(
    ("layout", "line", "kept", "value"),
    [
        (TEXT, b"1\tann\n", b"1", b"ann"),
        (TEXT, b"\\N\t\\N\n", b"\\N", None),
        (TEXT, b"a\\tb\\\\\ta\\tb\\\\\\n\\b\\f\\r\\v\n", b"a\\tb\\\\", b"a\tb\\\n\b\f\r\v"),
        (TEXT, b"\t\n", b"", b""),
        (replace(TEXT, delimiter=b"|"), b"a\\|b|c\\|d\te\n".replace(b"\t", b"\\t"), b"a\\|b", b"c|d\te"),
        (replace(TEXT, null=b""), b"\t\n", b"", None),
        (replace(TEXT, null=b"none", tells_null=False), b"none\tnone\n", b"none", b"none"),
        (CSV, b"1,ann\n", b"1", b"ann"),
        (CSV, b",\n", b"", None),
        (CSV, b'"",""\n', b'""', b""),
        (CSV, b'"a,""b""\n","c,""d""\n"\n', b'"a,""b""\n"', b'c,"d"\n'),
        (replace(CSV, null=b"NULL"), b'NULL,"NULL"\n', b"NULL", b"NULL"),
        (replace(CSV, null=b"NULL"), b"NULL,NULL\n", b"NULL", None),
        (replace(CSV, quote=b"'", escape=b"\\"), b"'\\'\\\\','\\'\\\\\"\r'\n", b"'\\'\\\\'", b"'\\\"\r"),
        (replace(CSV, columns=bytes((QUOTED, MASKED | QUOTED))), b'"1","ann"\n', b'"1"', b"ann"),
        (BINARY, binary(b"\0\0\0\1", b"ann"), b"\0\0\0\1", b"ann"),
        (BINARY, binary(None, None), None, None),
        (BINARY, binary(b"", b""), b"", b""),
    ],
)
def test_a_row_there_and_back(
    kernel: Kernel, layout: Layout, line: bytes, kept: bytes | None, value: bytes | None
) -> None:
    data = copy_data(line)
    assert kernel.unpack(data, 0, len(data), layout) == (row(kept, value), len(data), 1)
    assert kernel.pack(row(kept, value), layout) == data
    assert kernel.row_end(b"x" + line + line, 1, 1 + 2 * len(line), layout) == 1 + len(line)
    for end in range(len(line)):
        assert kernel.row_end(line, 0, end, layout) == -1


@pytest.mark.parametrize(
    ("layout", "value", "line"),
    [
        (CSV, b"a,b", b'"a,b"'),
        (CSV, b'a"b', b'"a""b"'),
        (CSV, b"a\rb", b'"a\rb"'),
        (CSV, b"\\.", b'"\\."'),
        (CSV, b"", b'""'),
        (CSV, b"***", b"***"),
        (replace(CSV, null=b"***"), b"***", b'"***"'),
        (CSV, None, b""),
        (TEXT, b"\\.", b"\\\\."),
        (TEXT, None, b"\\N"),
    ],
)
def test_what_masks_leave_is_written_as_the_server_would(
    kernel: Kernel, layout: Layout, value: bytes | None, line: bytes
) -> None:
    single = replace(layout, columns=bytes((MASKED,)))
    assert kernel.pack(row(value), single) == copy_data(line + b"\n")


@pytest.mark.parametrize("layout", [TEXT, CSV, BINARY], ids=["text", "csv", "binary"])
def test_it_stops_where_a_message_is_not_one_row(kernel: Kernel, layout: Layout) -> None:
    line = {
        CopyKind.TEXT: b"1\tann\n",
        CopyKind.CSV: b'1,"a\n,"\n',
        CopyKind.BINARY: binary(b"1", b"ann"),
    }[CopyKind(layout.kind)]
    one = copy_data(line)
    for behind in (b"", one[:4], one[:-1], copy_data(line[:-1]), copy_data(line + line), copy_data(b""), b"c\0\0\0\4"):
        data = b"zz" + one + one + behind
        _, reached, count = kernel.unpack(data, 2, len(data), layout)
        assert (reached, count) == (2 + 2 * len(one), 2)


@pytest.mark.parametrize(
    ("layout", "line"),
    [
        (TEXT, b"1\n"),
        (TEXT, b"1\t2\t3\n"),
        (TEXT, b"1\ta\\\n"),
        (CSV, b"1\n"),
        (CSV, b"1,2,3\n"),
        (CSV, b'1,"a"b\n'),
        (CSV, b'1,a"b\n'),
        (CSV, b"1,a\rb\n"),
        (replace(CSV, escape=b"\\"), b'1,"a\\b"\n'),
        (BINARY, binary(b"1")),
        (BINARY, b"\0\2\xff\xff\xff\xfe\0\0\0\0"),
    ],
)
def test_a_row_that_no_server_writes(kernel: Kernel, layout: Layout, line: bytes) -> None:
    data = copy_data(line)
    with pytest.raises(ValueError, match="copied"):
        kernel.unpack(data, 0, len(data), layout)
    with pytest.raises(ValueError, match="copied"):
        kernel.row_end(line, 0, len(line), layout)


def test_the_end_of_the_binary_format_is_no_row(kernel: Kernel) -> None:
    data = copy_data(binary(b"1", b"ann")) + copy_data(b"\xff\xff")
    assert kernel.unpack(data, 0, len(data), BINARY)[1:] == (len(data) - 7, 1)
    assert kernel.row_end(b"\xff\xff", 0, 2, BINARY) == -1


@pytest.mark.parametrize("data", [b"d\0\0\0\3", b"d\x7f\0\0\0"])
def test_a_length_that_no_message_has(kernel: Kernel, data: bytes) -> None:
    with pytest.raises(ValueError, match="impossible length"):
        kernel.unpack(data, 0, len(data), TEXT)


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (0, 100), (5, 4)])
def test_offsets_outside_the_buffer(kernel: Kernel, start: int, end: int) -> None:
    with pytest.raises(ValueError, match="offsets"):
        kernel.unpack(copy_data(b"1\t2\n"), start, end, TEXT)
    with pytest.raises(ValueError, match="offsets"):
        kernel.row_end(b"1\t2\n", start, end, TEXT)


@pytest.mark.parametrize("rows", [row(b"1"), row(b"1", b"2", b"3"), row(b"1", b"2")[:-1], b"D\0\0\0\1", b"D\0\0\0\5x"])
def test_masked_rows_of_another_form(kernel: Kernel, rows: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        kernel.pack(rows, TEXT)


# --- the two agree


CELLS = st.one_of(st.none(), st.binary(max_size=6), st.text("\\N\t\n\r,|\"'ab.\b", max_size=8).map(str.encode))


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    kind = draw(st.sampled_from(CopyKind))
    columns = bytes(draw(st.lists(st.sampled_from((0, MASKED, QUOTED, MASKED | QUOTED)), min_size=1, max_size=4)))
    if kind is CopyKind.CSV:
        delimiter, quote = draw(st.sampled_from((b",", b";", b"\t"))), draw(st.sampled_from((b'"', b"'")))
        return Layout(kind, delimiter, draw(st.sampled_from((b"", b"NULL", rb"\N"))), quote,
                      draw(st.sampled_from((quote, b"\\"))), columns, True)  # fmt: skip
    null = draw(st.sampled_from((rb"\N", b"", b"none")))
    delimiter = draw(st.sampled_from((b"\t", b"|", b"\1")))
    return Layout(kind, delimiter, null, b'"', b'"', columns, null != b"none")


@given(layout=layouts(), data=st.data())
@settings(max_examples=300, deadline=None)
def test_masked_values_survive_there_and_back(layout: Layout, data: st.DataObject) -> None:
    """What pack writes of masked columns, unpack reads; kept ones hold what the server wrote of them."""
    layout = replace(layout, columns=bytes(column | MASKED for column in layout.columns))
    size = len(layout.columns)
    cells = data.draw(st.lists(st.lists(CELLS, min_size=size, max_size=size), max_size=3))
    rows = b"".join(row(*values) for values in cells)
    written = COMPILED.pack(rows, layout)
    assert written == REFERENCE.pack(rows, layout)
    back = COMPILED.unpack(written, 0, len(written), layout)
    assert back == REFERENCE.unpack(written, 0, len(written), layout)
    if layout.kind != CopyKind.TEXT or layout.null == rb"\N":
        assert back == (rows, len(written), len(cells))
    assert COMPILED.pack(back[0], layout) == written
    kept = replace(layout, columns=bytes(len(layout.columns)))
    raw = COMPILED.unpack(written, 0, len(written), kept)
    assert raw == REFERENCE.unpack(written, 0, len(written), kept)
    assert raw[1:] == back[1:]
    assert COMPILED.pack(raw[0], kept) == REFERENCE.pack(raw[0], kept) == written


LINES = st.text("\\N\t\n,|\"'ab\r", max_size=12).map(str.encode) | st.binary(max_size=12)


@given(layout=layouts(), lines=st.lists(LINES, max_size=4), cut=st.integers(0, 12), tail=st.binary(max_size=8))
@settings(max_examples=500, deadline=None)
def test_both_read_hostile_bytes_alike(layout: Layout, lines: list[bytes], cut: int, tail: bytes) -> None:
    data = b"".join(map(copy_data, lines)) + tail
    end = max(0, len(data) - cut)

    def outcome(kernel: Kernel) -> object:
        try:
            found = kernel.unpack(data, 0, end, layout)
            return found, kernel.pack(found[0], layout)
        except ValueError as error:
            return str(error)

    assert outcome(COMPILED) == outcome(REFERENCE)

    def ends(kernel: Kernel) -> object:
        try:
            return kernel.row_end(data, 0, end, layout)
        except ValueError as error:
            return str(error)

    assert ends(COMPILED) == ends(REFERENCE)


def test_there_is_no_layout_of_no_columns() -> None:
    """Found by fuzzing: a row of none has no end, so that a stream of them would be read for ever."""
    with pytest.raises(ValueError, match="no columns"):
        Layout(CopyKind.TEXT, b"\t", rb"\N", b'"', b'"', b"", True)
