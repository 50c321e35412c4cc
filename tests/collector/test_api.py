"""The API on a real socket: who may do what, and one decision a hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from lockgate.collector import http as http_module
from lockgate.collector.entry import parse_all
from lockgate.collector.server import Server
from lockgate.config import Collector, CollectorFile
from tests.collector.chains import Host, hold
from tests.support.postgres import free_port

Use = Callable[["Client"], Awaitable[None]]


class Client:
    """Asks the API; every call returns (status, answer)."""

    def __init__(self, server: Server, http: httpx.AsyncClient) -> None:
        self.server, self.http = server, http

    async def call(self, method: str, path: str, token: str | None, body: object = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = msgspec.json.encode(body)
        response = await self.http.request(method, path, headers=headers, content=content)
        return response.status_code, response.json()

    async def get(self, path: str, token: str | None) -> tuple[int, Any]:
        return await self.call("GET", path, token)

    async def post(self, path: str, token: str | None, body: object = None) -> tuple[int, Any]:
        return await self.call("POST", path, token, {} if body is None else body)

    async def publish(self, host: Host) -> tuple[int, Any]:
        return await self.call("PUT", f"/v1/hosts/{host.name}/key", host.agent(), host.key.jwks())

    async def decide(self, token: str, how: str = "approve", of: Any = None, **body: Any) -> tuple[int, Any]:
        of = of or hold()
        return await self.post(f"/v1/holds/{of.id}/{how}", token, {"digest": of.digest, **body})

    async def ingest(self, *hosts: Host) -> None:
        writer = self.server._writer
        await writer.run(writer.store.ingest, [parse_all(host.records) for host in hosts])


def with_api(folder: Path, use: Use, **settings: Any) -> None:
    async def run() -> None:
        listen, http_listen = (f"127.0.0.1:{free_port()}" for _ in range(2))
        config = Collector(listen=listen, http=http_listen, state_dir=str(folder), **settings)
        async with Server(CollectorFile(collector=config)) as server:
            base = "http://{}:{}".format(*server.http)
            async with httpx.AsyncClient(base_url=base, timeout=20, trust_env=False) as http:
                await use(Client(server, http))

    asyncio.run(run())


@pytest.fixture
def host() -> Host:
    return Host()


# hosts


def test_a_host_publishes_its_key_once_and_for_all(tmp_path: Path, host: Host) -> None:
    async def use(client: Client) -> None:
        assert (await client.publish(host))[0] == 201
        assert (await client.publish(host))[0] == 200
        status, answer = await client.publish(Host())
        assert (status, answer["error"]) == (409, "key_conflict")
        status, answer = await client.get("/v1/hosts/host-1/key", host.agent())
        assert (status, answer["jwks"], answer["trusted"]) == (200, host.key.jwks(), False)
        assert (await client.get("/v1/hosts/host-9/key", host.agent()))[1]["error"] == "unknown_host"
        assert (await client.get("/v1/hosts/host-1/key", host.person("bob")))[0] == 403

    with_api(tmp_path, use)


def test_a_key_is_published_by_who_has_it_only(tmp_path: Path, host: Host) -> None:
    thief = Host()

    async def use(client: Client) -> None:
        path = "/v1/hosts/host-1/key"
        assert (await client.call("PUT", path, thief.agent(), host.key.jwks()))[0] == 401
        assert (await client.call("PUT", path, None, host.key.jwks()))[0] == 401
        assert (await client.call("PUT", path, host.person("ann"), host.key.jwks()))[0] == 403
        assert (await client.call("PUT", "/v1/hosts/host-2/key", host.agent(), host.key.jwks()))[0] == 401
        assert (await client.call("PUT", "/v1/hosts/-/key", host.agent(), host.key.jwks()))[0] == 400
        assert (await client.call("PUT", path, host.agent(), {"keys": []}))[0] == 401
        assert (await client.publish(host))[0] == 201

    with_api(tmp_path, use)


def test_the_configured_thumbprint_holds_against_who_comes_first(tmp_path: Path, host: Host) -> None:
    async def use(client: Client) -> None:
        assert (await client.publish(Host()))[0] == 409
        assert (await client.publish(host))[0] == 201
        assert (await client.get("/v1/hosts/host-1/key", host.agent()))[1]["trusted"] is True

    with_api(tmp_path, use, hosts={"host-1": host.key.kid})


def test_a_key_pinned_before_the_configuration_named_another_opens_nothing(tmp_path: Path, host: Host) -> None:
    squatter = Host()

    async def first(client: Client) -> None:
        assert (await client.publish(squatter))[0] == 201

    async def then(client: Client) -> None:
        assert (await client.post("/v1/holds", squatter.agent(), hold()))[0] == 401

    with_api(tmp_path, first)
    with_api(tmp_path, then, hosts={"host-1": host.key.kid})


# holds


def test_a_statement_waits_is_approved_and_its_agent_hears_at_once(tmp_path: Path, host: Host) -> None:
    async def use(client: Client) -> None:
        await client.publish(host)
        assert (await client.post("/v1/holds", host.agent(), hold()))[1]["state"] == "waiting"
        waits = asyncio.create_task(client.get("/v1/holds/hold-0001?wait=20", host.agent()))
        (listed,) = (await client.get("/v1/holds?state=waiting", host.person("bob", "dba")))[1]["holds"]
        assert listed["hold"]["statement"] == "DELETE FROM orders"
        await asyncio.sleep(0.1)
        began = time.monotonic()
        token = host.decision("bob", "dba", hold=hold())
        status, answer = await client.decide(token, comment="looks right")
        assert (status, answer["state"]) == (200, "approved")
        assert answer["decided"]["token"] is None
        status, heard = await waits
        assert time.monotonic() - began < 5
        assert (heard["state"], heard["decided"]["person"]) == ("approved", "bob")
        assert (heard["decided"]["token"], heard["decided"]["comment"]) == (token, "looks right")
        assert (await client.get("/v1/holds", host.person("bob", "dba")))[1]["holds"] == []
        (done,) = (await client.get("/v1/holds?state=approved", host.person("ann")))[1]["holds"]
        assert done["decided"]["token"] is None

    with_api(tmp_path, use)


def test_of_two_approvers_exactly_one_decides(tmp_path: Path, host: Host) -> None:
    async def use(client: Client) -> None:
        await client.publish(host)
        for number in range(10):
            waiting = hold(identifier=f"hold-race-{number}")
            await client.post("/v1/holds", host.agent(), waiting)
            bob = host.decision("bob", "dba", hold=waiting)
            eve = host.decision("eve", "dba", hold=waiting, decision="deny")
            results = await asyncio.gather(client.decide(bob, of=waiting), client.decide(eve, how="deny", of=waiting))
            assert sorted(status for status, _ in results) == [200, 409]

    with_api(tmp_path, use)


def test_nobody_decides_who_may_not(tmp_path: Path, host: Host) -> None:
    async def use(client: Client) -> None:
        await client.publish(host)
        await client.post("/v1/holds", host.agent(), hold())
        refused = {
            "the one who asked": host.decision("ann", "dba", hold=hold()),
            "the same person with another account": host.decision("ann-admin", "dba", hold=hold(), person="ann"),
            "somebody of another group": host.decision("eve", "engineers", hold=hold()),
            "a decision on another digest": host.decision("bob", "dba", hold=hold(digest="e" * 64)),
            "a decision on another hold": host.decision("bob", "dba", hold=hold(identifier="hold-0002")),
            "the opposite decision": host.decision("bob", "dba", hold=hold(), decision="deny"),
        }
        for who, token in refused.items():
            status, answer = await client.decide(token)
            assert (who, status, answer["error"]) == (who, 403, "not_allowed")
        unsigned = {
            "a person's ordinary token": host.person("bob", "dba"),
            "the agent": host.agent(),
            "root": host.person("root", "dba", operator=True),
            "nobody": None,
            "a host that nobody knows": Host("host-9").decision("bob", "dba", hold=hold()),
            "a forged signature": Host("host-1").decision("bob", "dba", hold=hold()),
        }
        for who, token_or_none in unsigned.items():
            status, _ = await client.decide(token_or_none or "")
            assert (who, status) == (who, 401)
        status, answer = await client.post(
            "/v1/holds/hold-0001/approve", host.decision("bob", "dba", hold=hold()), {"digest": "e" * 64}
        )
        assert (status, answer["error"]) == (403, "not_allowed")
        assert (await client.get("/v1/holds/hold-0001", host.agent()))[1]["state"] == "waiting"

    with_api(tmp_path, use)


def test_a_host_that_anybody_can_register_approves_for_itself_only(tmp_path: Path, host: Host) -> None:
    evil, other = Host("evil"), Host("host-2")

    async def use(client: Client) -> None:
        for each in (host, evil, other):
            await client.publish(each)
        await client.post("/v1/holds", host.agent(), hold())
        status, answer = await client.decide(evil.decision("bob", "dba", hold=hold()))
        assert (status, answer["error"]) == (403, "forbidden")
        assert (await client.get("/v1/holds", evil.person("bob", "dba")))[1]["holds"] == []
        assert len((await client.get("/v1/holds", other.person("bob", "dba")))[1]["holds"]) == 1
        assert (await client.decide(other.decision("bob", "dba", hold=hold())))[0] == 200

    with_api(tmp_path, use, hosts={"host-2": other.key.kid})


def test_holds_belong_to_their_agent(tmp_path: Path, host: Host) -> None:
    other = Host("host-2")

    async def use(client: Client) -> None:
        await client.publish(host)
        await client.publish(other)
        assert (await client.post("/v1/holds", host.person("ann"), hold()))[0] == 403
        assert (await client.post("/v1/holds", host.person("r", operator=True), hold()))[0] == 403
        assert (await client.post("/v1/holds", other.agent(), hold()))[0] == 403
        await client.post("/v1/holds", host.agent(), hold())
        assert (await client.post("/v1/holds", other.agent(), hold("host-2")))[0] == 409
        for path, method in (("/v1/holds/hold-0001", "GET"), ("/v1/holds/hold-0001/cancel", "POST")):
            assert (await client.call(method, path, other.agent()))[0] == 404
            assert (await client.call(method, path, host.person("bob", "dba")))[0] == 403
        assert (await client.get("/v1/holds", host.agent()))[0] == 403
        assert (await client.get("/v1/holds", host.person("billing", person=None)))[0] == 403
        assert (await client.post("/v1/holds/hold-0001/cancel", host.agent()))[1]["state"] == "cancelled"
        status, answer = await client.decide(host.decision("bob", "dba", hold=hold()))
        assert (status, answer["error"]) == (409, "conflict")

    with_api(tmp_path, use)


def test_a_hold_expires_while_it_is_polled(tmp_path: Path, host: Host) -> None:
    async def use(client: Client) -> None:
        await client.publish(host)
        short = hold(expires=time.time() + 0.5)
        await client.post("/v1/holds", host.agent(), short)
        began = time.monotonic()
        assert (await client.get("/v1/holds/hold-0001?wait=0.1", host.agent()))[1]["state"] == "waiting"
        assert (await client.get("/v1/holds/hold-0001?wait=20", host.agent()))[1]["state"] == "expired"
        assert time.monotonic() - began < 5
        status, answer = await client.decide(host.decision("bob", "dba", hold=short), of=short)
        assert (status, answer["message"]) == (403, "the hold has expired")

    with_api(tmp_path, use)


# records


def test_auditors_search_show_and_verify(tmp_path: Path, host: Host) -> None:
    other = Host("host-2")

    async def use(client: Client) -> None:
        for each in (host, other):
            await client.publish(each)
            each.statement(f"DELETE FROM orders -- {each.name}")
            each.seal()
        await client.ingest(host, other)
        eve = host.person("eve", "security")
        found = (await client.get("/v1/records?text=delete&limit=10", eve))[1]["records"]
        assert [r["host"] for r in found] == ["host-2", "host-1"] or len(found) == 2
        assert len((await client.get("/v1/records?host=host-2&since=1&until=8e9", eve))[1]["records"]) == 1
        assert len((await client.get("/v1/records/c1-1?host=host-1", eve))[1]["records"]) == 2
        assert (await client.get("/v1/records/nothing", eve))[0] == 404
        assert [h["ok"] for h in (await client.get("/v1/verify", eve))[1]["hosts"]] == [True, True]
        assert [h["host"] for h in (await client.get("/v1/verify?host=host-2", eve))[1]["hosts"]] == ["host-2"]
        # a host the configuration does not name speaks for itself only, and so does root on any host
        for token in (other.person("eve", "security"), other.person("root", operator=True)):
            assert [r["host"] for r in (await client.get("/v1/records", token))[1]["records"]] == ["host-2"]
            assert (await client.get("/v1/records?host=host-1", token))[0] == 403
            assert (await client.get("/v1/verify?host=host-1", token))[0] == 403
            assert [r["host"] for r in (await client.get("/v1/records/c1-1", token))[1]["records"]] == ["host-2"] * 2
        for nobody in (host.person("ann", "engineers"), host.agent()):
            for path in ("/v1/records", "/v1/records/c1-1", "/v1/verify", "/v1/would"):
                assert (await client.get(path, nobody))[0] == 403
        # the token that decided a hold went to an agent: it must not open the records of its owner
        assert (await client.get("/v1/records", host.decision("eve", "security", hold=hold())))[0] == 401

    with_api(tmp_path, use, hosts={"host-1": host.key.kid})


def test_auditors_read_what_would_have_been_within_what_they_may(tmp_path: Path, host: Host) -> None:
    other = Host("host-2")

    async def use(client: Client) -> None:
        for each in (host, other):
            await client.publish(each)
            each.statement("DROP TABLE a", would="deny", policy=f"of {each.name}")
        await client.ingest(host, other)
        eve = host.person("eve", "security")

        async def told(token: str, query: str = "") -> list[str]:
            return [e["policy"] for e in (await client.get(f"/v1/would{query}", token))[1]["would"]]

        assert sorted(await told(eve)) == ["of host-1", "of host-2"]
        assert await told(eve, "?host=host-1&datastore=orders&since=1") == ["of host-1"]
        assert await told(eve, "?since=8e9") == []
        assert len((await client.get("/v1/records?would=deny", eve))[1]["records"]) == 2
        assert (await client.get("/v1/records?shadow=deny", eve))[1]["records"] == []
        # a host the configuration does not name speaks for itself only
        assert await told(other.person("eve", "security")) == ["of host-2"]
        assert (await client.get("/v1/would?host=host-1", other.person("eve", "security")))[0] == 403

    with_api(tmp_path, use, hosts={"host-1": host.key.kid})


@pytest.mark.parametrize(
    "path",
    [
        "/v1/records?would=allow",
        "/v1/records?shadow=x",
        "/v1/would?since=-1",
        "/v1/would?limit=1",
        "/v1/records?limit=0",
        "/v1/records?limit=1001",
        "/v1/records?limit=ten",
        "/v1/records?since=nan",
        "/v1/records?until=1e300",
        "/v1/records?nonsense=1",
        "/v1/records?text=a&text=b",
        "/v1/records?text=",
        "/v1/verify?hosts=x",
        "/v1/holds?state=asleep",
    ],
)
def test_a_question_that_is_not_one_is_refused(tmp_path: Path, host: Host, path: str) -> None:
    async def use(client: Client) -> None:
        await client.publish(host)
        status, answer = await client.get(path, host.person("eve", "security"))
        assert (status, answer["error"]) == (400, "bad_request")

    with_api(tmp_path, use)


def test_a_body_that_is_not_one_is_refused(tmp_path: Path, host: Host) -> None:
    async def use(client: Client) -> None:
        await client.publish(host)
        for body in (b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"id":"hold-0001"}', b" " * 9_000_000):
            response = await client.http.post(
                "/v1/holds",
                content=body,
                headers={"Authorization": f"Bearer {host.agent()}", "Content-Type": "application/json"},
            )
            assert (response.status_code, response.json()["error"]) == (400, "bad_request")
        response = await client.http.post(
            "/v1/holds", content=b"{}", headers={"Authorization": f"Bearer {host.agent()}"}
        )
        assert "application/json" in response.json()["message"]

    with_api(tmp_path, use)


def test_a_body_that_does_not_end_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "BODY_SECONDS", 0.2)

    async def use(client: Client) -> None:
        async def slowly() -> AsyncIterator[bytes]:
            yield b'{"keys":'
            await asyncio.sleep(1)
            yield b"[]}"

        headers = {"Authorization": "Bearer x", "Content-Type": "application/json"}
        response = await client.http.put("/v1/hosts/host-1/key", content=slowly(), headers=headers)
        assert (response.status_code, "took more than" in response.json()["message"]) == (400, True)

    with_api(tmp_path, use)


def test_who_is_not_known_yet_may_send_a_key_only(tmp_path: Path) -> None:
    async def use(client: Client) -> None:
        status, answer = await client.call("PUT", "/v1/hosts/host-1/key", "x", {"keys": ["k" * 70_000]})
        assert (status, "more than 65536 bytes" in answer["message"]) == (400, True)

    with_api(tmp_path, use)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Bearer a.b.c", "Basic YTpi", "Bearer " + "a" * 20_000])
def test_a_token_that_is_not_one_is_refused(tmp_path: Path, header: str) -> None:
    async def use(client: Client) -> None:
        response = await client.http.get("/v1/holds", headers={"Authorization": header})
        assert (response.status_code, response.json()["error"]) == (401, "invalid_token")

    with_api(tmp_path, use)


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("GET", "/v1/x", 404), ("PUT", "/v1/holds", 405)]
)
def test_an_address_that_is_none_is_answered_in_json_too(tmp_path: Path, method: str, path: str, status: int) -> None:
    async def use(client: Client) -> None:
        found, answer = await client.call(method, path, None)
        assert (found, answer["error"]) == (status, "no_such_address")

    with_api(tmp_path, use)


def test_health_and_metrics_need_no_token(tmp_path: Path, host: Host) -> None:
    async def use(client: Client) -> None:
        await client.publish(host)
        host.statement("SELECT 1")
        host.seal()
        await client.ingest(host)
        await client.post("/v1/holds", host.agent(), hold())
        assert await client.get("/healthz", None) == (200, {"status": "ok"})
        text = (await client.http.get("/metrics")).text
        assert "lockgate_collector_holds_waiting 1.0" in text
        assert 'lockgate_collector_verified_seq{host="host-1"} 2.0' in text

    with_api(tmp_path, use)
