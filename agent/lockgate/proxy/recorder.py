"""The records of one connection: who and where to, encoded once, and what became of each statement."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from lockgate.approval.client import Resolution
from lockgate.approval.hold import Hold
from lockgate.audit import record
from lockgate.audit._forms import Form
from lockgate.audit.spool import Write
from lockgate.identity.cache import Identified
from lockgate.proxy.ledger import Ledger
from lockgate.values.identity import Endpoint
from lockgate.wire.gate import Refusal

NOTHING = msgspec.Raw(b"\xc0")

FORMS: Final = 32
"""Forms of records that are kept for a connection, some 2 KiB each. All are forgotten when one is too many."""


@dataclass(slots=True)
class Begun:
    """A statement on its way: the id of its records and when it was forwarded, in ns of the monotonic clock.

    `alters` says that it may change the catalog, `recorded` that its beginning is: without it, it has no end either.
    `write` is that of a beginning that was staged.
    """

    id: str
    sent: int
    alters: bool = False
    recorded: bool = True
    write: Write | None = None


class Recorder:
    """Writes records of one connection, those of what goes forward before it does.

    With `must` False nothing is refused for want of a record.
    """

    __slots__ = ("_facts", "_forms", "_identified", "_ledger", "_opened", "_place", "_staged", "_statements", "id")

    def __init__(self, ledger: Ledger, identifier: str) -> None:
        self.id = identifier
        self._ledger = ledger
        self._facts = NOTHING
        self._forms: dict[tuple[int, bool], tuple[Mapping[str, Any], Form]] = {}
        """By the identity of the facts, which are kept with it: so it is nobody else's."""
        self._identified: Identified | None = None
        self._place: Mapping[str, str] = {}
        self._statements = 0
        self._opened = 0
        self._staged: list[Write] = []
        """What `Ledger.written` wants to know of what is staged."""

    def open(
        self,
        identified: Identified | None,
        upstream: Endpoint,
        unread: str | None = None,
        must: bool = True,
        /,
        **place: str,
    ) -> Refusal | None:
        """The client introduced itself, or (with `unread`, which says why) did so in a way that isn't read.

        `place`: datastore, protocol, database, user, application. `identified` is None where it can't be told.
        """
        self._place = {**place, "upstream": str(upstream)}
        self._identified = identified
        self._tell()
        self._opened = time.monotonic_ns()
        fields = {"type": "connection", "phase": "begin", "id": self.id, "connection": self._facts}
        return self.write(fields if unread is None else {**fields, "unread": unread}, must=must)

    @property
    def opened(self) -> bool:
        """Whether `open` was called."""
        return bool(self._opened)

    def unread(self, why: str) -> None:
        """From here on nothing of the connection is read."""
        self.write({"type": "connection", "id": self.id, "connection": self._facts, "unread": why}, must=False)

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
            self._tell()

    def moved(self, **place: str) -> None:
        """It is in another `database` from here on, or another `user` there."""
        found = {**self._place, **place}
        if found != self._place:
            self._place = found
            self._tell()

    def _tell(self) -> None:
        identified = self._identified
        self._forms.clear()
        if identified is None:
            self._facts = msgspec.Raw(record.encoder.encode({"id": self.id, **self._place}))
        else:
            self._facts = record.connection(self.id, identified.claims, identified.workload, **self._place)

    def next(self) -> Begun:
        """A new statement."""
        self._statements += 1
        return Begun(f"{self.id}-{self._statements}", time.monotonic_ns())

    def begin(
        self, kind: str, begun: Begun, text: str, fields: Mapping[str, Any], *, must: bool = True
    ) -> Refusal | None:
        """`kind` is `statement` or `prepare`. A refusal when it can't be written: then nothing may go forward."""
        begins = {
            "type": kind,
            "phase": "begin",
            "id": begun.id,
            "connection": self._facts,
            "statement": text,
            **fields,
        }
        if must:
            return self._ledger.now(begins)
        begun.recorded = self._ledger.try_now(begins)
        return None

    def stage(self, begun: Begun, text: str, facts: Mapping[str, Any], commands: int) -> Refusal | None:
        """As `begin` of what must be recorded, together with others: `written` comes before they are sent.

        `facts` are fields that others have in common with it, and nobody changes; `text` has so many commands.
        """
        several = commands > 1
        form = self._form(facts, several)
        values = (commands, begun.id, text) if several else (begun.id, text)
        staged = self._ledger.stage(form, values)
        if isinstance(staged, Refusal):
            return staged
        begun.write = staged
        self._staged.append(staged)
        return None

    def _form(self, facts: Mapping[str, Any], several: bool) -> Form:
        known = self._forms.get((id(facts), several))
        if known is not None:
            return known[1]
        if len(self._forms) >= FORMS:
            self._forms.clear()
        fields = {"type": "statement", "phase": "begin", "connection": self._facts, **facts}
        form = self._ledger.form(fields, ("commands", "id", "statement") if several else ("id", "statement"))
        self._forms[id(facts), several] = facts, form
        return form

    def written(self) -> Refusal | None:
        """Write what was staged. A refusal when it isn't there: then none of it may go forward."""
        if not self._staged:
            return None
        staged, self._staged = self._staged, []
        return self._ledger.written(*staged)

    def completed(self, begun: Begun, size: int) -> int:
        """It has completed, and all that there is to say is how many bytes came back. As `end`."""
        duration = time.monotonic_ns() - begun.sent
        self._ledger.completed(begun.id, size, duration // 1000)
        return duration

    def end(self, begun: Begun, outcome: str, fields: Mapping[str, Any], kind: str = "statement") -> int:
        """What became of it. The answer is how long it took, in ns."""
        duration = time.monotonic_ns() - begun.sent
        if begun.recorded and (begun.write is None or begun.write.error is None):
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

    def write(self, fields: dict[str, Any], *, must: bool = True) -> Refusal | None:
        """Write one record. A refusal when it can't be: also for text that no encoding explains."""
        if must:
            return self._ledger.now(fields)
        self._ledger.try_now(fields)
        return None
