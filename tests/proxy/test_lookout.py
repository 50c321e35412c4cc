"""How often somebody may look at what a held statement locks."""

from __future__ import annotations

import asyncio

import pytest

from lockgate.approval.hold import Locks
from lockgate.proxy import lookout as module
from lockgate.proxy.lookout import Lookout


def test_however_often_somebody_looks_the_server_is_asked_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCKS_SECONDS", 0.2)
    looks, told = 0, []

    async def look() -> Locks:
        nonlocal looks
        looks += 1
        return Locks(at=float(looks))

    async def tell(found: Locks) -> None:
        told.append(found.at)

    async def use() -> None:
        async with Lookout(look, tell, asyncio.Semaphore(1)) as lookout:
            await asyncio.sleep(0.05)
            assert looks == 0
            for _ in range(10):
                lookout.asked()
                await asyncio.sleep(0.01)
            assert told == [1.0]
            await asyncio.sleep(0.3)
            assert told == [1.0, 2.0]

    asyncio.run(use())
