"""Statements that wait for a second person: how many may, and how their wait ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from lockgate.approval.client import ApprovalClient, ApprovalError, Resolution
from lockgate.approval.hold import Hold, Locks
from lockgate.proxy.lookout import LOOKS
from lockgate.wire.gate import Refusal, Why

FAREWELLS: Final = 4096
"""Last words to the collector that may be on their way. One that is away takes none of them: the hold expires there."""

log = logging.getLogger(__name__)


class TooManyHeld(Exception):
    """`limits.held_statements` is reached."""


class Holds:
    """The agent's waits. `limit` bounds how many statements may wait at a time."""

    def __init__(self, client: ApprovalClient, limit: int) -> None:
        self._client = client
        self._limit = limit
        self._held = 0
        self.looks = asyncio.Semaphore(LOOKS)
        """Places of those who look at what a held statement keeps locked."""
        self._farewells: set[asyncio.Task[None]] = set()

    @property
    def held(self) -> int:
        """How many wait now."""
        return self._held

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place for one more. Raises TooManyHeld."""
        if self._held >= self._limit:
            raise TooManyHeld(f"{self._limit} statements wait for approval already")
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    async def wait(self, hold: Hold, looked: Callable[[], None]) -> Resolution:
        """Until somebody decides or the hold expires. `looked` is called when the hold can be seen, and then whenever
        somebody looks at it."""
        return await self._client.hold(hold, looked)

    async def tell_locks(self, hold: str, locks: Locks) -> None:
        """Tell the collector what a statement that waits keeps locked."""
        try:
            await self._client.tell_locks(hold, locks)
        except ApprovalError as error:
            log.info("%s", error)  # an approver sees how old what they see is

    def withdraw(self, hold: str) -> None:
        """Nobody waits for this decision any more: tell the collector, without making anyone wait for that."""
        self._farewell(self._client.cancel(hold))

    def became(self, hold: str, refused: str | None) -> None:
        """What became of an approval: None when the statement was released, or why not. Nobody waits for that either:
        the approver may, at the collector."""
        self._farewell(self._client.tell_became(hold, refused))

    def _farewell(self, word: Coroutine[Any, Any, None]) -> None:
        if len(self._farewells) >= FAREWELLS:
            word.close()
            log.warning("the collector is not told how a hold ended: %d such words are on their way", FAREWELLS)
            return
        task = asyncio.get_running_loop().create_task(_told(word))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    async def close(self) -> None:
        """Wait for the last farewells."""
        await asyncio.gather(*self._farewells, return_exceptions=True)


async def _told(word: Coroutine[Any, Any, None]) -> None:
    try:
        await word
    except ApprovalError as error:
        log.warning("%s", error)  # it expires there


def no(why: str) -> Refusal:
    """A refusal in our own words."""
    return Refusal(Why.DENIED, f"lockgate: {why}")


def unapproved(hold: Hold, resolution: Resolution) -> Refusal | None:
    """What a client is told whose hold has ended otherwise than by an approval."""
    if resolution.outcome == "expired":
        return no(
            f"nobody of {' or '.join(hold.approvers)} approved within {hold.expires - hold.created:g} s{_open(hold)}"
        )
    approver = resolution.approver
    if resolution.outcome == "approved" and approver is not None:
        return None
    who = f" by {approver.person}" if approver is not None else ""
    comment = f": {resolution.comment}" if resolution.comment else ""
    return no(f"{resolution.outcome}{who}{comment}")


def _open(hold: Hold) -> str:
    return "" if hold.in_transaction_since is None else ", which is as long as a transaction may be kept open for it"
