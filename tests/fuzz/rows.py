"""The compiled kernels held against their references, whatever the bytes: rows, copied rows, and detectors."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

from lockgate.masking import CopyStream, RootKey, _copy, _rows, build_plan, copy_rows, mask_rows, rows
from lockgate.masking.cells import Action, Cell
from lockgate.masking.copy_rows import MASKED, QUOTED, Layout
from lockgate.masking.dates import MONTH
from lockgate.masking.detectors import DETECTORS, KINDS, TooManyCandidates
from lockgate.masking.plan import Plan
from lockgate.masking.scan import hints_of
from lockgate.masking.types import JSON, JSONB, TEXT, TSVECTOR
from lockgate.values.copying import CopyKind
from lockgate.wire.postgresql.frames import Field
from tests.fuzz.corpus import MARKER
from tests.fuzz.target import Target
from tests.support.playbook import copy_data, row

_KEY: Final = bytes(range(32))


def _either(work: Callable[..., Any], *given: Any) -> Any:
    """What it gives, or that it is refused: which words for that is up to either."""
    try:
        return work(*given)
    except ValueError:
        return ValueError


# rows

_CELLS: Final = [
    Cell(action, binary, number, _KEY)
    for action in Action
    for binary in (False, True)
    for number in ((4, 8) if action is Action.TOKEN_INTEGER else (3,) if action is Action.TRUNCATE else (MONTH,))
]
"""One of each, in both formats."""


def check_rows(data: bytes) -> None:
    """The first byte tells how many columns there are, and one byte each what is done with them."""
    count = data[0] % 5 if data else 0
    cells = tuple(_CELLS[number % len(_CELLS)] for number in data[1 : 1 + count])
    body = data[1 + count :]
    program, end = _rows.Program(cells), len(body)
    for start in {0, min(1, end)}:
        skipped = _either(_rows.skip_rows, body, start, end)
        assert skipped == _either(rows.skip_rows, body, start, end), "rows are skipped differently"
        masked = _either(_rows.mask_rows, body, start, end, program)
        assert masked == _either(rows.mask_rows, body, start, end, cells), "masked differently"
        if masked is not ValueError:
            out, reached, found, _ = masked
            assert start <= reached <= end
            assert rows.skip_rows(out, 0, len(out)) == (len(out), found), "what was masked is no row"


_ROW_SEEDS: Final = [
    bytes((2, _CELLS.index(cell), 0)) + row(value, b"kept") + row(None, None)
    for cell, value in zip(
        _CELLS,
        [b"text", b"ann@example.org", b"4111 1111 1111 1111", b'{"a": 1}', b"\x01{}", b"2024-02-29", b"12345", b"-1.50",
         b"2024-02-29 12:13:14.5+01", b"\0\0\x10\0", b"\0\0\0\0\0\0\x10\0", b"infinity", b"0044-03-15 BC",
         b"6ccd780c-baba-1026-9564-5b8c656024db", bytes(16), b"\0\2\0\1\0\0\0\2\0\1\x13\x88"] * 4,
        strict=False,
    )
]  # fmt: skip


# copied rows


def _layout(mode: int, columns: bytes) -> Layout:
    kind = CopyKind(mode % 3)
    csv = kind is CopyKind.CSV
    null = (b"" if csv else rb"\N", b"NULL")[mode >> 2 & 1]
    return Layout(kind, (b"\t", b",", b"|", b";")[mode >> 3 & 3], null, (b'"', b"'")[mode >> 5 & 1],
                  (b'"', b"\\")[mode >> 6 & 1], columns, csv or null == rb"\N")  # fmt: skip


def check_copied(data: bytes) -> None:
    """Compiled against reference, and a stream against itself cut elsewhere; all masked, no value is left."""
    mode, count, piece = (data + bytes(3))[0], (data + bytes(3))[1] % 3 + 1, (data + bytes(3))[2] % 5 + 1
    flags = bytes(number % 4 for number in (data[3:] + bytes(count))[:count])
    layout, body = _layout(mode, flags), data[3 + count :]
    framed = copy_data(body) + copy_data(body[:piece])
    for text in (body, framed):
        ends = _either(_copy.row_end, text, 0, len(text), layout)
        assert ends == _either(copy_rows.row_end, text, 0, len(text), layout), "a row ends elsewhere"
    taken = _either(_copy.unpack, framed, 0, len(framed), layout)
    assert taken == _either(copy_rows.unpack, framed, 0, len(framed), layout), "unpacked differently"
    if taken is not ValueError:
        packed = _either(_copy.pack, taken[0], layout)
        assert packed == _either(copy_rows.pack, taken[0], layout), "packed differently"
    hidden = _layout(mode, bytes(flag | MASKED for flag in flags))
    if all(byte not in MARKER for byte in hidden.delimiter + hidden.quote + hidden.escape):
        whole = _stream(hidden, body, max(len(body), 1))
        pieces = _stream(hidden, body, piece)
        assert whole == pieces, "what is copied out hangs on how it is cut"
        assert whole is ValueError or MARKER not in whole, "a masked value is copied out"


def _stream(layout: Layout, body: bytes, piece: int) -> Any:
    cells = (Cell(Action.REDACT),) * len(layout.columns)
    plan = Plan(cells, _rows.Program(cells))

    def mask(messages: bytes) -> tuple[bytes, int]:
        out, _, _, count, _ = mask_rows(messages, 0, len(messages), plan)
        return out, count

    def copy() -> bytes:
        stream, out = CopyStream(layout, mask, header=False), b""
        for at in range(0, len(body), piece):
            message = copy_data(body[at : at + piece])
            written, reached, _ = stream.feed(message, 0, len(message))
            assert reached == len(message)
            assert stream.held <= len(body)
            out += written
        return out + stream.finish()[0]

    return _either(copy)


_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_SEEDS: Final = [
    bytes((0, 1, 1, MASKED, 0)) + b"s3cret\tb\n\\N\tx\\ty\na\\\\\ts3\\cret\n",
    bytes((1 | 8, 1, 2, MASKED, QUOTED)) + b's3cret,"b"\n"a""s3cret\n",\n,\n',
    bytes((2, 0, 3, MASKED)) + _HEAD + b"\0\1\0\0\0\6s3cret\0\1\xff\xff\xff\xff\xff\xff",
    bytes((2, 0, 3, MASKED)) + b"\0\1\0\0\0\6s3cret",
    bytes((0 | 4, 0, 1, MASKED)) + b"NULL\ns3cret\n",
    bytes((1 | 64 | 8, 0, 1, MASKED)) + b'"s3\\"cret"\n',
    bytes((0, 0, 1, 0)) + b"\n\n",
]


# detectors

_PLAN: Final = build_plan(
    [Field("a", 0, 0, TEXT, 0), Field("b", 0, 0, JSON, 0), Field("c", 0, 0, JSONB, 1), Field("d", 0, 0, TSVECTOR, 1)],
    [None] * 4, keys=RootKey(_KEY).keys("x"), detectors=dict.fromkeys(KINDS, "redact"),
)  # fmt: skip


def check_detectors(data: bytes) -> None:
    """What is found is in the value and was hinted at; what is shown has none of it, and rows stay rows."""
    found: list[bytes] = []
    hinted = {KINDS[number] for number in hints_of(KINDS).kinds_in(data)}
    for kind in KINDS:
        try:
            spans = list(DETECTORS[kind].find(data))
        except TooManyCandidates:
            continue
        assert all(0 <= start < end <= len(data) for start, end in spans), f"{kind} outside the value"
        assert all(one[1] <= other[0] for one, other in pairwise(spans)), f"{kind} overlaps itself"
        assert not spans or kind in hinted, f"{kind} is found and was not hinted at"
        found += [data[start:end] for start, end in spans]
    out, reached, count, _, kinds = mask_rows(sent := row(data, data, b"\1" + data, data), 0, len(sent), _PLAN)
    assert (reached, count) == (len(sent), 1)
    assert rows.skip_rows(out, 0, len(out)) == (len(out), 1), "what was looked at is no row"
    assert bool(kinds) or not found, "something was found in a value, and not in its row"
    text = out[11 : 11 + max(0, int.from_bytes(out[7:11], "big", signed=True))]
    assert len(text) <= max(len(data), 3), "a value is longer than it was"
    for kind in KINDS:
        try:
            left = [text[start:end] for start, end in DETECTORS[kind].find(text)]
        except TooManyCandidates:
            continue
        assert not any(value in found for value in left), f"{kind} is shown"


_DETECTED: Final = [
    b"write to ann@example.org, or +49 171 1234567", b"4111 1111 1111 1111;5555-5555-5555-4444",
    b"078-05-1120 QQ123456C",
    b"DE89 3704 0044 0532 0130 00", b"12345678Z X1234567L", b"RSSMRA85T10A562S 44051401458", b"1 84 12 76 451 089 46",
    b"AKIAIOSFODNN7EXAMPLE ghp_" + b"a1" * 18, b"-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----",
    b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", b'{"a": "ann@example.org"}', b"(212) 555-0100",
]  # fmt: skip

CHECKS: Final = [
    Target("rows", check_rows, _ROW_SEEDS, 512),
    Target("copied", check_copied, _COPY_SEEDS, 512),
    Target("detectors", check_detectors, _DETECTED, 512),
]
