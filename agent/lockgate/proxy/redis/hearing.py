"""What a client hears without asking: judged by the rules and the identity of the moment, not by those it began under.

A subscription lasts as long as its connection; policies, what is classified, who its client is and whether its
datastore is enforced may become others meanwhile. So each message is asked about. While nothing has changed that is a
comparison and a look-up; once something has, the first message of each subscription has that judged anew.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lockgate.masking.plan import Unmaskable
from lockgate.masking.replies.messages import MessageMasker
from lockgate.policy.decide import Engine
from lockgate.proxy.redis.judge import CommandJudge, CommandJudgement
from lockgate.values.identity import Asker
from lockgate.values.verdict import Decision
from lockgate.wire.gate import Asked, MaskingError, Refusal, Why
from lockgate.wire.redis.gate import Ear, ReplyMask

if TYPE_CHECKING:
    from lockgate.proxy.redis.gate import CommandGate

REMEMBERED: Final = 1024
"""Subscriptions of one connection of which is remembered what they were judged, and channels of which what masks their
messages (a pattern may bring any number): some 200 KiB. Beyond, they are judged again."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Approved:
    """`Ruling.standing` of a command behind which something comes, where another person let it pass: what was asked of
    whom, and for whom."""

    policy: str
    approvers: tuple[str, ...]
    principal: str
    person: str | None
    groups: tuple[str, ...]
    user: str


def approved(judgement: CommandJudgement, asker: Asker) -> Approved | None:
    """What another person has let pass, or would have to; None where none has to."""
    verdict, claims = judgement.verdict, asker.claims
    if verdict.decision is not Decision.HOLD:
        return None
    return Approved(verdict.policy, verdict.approvers, claims.principal, claims.person, claims.groups, asker.user)


@dataclass(frozen=True, slots=True)
class _Moment:
    """What things are judged by. Compared by identity, since all of them are replaced and never changed."""

    engine: Engine
    judge: CommandJudge
    asker: Asker
    minute: int

    def lasts(self, engine: Engine, judge: CommandJudge, asker: Asker, minute: int) -> bool:
        return self.engine is engine and self.judge is judge and self.asker is asker and self.minute == minute


@dataclass(frozen=True, slots=True)
class Message:
    """Masks one, and counts what it masks. Implements `lockgate.wire.redis.gate.ReplyMask`."""

    masker: MessageMasker
    gate: CommandGate

    def mask(self, reply: bytes, *, resp3: bool) -> tuple[bytes, int, dict[str, int]]:
        """See `ReplyMask`."""
        try:
            shown = self.masker.mask(reply, resp3=resp3)
        except Unmaskable as error:
            raise MaskingError(f"lockgate: {error}") from error
        _, cells, found = shown
        metrics = self.gate.services.metrics
        if cells:
            metrics.masked(self.gate.store.name, cells)
        if found:
            metrics.detected(found)
        return shown


class Hearing:
    """Of one connection."""

    __slots__ = ("_gate", "_judged", "_masks", "_moment")

    def __init__(self, gate: CommandGate) -> None:
        self._gate = gate
        self._moment: _Moment | None = None
        self._judged: dict[tuple[bytes, ...], CommandJudgement] = {}
        """Commands that would be let pass at that moment."""
        self._masks: dict[bytes, ReplyMask | None] = {}
        """By channel, whatever command has its messages come."""

    def heard(self, ear: Ear, channel: bytes | None) -> ReplyMask | Refusal | None:
        """See `lockgate.wire.redis.gate.CommandGate`."""
        gate = self._gate
        store = gate.store
        if not store.enforced:
            return None
        gone = gate.refresh()
        engine, judge, asker = gate.services.policies.engine, store.judge, gate.asker
        minute = engine.minute
        if self._moment is None or not self._moment.lasts(engine, judge, asker, minute):
            self._judged.clear()
            self._masks.clear()
            self._moment = _Moment(engine, judge, asker, minute)
        judgement = self._judged.get(ear.args)
        if judgement is None or gone is not None:
            found = self._judge(ear, gone)
            if isinstance(found, Refusal):
                return found
            if len(self._judged) >= REMEMBERED:
                self._judged.clear()
            judgement = self._judged[ear.args] = found
        if channel is None:
            return None
        try:
            return self._masks[channel]
        except KeyError:
            return self._masked(judgement, channel)

    def _judge(self, ear: Ear, gone: Refusal | None) -> CommandJudgement | Refusal:
        gate = self._gate
        asked = Asked(gate.understand(ear.args))
        judgement = gate.judge(asked, None)
        refusal = gone or judgement.refusal or _unapproved(judgement, gate.asker, ear.standing)
        if refusal is None:
            return judgement
        log.info("a connection ends: what it listens to is not for it any more", extra={"datastore": gate.store.name})
        return gate.end_listening(asked, judgement, refusal)

    def _masked(self, judgement: CommandJudgement, channel: bytes) -> ReplyMask | None:
        if len(self._masks) >= REMEMBERED:
            self._masks.clear()
        masker = self._gate.store.judge.message(judgement, channel)
        found = self._masks[channel] = None if masker is None else Message(masker, self._gate)
        return found


def _unapproved(judgement: CommandJudgement, asker: Asker, standing: Approved | None) -> Refusal | None:
    """Why what takes a second person is not let pass: nobody has said so of what is asked now."""
    verdict, needed = judgement.verdict, approved(judgement, asker)
    if needed is None or needed == standing:
        return None
    return Refusal(
        Why.DENIED, f"lockgate: by now this takes a second person: {verdict.reason}", f"policy {verdict.policy}"
    )
