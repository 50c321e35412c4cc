"""A real collector for a house, and somebody who decides there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from lockgate.approval.hold import Hold
from lockgate.collector.server import Server
from lockgate.config import Collector, CollectorFile
from lockgate.identity.tokens import Approval
from lockgate.values.identity import Principal
from tests.collector.chains import workload
from tests.proxy.house import House
from tests.support.postgres import free_port


class Desk:
    """A real collector, and somebody who decides there."""

    def __init__(self, house: House) -> None:
        self.house = house

    async def hold(self) -> Hold:
        """The one that waits."""
        while True:
            listed = await self._call("GET", "/v1/holds")
            found = listed.json().get("holds", []) if listed.is_success else []
            if found:
                return msgspec.convert(found[0].get("hold", found[0]), Hold)
            await asyncio.sleep(0.02)

    async def decide(self, hold: Hold, how: str = "approve") -> None:
        who, token = Principal("bob", "bob", ("dba",)), Approval(hold.id, hold.digest, how)  # type: ignore[arg-type]
        text = self.house.issuer.issue_approval(who, workload(), token).text
        answer = await self._call("POST", f"/v1/holds/{hold.id}/{how}", text, {"digest": hold.digest, "comment": "c"})
        assert answer.is_success, answer.text

    async def _call(self, method: str, path: str, token: str = "", body: Any = None) -> httpx.Response:
        token = token or self.house.issuer.issue(Principal("bob", "bob", ("dba",)), workload(1000)).text
        async with httpx.AsyncClient(base_url=self.house.approvals._url, trust_env=False) as http:
            return await http.request(method, path, headers={"Authorization": f"Bearer {token}"}, json=body)


@asynccontextmanager
async def collecting(folder: Path) -> AsyncIterator[str]:
    """A collector; its address as a house's `collector`."""
    listen, http = (f"127.0.0.1:{free_port()}" for _ in range(2))
    settings = CollectorFile(collector=Collector(listen=listen, http=http, state_dir=str(folder / "collector")))
    async with Server(settings):
        yield f"http://{http}"
