"""What agents and approvers say of holds beside the decision, on a real socket."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from lockgate.approval.hold import Lock, Locks
from lockgate.identity.tokens import Granting, Revocation
from lockgate.values.identity import Principal
from tests.collector.chains import Host, hold, workload
from tests.collector.test_api import Client, with_api

PRINT = "f" * 64
BOB = Principal("bob", "bob", ("dba",))
LOCKS = Locks(at=1.0, held=(Lock("RowExclusiveLock", "public.t", 1),), waiting=2)


def test_who_looks_wakes_the_agent_and_sees_what_it_then_says(tmp_path: Path) -> None:
    host, other = Host(), Host("host-2")

    async def use(client: Client) -> None:
        await client.publish(host)
        await client.publish(other)
        await client.post("/v1/holds", host.agent(), hold())
        poll = asyncio.create_task(client.get("/v1/holds/hold-0001?wait=20&seen=0.0", host.agent()))
        await asyncio.sleep(0.2)
        await client.get("/v1/holds", host.person("bob", "dba"))
        status, state = await asyncio.wait_for(poll, 5)
        assert (status, state["state"], state["looked"] > 0) == (200, "waiting", True)
        assert (await client.post("/v1/holds/hold-0001/locks", host.agent(), LOCKS))[0] == 200
        for nobody in (host.person("bob", "dba"), other.agent()):
            assert (await client.post("/v1/holds/hold-0001/locks", nobody, LOCKS))[0] in (403, 404)
        _, listed = await client.get("/v1/holds", host.person("bob", "dba"))
        assert (listed["holds"][0]["locks"]["waiting"], listed["holds"][0]["locks"]["held"][0]["relation"]) == (
            2,
            "public.t",
        )
        # looked at again at once, the agent is left alone
        again = asyncio.create_task(client.get(f"/v1/holds/hold-0001?wait=0.4&seen={state['looked']!r}", host.agent()))
        await asyncio.sleep(0.1)
        await client.get("/v1/holds", host.person("bob", "dba"))
        assert (await again)[1]["looked"] == state["looked"]

    with_api(tmp_path, use)


def test_the_approver_waits_for_what_became_of_it(tmp_path: Path) -> None:
    host, other = Host(), Host("host-2")

    async def use(client: Client) -> None:
        await client.publish(host)
        await client.publish(other)
        await client.post("/v1/holds", host.agent(), hold())
        word = {"outcome": "refused", "at": time.time(), "reason": "frozen"}
        assert (await client.post("/v1/holds/hold-0001/became", host.agent(), word))[0] == 409
        await client.decide(host.decision("bob", "dba", hold=hold()))
        asks = asyncio.create_task(client.get("/v1/holds/hold-0001/became?wait=20", host.person("bob", "dba")))
        await asyncio.sleep(0.2)
        for nobody in (host.person("bob", "dba"), other.agent()):
            assert (await client.post("/v1/holds/hold-0001/became", nobody, word))[0] in (403, 404)
        assert (await client.post("/v1/holds/hold-0001/became", host.agent(), word))[0] == 200
        status, state = await asyncio.wait_for(asks, 5)
        assert (status, state["became"]["reason"], state["decided"]["token"]) == (200, "frozen", None)
        # the first word counts, and other hosts' people see nothing
        await client.post("/v1/holds/hold-0001/became", host.agent(), {"outcome": "released", "at": 1.0})
        _, state = await client.get("/v1/holds/hold-0001/became", host.person("bob", "dba"))
        assert state["became"]["outcome"] == "refused"
        assert (await client.get("/v1/holds/hold-0001/became", other.person("eve", "dba")))[0] == 404

    with_api(tmp_path, use)


def test_granting_using_and_revoking(tmp_path: Path) -> None:
    host, other = Host(), Host("host-2")

    async def use(client: Client) -> None:
        await client.publish(host)
        await client.publish(other)
        held = hold(fingerprint=PRINT, grant=7200.0, covers="constants")
        await client.post("/v1/holds", host.agent(), held)
        signed = host.issuer.issue_grant(BOB, workload(), Granting(held.id, PRINT), 3600)
        token = host.decision("bob", "dba", hold=held)
        forged = other.issuer.issue_grant(BOB, workload(), Granting(held.id, PRINT), 3600).text
        for bad, status in ((forged, 403), (token, 401), (host.person("bob", "dba"), 401), ("a.b.c", 401)):
            assert (await client.decide(token, grant=bad))[0] == status, bad
        # nor does a grant decide, list, or revoke
        assert (await client.decide(signed.text))[0] == 401
        assert (await client.get("/v1/grants", signed.text))[0] == 401
        status, state = await client.decide(token, grant=signed.text)
        assert (status, state["decided"]["granted"]) == (200, signed.claims.token)
        again = hold(identifier="hold-0002", fingerprint=PRINT, grant=7200.0)
        status, state = await client.post("/v1/holds", host.agent(), again)
        assert (state["state"], state["decided"]["by_grant"]) == ("approved", signed.claims.token)
        _, listed = await client.get("/v1/grants", host.person("bob", "dba"))
        assert [(g["uses"], "token" in str(g)) for g in listed["grants"]] == [(1, False)]
        assert (await client.get("/v1/grants", other.person("bob", "dba")))[1]["grants"] == []
        path = f"/v1/grants/{signed.claims.token}/revoke"
        revocation = Revocation(signed.claims.token)
        for bad, status in (
            (host.person("bob", "dba"), 401),
            (other.issuer.issue_revocation(BOB, workload(), revocation).text, 403),
            (host.issuer.issue_revocation(BOB, workload(), Revocation("another-1")).text, 403),
            (host.issuer.issue_revocation(Principal("cyd", "cyd", ()), workload(), revocation).text, 403),
        ):
            assert (await client.post(path, bad))[0] == status
        ok = host.issuer.issue_revocation(BOB, workload(), revocation).text
        status, ended = await client.post(path, ok, {"comment": "over"})
        assert (status, ended["revoked"]["comment"]) == (200, "over")
        assert (await client.post(path, ok))[0] == 409
        third = hold(identifier="hold-0003", fingerprint=PRINT, grant=7200.0)
        assert (await client.post("/v1/holds", host.agent(), third))[1]["state"] == "waiting"

    with_api(tmp_path, use)
