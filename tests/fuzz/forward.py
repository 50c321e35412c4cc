"""Records on their way to the collector: cut anywhere they are the same, and held within bounds."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import msgspec

from lockgate.audit.record import RecordError, canonical, decode, envelope
from lockgate.collector.forward import Batch, Decoder, Malformed
from tests.fuzz.target import Target

_LIMIT: Final = 4096


def check_forward(data: bytes) -> None:
    """Forward messages cut anywhere give the same batches, within bounds; records are read, or refused."""
    whole, pieces = _fed(data, len(data) or 1), _fed(data, 3)
    assert whole == pieces, "what is received hangs on how it is cut"
    for batch in whole[0]:
        for one in batch.records:
            for read in (envelope, decode, canonical):
                with suppress(RecordError):
                    read(one)
            with suppress(RecordError):
                assert canonical(canonical(one)) == canonical(one), "canonical form is not the end of it"


def _fed(data: bytes, piece: int) -> tuple[list[Batch], bool]:
    decoder = Decoder(_LIMIT)
    found: list[Batch] = []
    try:
        for at in range(0, len(data), piece):
            found += decoder.feed(data[at : at + piece])
            assert decoder.held <= _LIMIT + piece
    except Malformed:
        return [], True
    return found, False


def _packed(*parts: Any) -> bytes:
    return msgspec.msgpack.encode(parts)


_RECORD: Final = {"id": "01", "type": "statement", "phase": "begin", "host": "h", "seq": 1, "at": 1.5, "text": "x"}
_FORWARD: Final = [
    _packed("lockgate", 1, _RECORD, {"chunk": "a"}),
    _packed("lockgate", [[1, _RECORD], [msgspec.msgpack.Ext(0, bytes(8)), {}]], {"chunk": "b", "size": 2}),
    _packed("lockgate", _packed(1, _RECORD) * 3, {"compressed": "text"}) + b"\xc0",
    bytes.fromhex("93a178c4231f8b0800000000000003") + bytes(28) + b"\x81\xaacompressed\xa4gzip",
]

CHECKS: Final = [Target("forward", check_forward, _FORWARD)]
