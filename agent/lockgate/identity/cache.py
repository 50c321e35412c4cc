"""Who is asking, remembered for as long as it stays true."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lockgate.identity.principals import Directory
from lockgate.identity.tokens import TokenIssuer
from lockgate.identity.workload import PROC, IdentityError, ProcessGone, describe
from lockgate.values.identity import Claims, Origin, Principal, Workload

LIMIT: Final = 4096
"""Processes remembered at once: one pidfd each while watched. `limits.workload_cache` in the configuration."""

RENEW_BEFORE: Final = 60.0
"""Seconds of life a token must have left; with less it is renewed before it is used."""


@dataclass(frozen=True, slots=True)
class Identified:
    """A process and its token. Use it through `Identities.fresh`, which knows when it no longer holds.

    `token_text` is the signed token, a secret while it lives. `valid_from` and `renew_at` are in seconds since the
    epoch: outside of them, also because the clock was set back, the token is renewed.
    """

    origin: Origin
    workload: Workload
    principal: Principal
    token_text: str = field(repr=False)
    claims: Claims
    valid_from: float
    renew_at: float
    generation: int


@dataclass(frozen=True, slots=True)
class _Key:
    """One program image of one process, as the kernel saw it: an exec, another uid or another cgroup is another key."""

    pid: int
    start_ns: int
    exec_id: int
    uid: int
    cgroup_id: int


def _key(origin: Origin) -> _Key:
    return _Key(origin.pid, origin.start_ns, origin.exec_id, origin.uid, origin.cgroup_id)


class Identities:
    """Origin -> Identified. For one thread: the event loop's.

    At most `limit` processes are remembered, the least recently identified is forgotten first. Being forgotten costs a
    process a look into /proc and a signature at its next connection, nothing else.
    """

    def __init__(self, directory: Directory, issuer: TokenIssuer, proc: Path = PROC, limit: int = LIMIT) -> None:
        self._directory = directory
        self._issuer = issuer
        self._clock = issuer.clock
        self._proc = proc
        self._limit = limit
        self._known: OrderedDict[_Key, Identified] = OrderedDict()
        self._exits: dict[_Key, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._generation = 0

    def __len__(self) -> int:
        return len(self._known)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on forget a process as soon as it exits: its pidfd (pidfd_open(2), Linux 5.3) is read by `loop`.

        Needs one descriptor a remembered process. `close` ends it.
        """
        self._loop = loop

    def identify(self, origin: Origin) -> Identified:
        """Who connected. Raises ProcessGone, or IdentityError when the host can't tell."""
        key = _key(origin)
        known = self._known.get(key)
        if known is None:
            return self._look(key, origin, None)
        self._known.move_to_end(key)
        return known if self.holds(known) else self._look(key, origin, known)

    def fresh(self, identified: Identified) -> Identified:
        """The same while it holds, renewed when its token is about to end or identities.yaml was read again.

        To be called for every statement. Raises ProcessGone when the process that connected has ended, or has become
        another program: whoever holds its connection now is not who opened it.
        """
        if self.holds(identified):
            return identified
        key = _key(identified.origin)
        known = self._known.get(key)
        if known is not None and self.holds(known):
            return known
        return self._look(key, identified.origin, identified)

    def forget(self, pid: int) -> None:
        """Drop everything remembered of a process number."""
        for key in [key for key in self._known if key.pid == pid]:
            self._drop(key)

    def replace(self, directory: Directory) -> None:
        """Take new entries of identities.yaml: whoever is asked about from now on is judged by these."""
        self._directory = directory
        self._generation += 1
        self._forget_all()

    def close(self) -> None:
        """Forget everything and close every pidfd."""
        self._forget_all()
        self._loop = None

    def holds(self, identified: Identified) -> bool:
        """Whether it need not be renewed."""
        now = self._clock()
        return identified.valid_from <= now < identified.renew_at and identified.generation == self._generation

    def _look(self, key: _Key, origin: Origin, before: Identified | None) -> Identified:
        """Read the process from /proc, name it, sign, remember."""
        # opened before the process is looked at, so that it can't be another's that came between
        exit_descriptor = None if key in self._exits else self._open_exit(origin.pid)
        try:
            workload = describe(origin, self._proc)
            if before is not None and workload.exe != before.workload.exe:
                raise ProcessGone(f"pid {origin.pid} has become another program")
            found = self._issue(origin, workload)
        except IdentityError:
            self._drop(key)
            if exit_descriptor is not None:
                os.close(exit_descriptor)
            raise
        self._known[key] = found
        if exit_descriptor is not None and self._loop is not None:
            self._exits[key] = exit_descriptor
            self._loop.add_reader(exit_descriptor, self._drop, key)
        if len(self._known) > self._limit:
            self._drop(next(iter(self._known)))
        return found

    def _issue(self, origin: Origin, workload: Workload) -> Identified:
        principal = self._directory.principal(workload)
        try:
            token = self._issuer.issue(principal, workload)
        except ValueError as error:
            raise IdentityError(str(error)) from error
        return Identified(
            origin=origin,
            workload=workload,
            principal=principal,
            token_text=token.text,
            claims=token.claims,
            valid_from=token.claims.issued_at,
            renew_at=token.claims.expires_at - RENEW_BEFORE,
            generation=self._generation,
        )

    def _open_exit(self, pid: int) -> int | None:
        """A descriptor that becomes readable when the process exits, None while nobody watches."""
        if self._loop is None:
            return None
        try:
            return os.pidfd_open(pid)
        except ProcessLookupError as error:
            raise ProcessGone(f"pid {pid} has ended") from error
        except OSError as error:
            raise IdentityError(f"pid {pid}: pidfd_open: {error.strerror or error}") from error

    def _drop(self, key: _Key) -> None:
        self._known.pop(key, None)
        descriptor = self._exits.pop(key, None)
        if descriptor is not None and self._loop is not None:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)

    def _forget_all(self) -> None:
        for key in list(self._known):
            self._drop(key)
