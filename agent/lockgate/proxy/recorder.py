"""The records of one connection: who and where to, encoded once, and what became of each statement."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from lockgate.approval.client import Resolution
from lockgate.approval.hold import Hold
from lockgate.audit import record
from lockgate.identity.cache import Identified
from lockgate.proxy.ledger import Ledger
from lockgate.values.identity import Endpoint
from lockgate.wire.gate import Refusal

NOTHING = msgspec.Raw(b"\xc0")


@dataclass(slots=True)
class Begun:
    """A statement on its way: the id of its records and when it was forwarded, in ns of the monotonic clock.

    `alters` says that it may change the catalog.
    """

    id: str
    sent: int
    alters: bool = False


class Recorder:
    """Writes records of one connection, those of what goes forward before it does."""

    __slots__ = ("_facts", "_identified", "_ledger", "_opened", "_place", "_statements", "id")

    def __init__(self, ledger: Ledger, identifier: str) -> None:
        self.id = identifier
        self._ledger = ledger
        self._facts = NOTHING
        self._identified: Identified | None = None
        self._place: Mapping[str, str] = {}
        self._statements = 0
        self._opened = 0

    def open(self, identified: Identified, upstream: Endpoint, **place: str) -> Refusal | None:
        """The client introduced itself. `place`: datastore, protocol, database, user, application."""
        self._place = {**place, "upstream": str(upstream)}
        self.identify(identified)
        self._opened = time.monotonic_ns()
        return self.write({"type": "connection", "phase": "begin", "id": self.id, "connection": self._facts})

    def close(self, outcome: str) -> None:
        """The connection is over."""
        if self._opened:
            duration = (time.monotonic_ns() - self._opened) // 1000
            self.note({"type": "connection", "phase": "end", "id": self.id, "duration_us": duration,
                       "statements": self._statements, "outcome": outcome})  # fmt: skip

    def identify(self, identified: Identified) -> None:
        """Records from here on carry this identity's token."""
        if identified is not self._identified:
            self._identified = identified
            self._facts = record.connection(self.id, identified.claims, identified.workload, **self._place)

    def next(self) -> Begun:
        """A new statement."""
        self._statements += 1
        return Begun(f"{self.id}-{self._statements}", time.monotonic_ns())

    def begin(self, kind: str, begun: Begun, text: str, fields: Mapping[str, Any]) -> Refusal | None:
        """`kind` is `statement` or `prepare`. A refusal when it can't be written: then nothing may go forward."""
        return self.write({"type": kind, "phase": "begin", "id": begun.id, "connection": self._facts,
                           "statement": text, **fields})  # fmt: skip

    def end(self, begun: Begun, outcome: str, fields: Mapping[str, Any], kind: str = "statement") -> int:
        """What became of it. The answer is how long it took, in ns."""
        duration = time.monotonic_ns() - begun.sent
        self.note({"type": kind, "phase": "end", "id": begun.id, "outcome": outcome,
                   "duration_us": duration // 1000, **fields})  # fmt: skip
        return duration

    def decided(
        self, begun: Begun, hold: Hold, outcome: str, waited_ns: int, resolution: Resolution | None
    ) -> Refusal | None:
        """How a hold ended, before what it let through is sent."""
        fields: dict[str, Any] = {
            "type": "approval",
            "id": begun.id,
            "hold": hold.id,
            "digest": hold.digest,
            "outcome": outcome,
            "waited_us": waited_ns // 1000,
        }
        if resolution is not None and resolution.approver is not None:
            approver = resolution.approver
            fields |= {"approver": approver.principal, "person": approver.person, "token": approver.token,
                       "comment": resolution.comment}  # fmt: skip
            if resolution.by_grant is not None:
                fields["grant"] = resolution.by_grant
            if resolution.granted is not None:
                fields["granted"] = resolution.granted
        return self.write(fields)

    def note(self, fields: dict[str, Any]) -> None:
        """Record what has happened already."""
        self._ledger.soon(fields)

    def write(self, fields: dict[str, Any]) -> Refusal | None:
        """Write one record. A refusal when it can't be: also for text that no encoding explains."""
        return self._ledger.now(fields)
