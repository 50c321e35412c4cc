"""The collector as a process: it starts with a word, ends with manners, and is killed without loss."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from lockgate.approval.client import ApprovalClient
from lockgate.audit.shipper import Shipper
from lockgate.audit.spool import Spool
from lockgate.collector.search import Reader
from lockgate.collector.store import Store, database
from lockgate.config import SpoolSettings
from tests.collector.chains import Host, hold
from tests.support.postgres import free_port


class Place:
    """A collector.yaml, its addresses and its program."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.forward, self.http = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.url = f"http://{self.http}"
        self.file = folder / "collector.yaml"
        settings = {"listen": self.forward, "http": self.http, "state_dir": str(self.state)}
        self.file.write_text(json.dumps({"collector": settings}))

    def spawn(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", "from lockgate.cli import main; main()", "collector", "--config", str(self.file)],
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """A collector that is ready; killed at the end if it still lives."""
        process = self.spawn()
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            assert "ready: forward on" in line, line + process.stderr.read()
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_it_says_that_it_is_ready_and_stops_when_told(place: Place) -> None:
    with place.running() as process:
        assert httpx.get(f"{place.url}/healthz", trust_env=False).json() == {"status": "ok"}
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=10)
        assert process.returncode == 0
        assert "stopped" in rest
        assert all(json.loads(line)["message"] for line in rest.splitlines())


def test_an_answer_does_not_wait_for_an_acknowledgement(place: Place) -> None:
    # head and body of an answer are two writes: without TCP_NODELAY the second waits 40 ms for the peer's delayed ACK
    with place.running(), httpx.Client(base_url=place.url, trust_env=False) as client:
        spent = []
        for _ in range(15):
            began = time.perf_counter()
            assert client.get("/healthz").status_code == 200
            spent.append(time.perf_counter() - began)
        assert statistics.median(spent) < 0.03


def test_it_answers_who_waits_before_it_stops(place: Place) -> None:
    host = Host()
    with place.running() as process:

        async def use() -> None:
            client = ApprovalClient(place.url, host.name, host.key.jwks(), host.agent)
            await client.publish_key()
            await client.close()
            async with httpx.AsyncClient(base_url=place.url, trust_env=False, timeout=30) as http:
                headers = {"Authorization": f"Bearer {host.agent()}", "Content-Type": "application/json"}
                await http.post("/v1/holds", content=msgspec.json.encode(hold()), headers=headers)
                poll = asyncio.create_task(http.get("/v1/holds/hold-0001?wait=30", headers=headers))
                await asyncio.sleep(0.5)
                began = time.monotonic()
                process.send_signal(signal.SIGTERM)
                assert (await poll).json()["state"] == "waiting"
                assert time.monotonic() - began < 3

        asyncio.run(use())
        assert process.wait(10) == 0


@pytest.mark.parametrize("which", ["forward", "http"])
def test_a_taken_address_is_said(place: Place, which: str) -> None:
    taken = getattr(place, which)
    host, _, port = taken.partition(":")
    with socket.create_server((host, int(port))):
        process = place.spawn()
        _, text = process.communicate(timeout=20)
    assert process.returncode == 1
    key = "listen" if which == "forward" else "http"
    assert f"lockgate: collector.{key}: {taken}: " in text
    assert "in use" in text
    assert "Traceback" not in text


def test_a_store_that_is_none_is_said(place: Place) -> None:
    place.state.mkdir()
    database(place.state).write_bytes(b"this is not a database, whatever its name says" * 30)
    process = place.spawn()
    _, text = process.communicate(timeout=20)
    assert process.returncode == 1
    assert f"lockgate: collector.state_dir: {database(place.state)}: file is not a database" in text
    assert "Traceback" not in text


def test_a_collector_killed_while_an_agent_ships_loses_and_doubles_nothing(place: Place, tmp_path: Path) -> None:
    host = Host()
    records = 3000

    async def use() -> None:
        spool = Spool(tmp_path / "spool", host.name, host.key, SpoolSettings(segment_bytes=65536), time.time_ns)
        shipper = Shipper(spool, place.forward)
        shipping = asyncio.create_task(shipper.run())
        written = 0

        async def write(count: int) -> None:
            nonlocal written
            for _ in range(count):
                written += 1
                spool.append({"type": "statement", "phase": "begin", "id": f"c-{written}", "statement": "SELECT 1"})
                spool.commit()
                if not written % 50:
                    await asyncio.sleep(0.005)

        try:
            for life in range(3):
                with place.running() as process:
                    await write(records // 3)
                    if life == 2:
                        client = ApprovalClient(place.url, host.name, host.key.jwks(), host.agent)
                        await client.publish_key()
                        await client.close()
                        spool.seal()
                        await asyncio.wait_for(shipper.drained(), 30)
                    process.kill()
        finally:
            shipping.cancel()
            await asyncio.gather(shipping, return_exceptions=True)
            spool.close()

    asyncio.run(use())
    with Reader(database(place.state)) as reader:
        answer = reader.verify(host.name)
    assert answer["ok"], answer
    with Store(database(place.state)) as store:
        ids = [i for (i,) in store.db.execute("SELECT id FROM records WHERE id IS NOT NULL ORDER BY seq")]
    assert ids == [f"c-{number}" for number in range(1, records + 1)]
    assert answer["unsealed"] <= 1
    assert answer["alarms"] == []
