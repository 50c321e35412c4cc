"""The agent's half against the real collector: it comes back, and a collector that lies opens nothing."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from lockgate.approval import client as client_module
from lockgate.approval.client import ApprovalClient, ApprovalError, Resolution
from lockgate.approval.hold import Decided, Hold, Locks
from lockgate.collector.server import Server
from lockgate.collector.store import Store, database
from lockgate.config import Collector, CollectorFile
from lockgate.identity.tokens import Approval, Granting
from lockgate.values.identity import Principal
from tests.collector.chains import Host, hold, workload
from tests.support.postgres import free_port


class Scene:
    """A collector that can be started and stopped at one address, and the client of one host."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.host = Host()
        listen, http = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.url = f"http://{http}"
        settings = {"listen": listen, "http": http, "state_dir": str(folder), **settings}
        self.config = CollectorFile(collector=Collector(**settings))
        self.client = self.client_of(self.host)

    def client_of(self, host: Host) -> ApprovalClient:
        return ApprovalClient(self.url, host.name, host.key.jwks(), host.agent)

    def collector(self) -> Server:
        return Server(self.config)

    async def decide(self, token: str, of: Hold, how: str = "approve", comment: str = "") -> int:
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as http:
            response = await http.post(
                f"/v1/holds/{of.id}/{how}",
                headers={"Authorization": f"Bearer {token}"},
                json={"digest": of.digest, "comment": comment},
            )
            return response.status_code

    async def waiting(self, of: Hold) -> None:
        """Returns once the collector has the hold."""
        token = self.host.person("bob", "dba")
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as http:
            while True:
                # 401 until the client has published its host's key
                response = await http.get("/v1/holds", headers={"Authorization": f"Bearer {token}"})
                if of.id in response.text:
                    return
                await asyncio.sleep(0.02)


def play(folder: Path, use: Callable[[Scene], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        scene = Scene(folder, **settings)
        try:
            async with asyncio.timeout(40):
                await use(scene)
        finally:
            await scene.client.close()

    asyncio.run(run())


@pytest.mark.parametrize(("how", "outcome"), [("approve", "approved"), ("deny", "denied")])
def test_a_decision_comes_with_its_signer_and_comment(tmp_path: Path, how: Any, outcome: str) -> None:
    async def use(scene: Scene) -> None:
        async with scene.collector():
            held = hold()
            asks = asyncio.create_task(scene.client.hold(held))
            await scene.waiting(held)
            token = scene.host.decision("bob", "dba", hold=held, decision=how)
            assert await scene.decide(token, held, how, "because") == 200
            resolution = await asks
            assert (resolution.outcome, resolution.token, resolution.comment) == (outcome, token, "because")
            assert resolution.approver is not None
            assert (resolution.approver.person, resolution.approver.groups) == ("bob", ("dba",))

    play(tmp_path, use)


def test_a_collector_that_does_not_know_the_host_is_told_its_key(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        async with scene.collector():
            held = hold(expires=time.time() + 0.7)
            assert await scene.client.hold(held) == Resolution("expired")

    play(tmp_path, use)


def test_a_collector_that_is_away_is_waited_for(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        held = hold()
        asks = asyncio.create_task(scene.client.hold(held))
        await asyncio.sleep(0.3)
        async with scene.collector():
            await scene.waiting(held)
        # it goes away again while the statement waits, and another one decides after it came back
        await asyncio.sleep(0.2)
        assert not asks.done()
        async with scene.collector():
            assert await scene.decide(scene.host.decision("bob", "dba", hold=held), held) == 200
            assert (await asks).outcome == "approved"

    play(tmp_path, use)


def test_a_collector_that_lost_its_store_is_told_again(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        held = hold()
        async with scene.collector():
            asks = asyncio.create_task(scene.client.hold(held))
            await scene.waiting(held)
        await asyncio.to_thread(shutil.rmtree, tmp_path)
        async with scene.collector():
            await scene.waiting(held)
            await scene.decide(scene.host.decision("bob", "dba", hold=held), held)
            assert (await asks).outcome == "approved"

    play(tmp_path, use)


def test_without_any_collector_a_hold_expires(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        began = time.monotonic()
        assert await scene.client.hold(hold(expires=time.time() + 0.6)) == Resolution("expired")
        assert 0.5 < time.monotonic() - began < 3
        with pytest.raises(ApprovalError, match="does not answer"):
            await scene.client.publish_key()
        with pytest.raises(ApprovalError, match="could not be cancelled"):
            await scene.client.cancel("hold-0001")

    play(tmp_path, use)


def test_who_went_away_can_not_be_approved(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        held = hold()
        async with scene.collector():
            await scene.client.publish_key()
            asks = asyncio.create_task(scene.client.hold(held))
            await scene.waiting(held)
            asks.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asks
            await scene.client.cancel(held.id)
            assert await scene.decide(scene.host.decision("bob", "dba", hold=held), held) == 409
            assert await scene.client.hold(held) == Resolution("cancelled")

    play(tmp_path, use)


def test_another_key_of_this_host_is_said(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        async with scene.collector():
            other = scene.client_of(Host())
            await other.publish_key()
            await other.close()
            with pytest.raises(ApprovalError, match="another key is pinned"):
                await scene.client.publish_key()
            with pytest.raises(ApprovalError, match="refused"):
                await scene.client.hold(hold())

    play(tmp_path, use)


def test_a_person_on_a_host_that_the_configuration_names_may_approve(tmp_path: Path) -> None:
    admin = Host("admin-1")

    async def use(scene: Scene) -> None:
        held = hold()
        async with scene.collector():
            await scene.client.publish_key()
            desk = scene.client_of(admin)
            await desk.publish_key()
            await desk.close()
            asks = asyncio.create_task(scene.client.hold(held))
            await scene.waiting(held)
            assert await scene.decide(admin.decision("bob", "dba", hold=held), held) == 200
            resolution = await asks
            assert resolution.approver is not None
            assert resolution.approver.host == "admin-1"

    play(tmp_path, use, hosts={"admin-1": admin.key.kid})


# a collector in other hands: its store says what nobody signed

FORGED = Host("host-1")
STRANGER = Host("stranger")


def lies(host: Host, held: Hold) -> dict[str, tuple[str, str, str | None]]:
    """What the store says: the state, the approver's host and the token."""

    def by(name: str, *groups: str, **change: Any) -> str:
        approval = Approval(held.id, change.get("digest", held.digest), change.get("decision", "approve"))
        who = Principal(name, change.get("person", name), groups)
        return host.issuer.issue_approval(who, workload(), approval).text

    return {
        "no token": ("approved", "host-1", None),
        "a token that is none": ("approved", "host-1", "a.b.c"),
        "signed by another key": ("approved", "host-1", FORGED.decision("bob", "dba", hold=held)),
        "an ordinary token": ("approved", "host-1", host.person("bob", "dba")),
        "who asked": ("approved", "host-1", by("ann", "dba")),
        "who asked, with another account": ("approved", "host-1", by("ann-admin", "dba", person="ann")),
        "somebody of no approving group": ("approved", "host-1", by("bob", "engineers")),
        "a denial": ("approved", "host-1", by("bob", "dba", decision="deny")),
        "another statement": ("approved", "host-1", by("bob", "dba", digest="e" * 64)),
        "a host that nobody named": ("approved", "stranger", STRANGER.decision("bob", "dba", hold=held)),
        "a host that is not known": ("approved", "nowhere", STRANGER.decision("bob", "dba", hold=held)),
    }


@pytest.mark.parametrize("lie", lies(Host(), hold()))
def test_a_collector_that_lies_opens_nothing(tmp_path: Path, lie: str) -> None:
    async def use(scene: Scene) -> None:
        held = hold()
        state, where, token = lies(scene.host, held)[lie]
        async with scene.collector():
            await scene.client.publish_key()
            stranger = scene.client_of(STRANGER)
            await stranger.publish_key()
            await stranger.close()
            asks = asyncio.create_task(scene.client.hold(held))
            await scene.waiting(held)
            asks.cancel()
            decided = Decided(
                outcome="approved",
                principal="bob",
                person="bob",
                host=where,
                comment="",
                decided=time.time(),
                token=token,
            )
            with Store(database(tmp_path)) as store:
                store.db.execute(
                    "UPDATE holds SET state = ?, decided = ?", (state, msgspec.json.encode(decided).decode())
                )
            with pytest.raises(ApprovalError):
                await scene.client.hold(held)

    play(tmp_path, use)


def test_an_old_decision_is_not_taken_for_a_new_hold(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        held = hold()
        token = scene.host.decision("bob", "dba", hold=held)
        decided = Decided(
            outcome="approved",
            principal="bob",
            person="bob",
            host="host-1",
            comment="",
            decided=held.created - 100,
            token=token,
        )
        async with scene.collector():
            await scene.client.publish_key()
            asks = asyncio.create_task(scene.client.hold(held))
            await scene.waiting(held)
            asks.cancel()
            with Store(database(tmp_path)) as store:
                store.db.execute(
                    "UPDATE holds SET state = 'approved', decided = ?", (msgspec.json.encode(decided).decode(),)
                )
            with pytest.raises(ApprovalError, match="older than the hold"):
                await scene.client.hold(held)

    play(tmp_path, use)


async def answering(scene: Scene, answer: bytes) -> asyncio.Server:
    """In the collector's place. It says `answer` and goes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    host, _, port = scene.config.collector.http.partition(":")
    return await asyncio.start_server(serve, host, int(port))


def http(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.mark.parametrize("body", [b"{}", b'{"hold": "\xff"}', b'{"hold": ' + b"[" * 100_000])
def test_an_answer_that_is_none_is_an_error(tmp_path: Path, body: bytes) -> None:
    async def use(scene: Scene) -> None:
        async with await answering(scene, http("200 OK", body)):
            with pytest.raises(ApprovalError, match="can't be read"):
                await scene.client.hold(hold())

    play(tmp_path, use)


@pytest.mark.parametrize(
    "answer",
    [
        http("403 Forbidden", b'{"error": "\xff"}'),
        http("403 Forbidden", b'{"error": ' + b"[" * 100_000),
        http("200 OK", b"not packed", "Content-Encoding: gzip"),
        http("200 OK", b" " * 2000),
        b"not HTTP\r\n\r\n",
    ],
)
def test_whatever_a_collector_says_to_our_key_nothing_else_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """The agent would stop for it."""
    monkeypatch.setattr(client_module, "ANSWER_BYTES", 1000)

    async def use(scene: Scene) -> None:
        async with await answering(scene, answer):
            with pytest.raises(ApprovalError):
                await scene.client.publish_key()

    play(tmp_path, use)


def test_an_answer_that_never_ends_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "TIMEOUT_SECONDS", 0.3)
    gone = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.1)
        except ConnectionError:
            gone.set()
        finally:
            writer.close()

    async def use(scene: Scene) -> None:
        host, _, port = scene.config.collector.http.partition(":")
        async with await asyncio.start_server(drip, host, int(port)):
            before = time.monotonic()
            with pytest.raises(ApprovalError, match="could not be cancelled"):
                await scene.client.cancel("hold-0001")
            assert time.monotonic() - before < 3
            await gone.wait()

    play(tmp_path, use)


def test_an_idle_agent_does_not_load_httpx() -> None:
    code = "import sys, lockgate.approval.client; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# grants: the agent believes the approver's signature, by its own clock

PRINT = "f" * 64


def grant_lies(host: Host, held: Hold) -> dict[str, tuple[str, str, str | None]]:
    """What the store says took the hold: the approver's host, the token, and the grant's id (None: the token's own)."""

    def by(name: str, *groups: str, seconds: int = 3600, fingerprint: str = PRINT, of: Host = host) -> Any:
        who, granting = Principal(name, name, groups), Granting("hold-0000", fingerprint)
        return of.issuer.issue_grant(who, workload(), granting, seconds)

    good = by("bob", "dba")
    return {
        "an approval of this hold": ("host-1", host.decision("bob", "dba", hold=held), "grant-0001"),
        "an ordinary token": ("host-1", host.person("bob", "dba"), "grant-0001"),
        "signed by another key": ("host-1", by("bob", "dba", of=FORGED).text, None),
        "of a host that nobody named": ("stranger", by("bob", "dba", of=STRANGER).text, None),
        "other statements": ("host-1", by("bob", "dba", fingerprint="e" * 64).text, None),
        "longer than the policy allows now": ("host-1", by("bob", "dba", seconds=7201).text, None),
        "over": ("host-1", by("bob", "dba", seconds=0).text, None),
        "who asked": ("host-1", by("ann", "dba").text, None),
        "somebody of no approving group": ("host-1", by("bob", "engineers").text, None),
        "another grant's id": ("host-1", good.text, "grant-0001"),
    }


def took(scene: Scene, where: str, token: str, identifier: str) -> str:
    decided = Decided(
        outcome="approved", principal="bob", person="bob", host=where, comment="", decided=time.time(), token=token,
        by_grant=identifier,
    )  # fmt: skip
    with Store(database(scene.folder)) as store:
        store.db.execute("UPDATE holds SET state = 'approved', decided = ?", (msgspec.json.encode(decided).decode(),))
    return identifier


async def told_a_lie(scene: Scene, held: Hold, where: str, token: str, identifier: str | None) -> Resolution:
    async with scene.collector():
        await scene.client.publish_key()
        stranger = scene.client_of(STRANGER)
        await stranger.publish_key()
        await stranger.close()
        asks = asyncio.create_task(scene.client.hold(held))
        await scene.waiting(held)
        asks.cancel()
        claims = token.split(".")[1]
        own = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["jti"]
        took(scene, where, token, identifier or own)
        return await scene.client.hold(held)


@pytest.mark.parametrize("lie", grant_lies(Host(), hold()))
def test_a_collector_that_lies_of_a_grant_opens_nothing(tmp_path: Path, lie: str) -> None:
    async def use(scene: Scene) -> None:
        held = hold(fingerprint=PRINT, grant=7200.0)
        where, token, identifier = grant_lies(scene.host, held)[lie]
        with pytest.raises(ApprovalError):
            await told_a_lie(scene, held, where, token, identifier)

    play(tmp_path, use)


def test_a_grant_that_is_none_of_these_lets_it_run(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        held = hold(fingerprint=PRINT, grant=7200.0)
        who, granting = Principal("bob", "bob", ("dba",)), Granting("hold-0000", PRINT)
        token = scene.host.issuer.issue_grant(who, workload(), granting, 3600)
        resolution = await told_a_lie(scene, held, "host-1", token.text, None)
        assert (resolution.outcome, resolution.by_grant) == ("approved", token.claims.token)
        # and a grant never stands for the decision itself
        decided = Decided(
            outcome="approved", principal="bob", person="bob", host="host-1", comment="", decided=time.time(),
            token=token.text,
        )  # fmt: skip
        async with scene.collector():
            with Store(database(tmp_path)) as store:
                store.db.execute("UPDATE holds SET decided = ?", (msgspec.json.encode(decided).decode(),))
            with pytest.raises(ApprovalError, match="another audience"):
                await scene.client.hold(held)

    play(tmp_path, use)


def test_who_looks_is_heard_of_and_what_became_of_it_is_told(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        held = hold()
        looks: list[float] = []
        async with scene.collector():
            asks = asyncio.create_task(scene.client.hold(held, lambda: looks.append(time.time())))
            await scene.waiting(held)
            await scene.client.tell_locks(held.id, Locks(at=1.0, waiting=2))
            with pytest.raises(ApprovalError, match="could not be told"):
                await scene.client.tell_became(held.id, None)
            await scene.decide(scene.host.decision("bob", "dba", hold=held), held)
            assert (await asks).outcome == "approved"
            assert looks
            await scene.client.tell_became(held.id, "x" * 5000)

    play(tmp_path, use)
