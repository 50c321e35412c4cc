"""A host with an agent's control socket and a collector, in a thread, for commands to talk to."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from click.testing import CliRunner, Result

from lockgate.approval.client import ApprovalClient
from lockgate.approval.control import ControlSocket
from lockgate.cli import main
from lockgate.collector.server import Server
from lockgate.config import Collector, CollectorFile
from lockgate.values.identity import Principal, Workload
from tests.collector.chains import Host
from tests.support.postgres import free_port

T = TypeVar("T")


@dataclass
class Who:
    workload: Workload
    principal: Principal


class Desk:
    """`with Desk(folder) as desk:` runs both; `desk.be(...)` says who is at the keyboard; `desk.run(...)` a command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = Host()
        self.principal = Principal("bob", "bob", ("dba", "security"))
        self.container: str | None = None
        self.notes: list[tuple[str, str]] = []
        self.listen, self.http = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.state = folder / "collector"
        self.agent_yaml = folder / "agent.yaml"
        self.collector_yaml = folder / "collector.yaml"
        self.agent_yaml.write_text(
            json.dumps(
                {
                    "agent": {"name": "host-1", "state_dir": str(folder), "run_dir": str(folder / "run")},
                    "intercept": {"cgroup": "/"},
                    "datastores": [{"name": "orders", "protocol": "postgresql", "addresses": ["127.0.0.1:5432"]}],
                    "collector": {"address": self.listen, "api": f"http://{self.http}"},
                }
            )
        )
        collector = {"listen": self.listen, "http": self.http, "state_dir": str(self.state)}
        self.collector_yaml.write_text(json.dumps({"collector": collector}))
        trusted = {"host-1": self.host.key.kid}
        self._settings = CollectorFile(
            collector=Collector(listen=self.listen, http=self.http, state_dir=str(self.state), hosts=trusted)
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.server = Server(self._settings)

    def __enter__(self) -> Desk:
        self._thread.start()
        self.do(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` on the loop of the two."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def write(self, work: Callable[..., T], *args: Any) -> T:
        """Calls `work` in the store's thread."""
        return self.do(self.server._writer.run(work, *args))

    def be(self, name: str, *groups: str, person: str | None = "") -> None:
        self.principal = Principal(name, name if person == "" else person, groups)

    def run(self, *arguments: str, config: Path | None = None) -> Result:
        return CliRunner().invoke(main, [*arguments, "--config", str(config or self.agent_yaml)])

    async def _start(self) -> None:
        await self.server.__aenter__()
        self.client = ApprovalClient(f"http://{self.http}", "host-1", self.host.key.jwks(), self.host.agent)
        await self.client.publish_key()
        workload = Workload(1, 1, 1, "/usr/bin/lockgate", (), 0, "root", "/")
        self.control = ControlSocket(
            self.folder / "run",
            self.host.issuer,
            lambda pid, uid, gid: Who(replace(workload, uid=uid, container=self.container), self.principal),
            dict,
            lambda event, detail: self.notes.append((event, detail)),
        )
        await self.control.start()

    async def _stop(self) -> None:
        await self.client.close()
        await self.control.close()
        await self.server.__aexit__(None, None, None)
        await self._loop.shutdown_default_executor()
