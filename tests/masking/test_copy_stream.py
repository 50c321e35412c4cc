"""The rows of a COPY, however the messages that carry them are cut."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.masking.copy_rows import MASKED, Layout
from lockgate.masking.copy_stream import CopyStream
from lockgate.values.copying import CopyKind
from tests.masking.test_rows import row
from tests.support.playbook import copy_data

TEXT = Layout(CopyKind.TEXT, b"\t", rb"\N", b'"', b'"', bytes((0, MASKED)), True)
CSV = Layout(CopyKind.CSV, b",", b"", b'"', b'"', bytes((0, MASKED)), True)
BINARY = replace(TEXT, kind=CopyKind.BINARY)
BEGINNING = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"


def cells_of(body: bytes) -> list[bytes | None]:
    found: list[bytes | None] = []
    place = 2
    while place < len(body):
        length = int.from_bytes(body[place : place + 4], "big", signed=True)
        place += 4
        found.append(None if length < 0 else body[place : place + length])
        place += max(length, 0)
    return found


def redacted(data: bytes) -> tuple[bytes, int]:
    """Every second cell is a secret, written over with stars."""
    result, offset, cells = b"", 0, 0
    while offset < len(data):
        length = int.from_bytes(data[offset + 1 : offset + 5], "big")
        values = cells_of(data[offset + 5 : offset + 1 + length])
        cells += values[1] is not None
        result += row(values[0], None if values[1] is None else b"***")
        offset += 1 + length
    return result, cells


def stream(layout: Layout, *, header: bool = False) -> CopyStream:
    return CopyStream(layout, redacted, header=header)


def fed(copied: CopyStream, *payloads: bytes) -> bytes:
    data = b"".join(map(copy_data, payloads))
    out, reached, _ = copied.feed(data, 0, len(data))
    assert reached == len(data)
    return out + copied.finish()[0]


def binary(*values: bytes | None) -> bytes:
    return row(*values)[5:]


TEXTS = [b"1\tsecret\n", b"\\N\t\\N\n", b"a\\\tb\ts\\\\e\\ncret\n"]
TEXTS_MASKED = [b"1\t***\n", b"\\N\t\\N\n", b"a\\\tb\t***\n"]
CSVS = [b"1,secret\n", b",\n", b'"a""\n,","se\ncr,""et"\n']
CSVS_MASKED = [b"1,***\n", b",\n", b'"a""\n,",***\n']
BINARIES = [binary(b"1", b"secret"), binary(None, None), binary(b"", b"s\n\xff\xff")]
BINARIES_MASKED = [binary(b"1", b"***"), binary(None, None), binary(b"", b"***")]
CASES = [
    (TEXT, False, TEXTS, TEXTS_MASKED),
    (TEXT, True, [b"id\tb\\tc\n", *TEXTS], [b"id\tb\\tc\n", *TEXTS_MASKED]),
    (CSV, False, CSVS, CSVS_MASKED),
    (CSV, True, [b'id,"a,b"\n', *CSVS], [b'id,"a,b"\n', *CSVS_MASKED]),
    (BINARY, False, [BEGINNING + BINARIES[0], *BINARIES[1:], END],
     [BEGINNING + BINARIES_MASKED[0], *BINARIES_MASKED[1:], END]),
    (BINARY, False, [BEGINNING + END], [BEGINNING + END]),
    (TEXT, False, [], []),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "header", "sent", "expected"), CASES)
def test_a_row_a_message_as_the_server_sends_them(
    layout: Layout, header: bool, sent: list[bytes], expected: list[bytes]
) -> None:
    assert fed(stream(layout, header=header), *sent) == b"".join(map(copy_data, expected))


@pytest.mark.parametrize(("layout", "header", "sent", "expected"), CASES)
def test_cut_at_every_place(layout: Layout, header: bool, sent: list[bytes], expected: list[bytes]) -> None:
    whole = b"".join(sent)
    out = b"".join(map(copy_data, expected))
    assert fed(stream(layout, header=header), whole) == out
    for place in range(len(whole)):
        assert fed(stream(layout, header=header), whole[:place], whole[place:]) == out
        copied = stream(layout, header=header)
        data = copy_data(whole[:place]) + copy_data(whole[place:])
        # and the messages themselves, over reads
        for cut in (1, 4, len(data) // 2):
            copied = stream(layout, header=header)
            first, reached, _ = copied.feed(data, 0, cut)
            second, end, _ = copied.feed(data, reached, len(data))
            assert end == len(data)
            assert first + second + copied.finish()[0] == out


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_cut_anywhere(data: st.DataObject) -> None:
    layout, header, sent, expected = data.draw(st.sampled_from(CASES))
    whole = b"".join(sent) if data.draw(st.booleans()) or layout is BINARY else b"".join(sent) * 3
    expected = expected if len(whole) == len(b"".join(sent)) or header else expected * 3
    if header:
        whole = b"".join(sent)
    places = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]
    assert fed(stream(layout, header=header), *pieces) == b"".join(map(copy_data, expected))


def test_masked_cells_are_counted() -> None:
    copied = stream(TEXT)
    data = b"".join(map(copy_data, TEXTS))
    assert copied.feed(data, 0, len(data))[2] == 2
    data = copy_data(b"1\tse") + copy_data(b"cret\n")
    assert copied.feed(data, 0, len(data))[2] + copied.finish()[1] == 1


def test_a_row_in_many_pieces_is_read_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    copied = stream(TEXT)
    original = CopyStream._take

    def take(self: CopyStream) -> tuple[bytes, int]:
        nonlocal looks
        looks += 1
        return original(self)

    monkeypatch.setattr(CopyStream, "_take", take)
    data = b"".join(copy_data(b"x") for _ in range(10_000))
    copied.feed(data, 0, len(data))
    assert copied.held == 10_000
    assert looks < 20


def test_it_stops_at_another_message() -> None:
    data = copy_data(TEXTS[0]) + b"c\0\0\0\4"
    out, reached, cells = stream(TEXT).feed(data, 0, len(data))
    assert (out, reached, cells) == (copy_data(TEXTS_MASKED[0]), len(data) - 5, 1)


@pytest.mark.parametrize(
    ("layout", "header", "sent"),
    [
        (TEXT, False, [b"1\tsec"]),
        (TEXT, False, [b"1\tsecret\\"]),
        (TEXT, True, []),
        (TEXT, True, [b"id"]),
        (TEXT, False, [b"1\tsecret\n2"]),
        (TEXT, False, [b"1\n2\t3\n"]),
        (TEXT, True, [b"id\n"]),
        (CSV, False, [b'1,"secret\n']),
        (BINARY, False, []),
        (BINARY, False, [BEGINNING[:12]]),
        (BINARY, False, [BEGINNING]),
        (BINARY, False, [BEGINNING + binary(b"1", b"2")]),
        (BINARY, False, [BEGINNING + END + b"x"]),
        (BINARY, False, [BEGINNING + END, binary(b"1", b"2")]),
        (BINARY, False, [BEGINNING + END, END]),
        (BINARY, False, [b"PGCOPX"]),
        (BINARY, False, [BEGINNING[:11] + b"\0\1\0\0" + bytes(4) + END]),
        (BINARY, False, [BEGINNING[:15] + b"\0\0\0\4" + bytes(4) + END]),
        (BINARY, False, [BEGINNING + b"\0\2\0\0\0\1x" + b"\xff\xff\xff\xfe"]),
    ],
)
def test_what_no_server_sends(layout: Layout, header: bool, sent: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r"cop(y|ied)|COPY|middle"):
        fed(stream(layout, header=header), *sent)


def test_a_length_no_message_has() -> None:
    for layout in (TEXT, BINARY):
        with pytest.raises(ValueError, match="impossible length"):
            stream(layout).feed(b"d\0\0\0\3xxxx", 0, 9)
