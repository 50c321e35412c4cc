"""What the kernel redirects, kept as it should be: names resolved again, modes that turned, and what stood before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from lockgate.config import AgentFile
from lockgate.kernel import standing
from lockgate.kernel.addresses import AddressBook, Declared
from lockgate.kernel.layout import Target
from lockgate.kernel.libbpf import KernelError
from lockgate.kernel.pins import pin_dir
from lockgate.kernel.standing import Standing, StandingError
from lockgate.kernel.tables import Tables
from lockgate.proxy.listener import Listener
from lockgate.proxy.store import Store

log = logging.getLogger(__name__)

RESOLVE_SECONDS: Final = 30.0
"""How often host names of datastores are resolved again."""


class Redirection:
    """`stores` and `listeners` are in the order of the configuration's datastores; the listeners have their ports."""

    def __init__(
        self, settings: AgentFile, stores: Sequence[Store], listeners: Sequence[Listener], tables: Tables
    ) -> None:
        """Raises ValueError for an address that is none."""
        self._stores = stores
        self._tables = tables
        self._cgroup, self._pins = settings.intercept.cgroup, pin_dir(settings.agent.run_dir)
        self._file = Path(settings.agent.state_dir) / standing.FILE
        self._stood = standing.last(self._file)
        self._targets: list[Target] | None = None
        """Those that the kernel has, None where that isn't known."""
        self._problems: tuple[str, ...] = ()
        self._resolving = asyncio.Lock()
        self.book = AddressBook(
            Declared(index, listener.port, tuple(store.addresses))
            for index, (store, listener) in enumerate(zip(settings.datastores, listeners, strict=True))
        )

    async def set(self) -> None:
        """Put what host names stand for now into the kernel. Raises ValueError, KernelError and StandingError."""
        async with self._resolving:
            await asyncio.to_thread(self.book.refresh)
            if self.book.problems != self._problems:
                self._problems = self.book.problems
                for problem in self._problems:
                    log.warning("%s", problem)
            self._replace(self._wanted())

    async def renew(self) -> None:
        """As set(). What can't be put there is logged: a name with too many addresses closes the gate for no other."""
        try:
            await self.set()
        except (ValueError, KernelError, StandingError) as error:
            log.error("the addresses of datastores are not brought up to date: %s", error)

    async def keep(self) -> None:
        """Renew it for as long as the agent runs."""
        while True:
            await asyncio.sleep(RESOLVE_SECONDS)
            await self.renew()

    def _wanted(self) -> list[Target]:
        targets = [replace(target, observed=self._stores[target.datastore].observed) for target in self.book.targets]
        if self._stood is None or not any(self._stores[datastore].enforced for datastore in self.book.unknown):
            return targets
        # what the name stands for may be what was enforced before, and is nobody else's to observe
        return targets + self._stood.enforced(besides=targets)

    def _replace(self, targets: list[Target]) -> None:
        if targets == self._targets:
            return
        closed = sum(target.listener_port == standing.NOBODY for target in targets)
        if closed:
            log.warning("%d addresses enforced before are refused until every name stands for one", closed)
        self._targets = None
        self._tables.set_targets(targets)
        # as it stands now it stands again after the next boot: kept before it is counted on
        Standing.of(self._cgroup, self._pins, targets).keep(self._file)
        self._targets = targets
