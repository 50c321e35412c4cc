"""How many may wait, and how a wait is taken back."""

from __future__ import annotations

import asyncio
import logging

import pytest

from lockgate.approval.client import ApprovalClient
from lockgate.proxy import holds as module
from lockgate.proxy.holds import Holds, TooManyHeld
from tests.collector.chains import Host
from tests.support.postgres import free_port


def holds(limit: int) -> Holds:
    host = Host()
    # nobody listens there
    client = ApprovalClient(f"http://127.0.0.1:{free_port()}", host.name, host.key.jwks(), host.agent)
    return Holds(client, limit)


def test_places_are_bounded_and_given_back_however_the_wait_ends() -> None:
    async def use() -> None:
        found = holds(1)
        async with found.place():
            assert found.held == 1
            with pytest.raises(TooManyHeld, match="1 statements wait"):
                await found.place().__aenter__()
        waiting = asyncio.create_task(_wait_in(found))
        await asyncio.sleep(0)
        assert found.held == 1
        waiting.cancel()
        await asyncio.wait([waiting])
        assert found.held == 0
        async with found.place():
            pass

    asyncio.run(use())


async def _wait_in(found: Holds) -> None:
    async with found.place():
        await asyncio.sleep(60)


def test_a_farewell_that_does_not_arrive_is_logged_and_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def use() -> None:
        found = holds(1)
        found.withdraw("a" * 32)
        with caplog.at_level(logging.WARNING):
            await found.close()
        assert "could not be cancelled" in caplog.text

    asyncio.run(use())


def test_who_asks_and_cancels_without_end_does_not_fill_the_memory(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FAREWELLS", 2)

    async def use() -> None:
        found = holds(1)
        before = len(asyncio.all_tasks())
        for _ in range(5):
            found.withdraw("a" * 32)
        assert len(asyncio.all_tasks()) == before + 2
        await found.close()

    asyncio.run(use())
    assert caplog.text.count("2 such words") == 3
