"""One record as the store keeps it: its canonical bytes, their hash, and the fields one searches by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from lockgate.audit import chain
from lockgate.audit.record import MAX_RECORD_BYTES, Envelope, RecordError, canonical


@dataclass(frozen=True, slots=True)
class Entry:
    """`hash` is the SHA-256 of `raw`; `prev` the hash that the record says came before it. `otherwise` of a statement
    that was observed, or judged by a bundle that is only tried, where these would not have let it pass as it was."""

    raw: bytes
    hash: bytes
    host: str
    seq: int
    prev: bytes
    time: int
    type: str
    phase: str | None
    id: str | None
    connection: str | None
    principal: str | None
    person: str | None
    datastore: str | None
    verdict: str | None
    statement: str | None
    objects: tuple[str, ...]
    otherwise: Otherwise | None


@dataclass(frozen=True, slots=True)
class Otherwise:
    """What would have been done: deny, hold, or mask for what would have gone with something masked, and by which
    policy; in `shadow` also allow. None for no more than was done."""

    would: str | None
    policy: str | None
    shadow: str | None
    shadow_policy: str | None


class _Connection(msgspec.Struct, frozen=True):
    id: str | None = None
    principal: str | None = None
    person: str | None = None
    datastore: str | None = None


class _Shadow(msgspec.Struct, frozen=True):
    would: str
    policy: str
    masks: tuple[object, ...] = ()
    detects: tuple[object, ...] = ()


class _Record(Envelope, frozen=True, kw_only=True):
    connection: _Connection | None = None
    verdict: str | None = None
    statement: str | None = None
    objects: tuple[str, ...] = ()
    would: str | None = None
    policy: str | None = None
    masks: tuple[object, ...] = ()
    detects: tuple[object, ...] = ()
    shadow: _Shadow | None = None


_decode = msgspec.msgpack.Decoder(_Record).decode


def parse(raw: bytes) -> Entry:
    """The entry of one record, put back into canonical form if a relay re-encoded it. Raises RecordError."""
    if len(raw) > MAX_RECORD_BYTES:
        raise RecordError(f"a record of more than {MAX_RECORD_BYTES} bytes")
    raw = canonical(raw)
    try:
        record = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"not a record: {error}") from None
    connection = record.connection or _Connection()
    return Entry(
        raw=raw,
        hash=chain.step(raw),
        host=record.host,
        seq=record.seq,
        prev=record.prev,
        time=record.time,
        type=record.type,
        phase=record.phase,
        id=record.id,
        connection=connection.id,
        principal=connection.principal,
        person=connection.person,
        datastore=connection.datastore,
        verdict=record.verdict,
        statement=record.statement,
        objects=record.objects,
        otherwise=_otherwise(record),
    )


def parse_all(records: Iterable[bytes]) -> list[Entry]:
    """The entries of several records. Raises RecordError for the first that is none."""
    return [parse(raw) for raw in records]


def _otherwise(record: _Record) -> Otherwise | None:
    if record.type != "statement" or record.phase != "begin":
        return None  # what is only prepared has a record of its own when it is run
    would, shadow = None, record.shadow
    if record.would is not None:
        would = _word(record.would, record.masks or record.detects)
    if would in (None, "allow") and shadow is None:
        return None
    return Otherwise(
        None if would == "allow" else would,
        None if would in (None, "allow") else record.policy,
        None if shadow is None else _word(shadow.would, shadow.masks or shadow.detects),
        None if shadow is None else shadow.policy,
    )


def _word(would: str, masked: tuple[object, ...]) -> str:
    return "mask" if would == "allow" and masked else would
