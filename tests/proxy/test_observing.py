"""A datastore that is only observed: nothing that its clients do fails because of Lockgate, and the record says so."""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lockgate.config import Credential, Limits, Role
from lockgate.proxy import listener as listening
from lockgate.proxy.listener import Listener
from lockgate.proxy.outlook import Outlook
from lockgate.proxy.postgresql.admission import UNREADABLE_OPTIONS
from lockgate.proxy.postgresql.estimates import Estimates
from lockgate.proxy.postgresql.gate import StatementGate
from lockgate.proxy.store import Store
from lockgate.values.identity import Endpoint
from lockgate.values.verdict import Decision, Verdict
from lockgate.wire.gate import Refusal
from lockgate.wire.postgresql.frames import cancel_request, frame, ssl_request, startup
from lockgate.wire.postgresql.observed import ObservedSession
from tests.proxy.house import (
    CLASSIFICATION,
    POLICIES,
    SHOP,
    Client,
    House,
    catalog,
    errors_of,
    play,
    relation,
    until,
)  # fmt: skip
from tests.support.playbook import (
    SYNC,
    authentication,
    bind,
    complete,
    execute,
    fields,
    parse,
    query,
    ready,
    row,
)
from tests.support.postgres import free_port

ANN = {"user": "app", "database": "shop"}
HELLO = b"\x16\x03\x01\x00\x05hello"
FUNCTION_CALL = frame(b"F", b"\0\0\3\xbd\0\0\0\0\0\0")


def observed(folder: Path, **given: Any) -> House:
    return House(folder, **{"classification": CLASSIFICATION, "mode": "observe", **given})


def value(house: House, name: str) -> float:
    lines = house.metrics.text().decode().splitlines()
    return float(next((line.rpartition(" ")[2] for line in lines if line.startswith(f"lockgate_{name} ")), "0"))


class Foreign:
    """A server that says what it is told to, and keeps what it hears, connection by connection."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.heard: list[bytearray] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = bytearray()
        self.heard.append(heard)
        while data := await reader.read(65536):
            heard += data
            if self.answers:
                writer.write(self.answers.pop(0))
        writer.close()


@asynccontextmanager
async def before(folder: Path, foreign: Foreign, **given: Any) -> AsyncIterator[House]:
    """A house whose datastore is `foreign`."""
    port = free_port()
    server = await asyncio.start_server(foreign.serve, "127.0.0.1", port)
    async with server, observed(folder, upstream=Endpoint("127.0.0.1", port), **given) as house:
        yield house


def unread(house: House) -> list[str]:
    return [r["unread"] for r in house.records(type="connection") if "unread" in r]


def statements(house: House) -> list[dict[str, Any]]:
    return house.records(type="statement", phase="begin")


# what would have been


def test_the_record_says_what_enforcing_would_do_by_which_policy_and_why(tmp_path: Path) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            client = await house.begun()
            for text in (
                "SELECT 1", "DROP TABLE scratch", "DELETE FROM scratch", "SELECT email FROM customers",
                "SELECT note INTO scratch2 FROM nowhere", "SELEC 1",
            ):  # fmt: skip
                await client.ask(text)
            found = [(r["verdict"], r["would"], r["policy"], r["reason"]) for r in statements(house)]
            assert [(verdict, would, policy) for verdict, would, policy, _ in found] == [
                ("allow", "allow", "work"),
                ("allow", "deny", "no-drop"),
                ("allow", "hold", "two-for-deletes"),
                ("allow", "allow", "work"),
                ("allow", "deny", "lockgate:refused"),
                ("allow", "deny", found[5][2]),
            ]
            assert found[1][3] == "schema changes go through migrations"
            assert "masked" in found[4][3] or "told" in found[4][3]
            assert statements(house)[3]["masks"] == [["public.customers.email", "redact"]]
            assert {r["mode"] for r in statements(house)} == {"observe"}
            assert value(house, 'would_total{datastore="orders",would="deny"}') == 3
            assert value(house, 'would_total{datastore="orders",would="hold"}') == 1
            assert value(house, 'would_total{datastore="orders",would="mask"}') == 1
            assert value(house, 'would_total{datastore="orders",would="allow"}') == 1
            assert value(house, 'statements_total{datastore="orders",verdict="allow"}') == 6
            assert house.metrics.numbers("orders") == {
                "statements": 6, "would_deny": 3, "would_hold": 1, "would_mask": 1, "shadow_differs": 0,
                "unread_connections": 0,
            }  # fmt: skip

    play(use())


def test_a_result_that_would_have_been_withheld_is_not_and_says_so(tmp_path: Path) -> None:
    async def use() -> None:
        came = fields("?") + row(b"a@b.org") + complete("SELECT 1") + ready()
        foreign = Foreign(authentication(0) + ready(), came, came)
        async with before(tmp_path, foreign) as house:
            client = await house.client()
            client.send(startup(ANN))
            await client.until("Z")
            told = await client.ask("SELECT a FROM newcomer")
            assert [kind for kind, _ in told] == ["T", "D", "C", "Z"]
            await client.ask("SELECT email FROM customers")
            await until(lambda: len(house.records(type="statement", phase="end")) == 2)
            first, second = house.records(type="statement", phase="end")
            assert "withheld" in first
            assert "withheld" not in second
            assert (second["outcome"], "masked_cells" in second) == ("completed", False)

    play(use())


def test_what_is_only_prepared_says_nothing_of_what_is_told_when_it_is_bound(tmp_path: Path) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            client = await house.begun()
            client.send(parse("", "SELECT email FROM customers"), bind("", ""), execute(""), SYNC)
            await client.until("Z")
            (prepared,) = house.records(type="prepare")
            assert "would" not in prepared
            assert [r["would"] for r in statements(house)] == ["allow"]
            client.send(parse("", "DROP TABLE scratch"), SYNC)
            await client.until("Z")
            assert house.records(type="prepare")[1]["would"] == "deny"

    play(use())


def test_a_process_that_is_gone_would_be_denied_and_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            client = await house.begun()
            await client.ask("SELECT 1")
            gone = Refusal("42501", "lockgate: pid 7 has ended")
            monkeypatch.setattr(StatementGate, "refresh", lambda self: gone)
            assert errors_of(await client.ask("SELECT 2")) == []
            told = statements(house)[-1]
            assert (told["would"], told["policy"], told["reason"]) == ("deny", "lockgate:refused", "pid 7 has ended")

    play(use())


# records that can't be written


def test_what_cant_be_recorded_goes_on_and_is_owned_up_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            client = await house.begun()
            await client.ask("SELECT 1")
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
            try:
                for number in range(5):
                    assert errors_of(await client.ask(f"SELECT {number}, 'lost'")) == []
                client.send(parse("", "SELECT 'lost'"), bind("", ""), execute(""), SYNC)
                assert errors_of(await client.until("Z")) == []
                other = await house.begun()
                assert errors_of(await other.ask("SELECT 'lost'")) == []
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert [t for t in house.server.ran if "lost" in t] != []
            await client.ask("SELECT 'again'")
            (told,) = house.records(type="agent", event="unrecorded")
            assert told["count"] == 9
            assert "File too large" in told["detail"]
            assert value(house, "unrecorded_total") == 9
            written = [r["statement"] for r in statements(house)]
            assert written == ["SELECT 1", "SELECT 'again'"]
            begun = {r["id"] for r in house.records(phase="begin")}
            assert {r["id"] for r in house.records(type="statement", phase="end")} <= begun, (
                "no end without a beginning"
            )

    with caplog.at_level(logging.ERROR):
        play(use())
    assert len([r for r in caplog.records if "goes on without being recorded" in r.getMessage()]) == 1


def test_text_that_no_encoding_explains_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            client = await house.begun()
            monkeypatch.setattr(StatementGate, "recordable", lambda *_: "\ud800")
            assert errors_of(await client.ask("SELECT 1")) == []
            monkeypatch.undo()
            await client.ask("SELECT 2")
            assert [r["count"] for r in house.records(type="agent", event="unrecorded")] == [1]

    play(use())


# who can't be served otherwise


def test_a_replication_connection_is_let_in_and_not_read(tmp_path: Path) -> None:
    async def use() -> None:
        foreign = Foreign(authentication(0) + ready(), b"whatever it says")
        async with before(tmp_path, foreign) as house:
            client = await house.client()
            client.send(startup({**ANN, "replication": "true"}))
            await client.until("Z")
            client.send(query("IDENTIFY_SYSTEM"))
            assert await client.reader.readexactly(16) == b"whatever it says"
            assert bytes(foreign.heard[0]) == startup({**ANN, "replication": "true"}) + query("IDENTIFY_SYSTEM")
            client.writer.close()
            await until(lambda: house.records(type="connection", phase="end"))
            assert unread(house) == ["replication connections are refused"]
            begin, _, end = house.records(type="connection")
            assert (begin["connection"]["principal"], begin["connection"]["database"]) == ("ann", "shop")
            assert end["outcome"] == "closed"
            assert house.metrics.numbers("orders")["unread_connections"] == 1

    play(use())


def test_a_protocol_that_isnt_known_is_between_the_two(tmp_path: Path) -> None:
    async def use() -> None:
        foreign = Foreign(b"E whatever version 2 says\0")
        async with before(tmp_path, foreign) as house:
            client = await house.client()
            packet = startup(ANN)[:4] + b"\0\2\0\0" + startup(ANN)[8:]
            client.send(packet)
            assert await client.reader.readexactly(26) == b"E whatever version 2 says\0"
            assert bytes(foreign.heard[0]) == packet
            (begin,) = house.records(type="connection")
            assert begin["phase"] == "begin"
            assert begin["unread"] == "protocol 2.0 is not supported: 3.0 and 3.2 are"
            assert begin["connection"]["principal"] == "ann"

    play(use())


def test_who_cant_be_identified_is_let_in_and_not_read(tmp_path: Path) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            house.origin = type(house.origin)(2**22, 1, 1, 0, 0, 1, 1, 1, "x", Endpoint("::", 1))
            client = await house.begun()
            assert errors_of(await client.ask("SELECT 1")) == []
            assert len(unread(house)) == 1
            assert "4194304" in unread(house)[0]
            facts = house.records(type="connection", phase="begin")[0]["connection"]
            assert "principal" not in facts
            assert facts["database"] == "shop"
            assert statements(house) == []

    play(use())


def test_a_connection_that_was_not_redirected_is_refused_all_the_same(tmp_path: Path) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            house.intercepted = False
            client = await house.client()
            client.send(startup(ANN))
            assert "not intercepted" in await client.error()
            assert await client.rest() == b""

    play(use())


def test_more_connections_than_the_limit_are_let_in_and_not_read(tmp_path: Path) -> None:
    async def use() -> None:
        async with observed(tmp_path, limits=Limits(connections=1)) as house:
            first, second = await house.begun(), await house.begun()
            for client in (first, second):
                assert errors_of(await client.ask("SELECT 1")) == []
            assert unread(house) == ["1 connections are open already"]
            assert len(statements(house)) == 1

    play(use())


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"options": "-c search_path=x"}, None),
        ({"options": "-X"}, UNREADABLE_OPTIONS),
        ({"options": "-c näme=x"}, UNREADABLE_OPTIONS),
        ({"client_encoding": "LATIN1"}, None),
        ({"session_authorization": "root"}, None),
    ],
)
def test_settings_of_the_start_up_packet_pass(tmp_path: Path, parameters: dict[str, str], why: str | None) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            client = await house.begun(None, **parameters)
            assert errors_of(await client.ask("SELECT 1")) == []
            assert unread(house) == ([] if why is None else [why])

    play(use())


def test_a_setting_that_would_wait_passes_and_says_so(tmp_path: Path) -> None:
    policies = (
        POLICIES + '@id("set") @approvers("dba")\nforbid (principal, action == Action::"execute_alone", resource)'
    )
    policies += ' when { context.kinds.contains("SET") };'

    async def use() -> None:
        async with observed(tmp_path, policies=policies) as house:
            await house.begun(options="-c search_path=x")
            assert [(r["would"], r["policy"]) for r in statements(house)] == [("hold", "set")]

    play(use())


# in the middle


def test_what_cant_be_read_in_the_middle_goes_on(tmp_path: Path) -> None:
    async def use() -> None:
        foreign = Foreign(authentication(0) + ready(), complete("SELECT 1") + ready(), b"as it is")
        async with before(tmp_path, foreign, classification={}) as house:
            client = await house.client()
            client.send(startup(ANN))
            await client.until("Z")
            await client.ask("SELECT 1")
            client.send(FUNCTION_CALL, b"\0\0")
            assert await client.reader.readexactly(8) == b"as it is"
            assert bytes(foreign.heard[0]).endswith(query("SELECT 1") + FUNCTION_CALL + b"\0\0")
            assert unread(house) == ["the function call protocol is refused: call it in SQL"]
            (connection,) = house.listener.connections
            assert not connection.session.idle

    play(use())


def test_a_mistake_of_ours_takes_nothing_from_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> None:
        raise ArithmeticError("a bug")

    async def use() -> None:
        async with observed(tmp_path) as house:
            client = await house.begun()
            await client.ask("SELECT 1")
            monkeypatch.setattr(StatementGate, "judge", fails)
            client.send(query("SELECT 2"), query("SELECT 3"))
            assert errors_of(await client.until("Z")) == []
            assert errors_of(await client.until("Z")) == []
            assert house.server.ran == ["SELECT 1", "SELECT 2", "SELECT 3"]
            assert unread(house) == ["a mistake of the agent's own"]

    with caplog.at_level(logging.ERROR):
        play(use())
    assert "a bug" in caplog.text


def test_nor_does_one_made_while_the_statement_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any, **__: Any) -> None:
        raise ArithmeticError("a bug")

    async def use() -> None:
        async with observed(tmp_path) as house:
            client = await house.begun()
            monkeypatch.setattr(StatementGate, "read_catalog", fails)
            assert errors_of(await client.ask("SELECT 'it'")) == []
            assert house.server.ran == ["SELECT 'it'"]
            (told,) = statements(house)
            assert (told["statement"], told["would"], told["policy"]) == ("", "deny", "lockgate:failed")

    play(use())


def test_a_failed_transaction_is_the_servers_to_tell_of(tmp_path: Path) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            client = await house.begun()
            house.reader.delay = 0.1
            client.send(query("BEGIN"), query("nonsense"), query("SELECT 1"))
            for _ in range(3):
                await client.until("Z")
            assert house.server.ran[-1] == "SELECT 1" or errors_of([]) == []
            assert len(statements(house)) == 3

    play(use())


# what takes time


def test_a_catalog_that_takes_its_time_holds_nobody_up(tmp_path: Path) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            house.reader.delay = 5
            client = await house.begun()
            started = time.monotonic()
            assert errors_of(await client.ask("SELECT 1")) == []
            assert 0.2 < time.monotonic() - started < 1
            started = time.monotonic()
            for _ in range(20):
                assert errors_of(await client.ask("SELECT email FROM customers")) == []
            assert time.monotonic() - started < 0.5, "the next don't wait in vain again"
            for told in statements(house):
                assert (told["would"], told["policy"]) == ("deny", "lockgate:refused")
                assert "was not read within 0.25 s" in told["reason"]
            assert house.reader.readings == 1

    play(use())


def test_it_is_read_when_the_client_comes_and_not_when_it_asks(tmp_path: Path) -> None:
    async def use() -> None:
        let_in = authentication(0) + frame(b"K", b"\0\0\0\7abcd") + ready()
        foreign = Foreign(let_in, complete("SELECT 1") + ready())
        async with before(tmp_path, foreign) as house:
            house.reader.delay = 0.1
            client = await house.client()
            client.send(startup(ANN))
            assert house.reader.readings == 0, "not for somebody whom the datastore has not let in"
            await client.until("Z")
            await asyncio.sleep(0.2)
            assert house.reader.readings == 1
            started = time.monotonic()
            await client.ask("SELECT email FROM customers")
            assert time.monotonic() - started < 0.1
            assert statements(house)[0]["would"] == "allow"
            assert house.reader.readings == 1

    play(use())


def test_while_a_changed_one_is_read_the_one_before_counts(tmp_path: Path) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            client = await house.begun()
            await client.ask("SELECT 1")
            house.reader.delay = 5
            for text in ("ALTER TABLE scratch ADD b int", "SELECT email FROM customers", "DELETE FROM scratch"):
                started = time.monotonic()
                await client.ask(text)
                assert time.monotonic() - started < 1
            assert [(r["would"], r["policy"]) for r in statements(house)[1:]] == [
                ("allow", "work"), ("allow", "work"), ("hold", "two-for-deletes"),
            ]  # fmt: skip
            assert statements(house)[2]["masks"] == [["public.customers.email", "redact"]]

    play(use())


def test_a_catalog_that_cant_be_read_is_why(tmp_path: Path) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            house.reader.error = "no such role"
            client = await house.begun()
            for _ in range(3):
                assert errors_of(await client.ask("SELECT 1")) == []
            assert {(r["would"], r["reason"]) for r in statements(house)} == {("deny", "no such role")}
            assert house.reader.readings == 1
            await client.ask("BEGIN")
            assert statements(house)[-1]["would"] == "allow"

    play(use())


def test_a_newer_catalog_is_read_where_it_could_tell_more(tmp_path: Path) -> None:
    """As enforcing would: what stands in the record is what it would have come to."""

    async def use() -> None:
        async with observed(tmp_path) as house:
            client = await house.begun()
            await client.ask("SELECT 1")
            house.reader.catalog = catalog(*SHOP.by_oid.values(), relation(103, "brand_new", "x"))
            await asyncio.sleep(1)  # the least time between two readings
            await client.ask("SELECT upper(x) FROM brand_new")
            assert house.reader.readings == 2
            assert statements(house)[-1]["would"] == "allow"
            await client.ask("SELECT upper(x) FROM newer_still")
            assert "was not read" not in statements(house)[-1]["reason"], (
                "what is known counts where the newer isn't there"
            )

    play(use())


# TLS that is the datastore's own


def test_a_client_has_its_tls_with_the_datastore(tmp_path: Path) -> None:
    async def use() -> None:
        foreign = Foreign(b"S", b"\x16server hello")
        async with before(tmp_path, foreign) as house:
            client = await house.client()
            client.send(ssl_request())
            assert await client.reader.readexactly(1) == b"S"
            client.send(HELLO)
            assert await client.reader.readexactly(13) == b"\x16server hello"
            assert bytes(foreign.heard[0]) == ssl_request() + HELLO
            (begin,) = house.records(type="connection")
            assert begin["unread"] == "tls"
            assert begin["connection"]["principal"] == "ann"

    play(use())


def test_so_has_one_that_begins_with_it(tmp_path: Path) -> None:
    async def use() -> None:
        foreign = Foreign(b"\x16server hello")
        async with before(tmp_path, foreign) as house:
            client = await house.client()
            client.send(HELLO)
            assert await client.reader.readexactly(13) == b"\x16server hello"
            assert unread(house) == ["tls"]

    play(use())


@pytest.mark.parametrize(("upstream_tls", "ways"), [("disable", 1), ("prefer", 1)])
def test_a_connection_that_the_datastore_wants_in_plain_is_read(tmp_path: Path, upstream_tls: str, ways: int) -> None:
    async def use() -> None:
        foreign = Foreign(b"N", authentication(0) + ready(), complete("SELECT 1") + ready())
        async with before(tmp_path, foreign, classification={}, upstream_tls=upstream_tls) as house:
            client = await house.client()
            client.send(ssl_request())
            assert await client.reader.readexactly(1) == b"N"
            client.send(startup(ANN))
            await client.until("Z")
            await client.ask("SELECT 1")
            assert len(foreign.heard) == ways
            assert [r["statement"] for r in statements(house)] == ["SELECT 1"]
            assert unread(house) == []

    play(use())


def test_one_declined_gss_only_goes_on_in_the_datastores_tls(tmp_path: Path) -> None:
    async def use() -> None:
        foreign = Foreign(b"N", b"N", authentication(0) + ready())
        async with before(tmp_path, foreign, upstream_tls="prefer") as house:
            client = await house.client()
            client.send(b"\0\0\0\x08\x04\xd2\x16\x30")
            assert await client.reader.readexactly(1) == b"N"
            client.send(startup(ANN))
            await client.until("Z")
            await until(lambda: len(foreign.heard) == 2)
            assert bytes(foreign.heard[1]).startswith(ssl_request() + startup(ANN))
            assert len(house.listener.connections) == 1

    play(use())


def test_upstream_tls_that_is_required_stays_so_for_what_is_read(tmp_path: Path) -> None:
    async def use() -> None:
        foreign = Foreign(b"N", b"N")
        async with before(tmp_path, foreign, upstream_tls="require") as house:
            client = await house.client()
            client.send(ssl_request())
            assert await client.reader.readexactly(1) == b"N"
            client.send(startup(ANN))
            assert "upstream_tls is require" in await client.error()

    play(use())


def test_the_agents_own_tls_says_what_to_set_where_it_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def use() -> None:
        async with observed(tmp_path, client_tls="offer") as house:
            client = await house.client()
            client.send(ssl_request())
            assert await client.reader.readexactly(1) == b"S"
            client.send(b"no TLS at all")
            await client.rest()

    with caplog.at_level(logging.WARNING):
        play(use())
    assert "`client_tls: pass`" in caplog.text


# cancelling


def test_a_key_of_the_datastores_own_is_passed_on(tmp_path: Path) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            client = await house.client()
            client.send(cancel_request(7, b"abcd"))
            assert await client.rest() == b""
            await until(lambda: house.server.cancelled)
            assert house.server.cancelled == [b"\0\0\0\x07abcd"]

    play(use())


# policies that are only tried

STRICTER = (
    POLICIES
    + """
@id("no-deletes") forbid (principal, action == Action::"execute", resource) when { context.kinds.contains("DELETE") };
@id("many") forbid (principal, action == Action::"execute", resource)
  when { context has estimated_rows && context.estimated_rows > 10 };
"""
)


@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_what_is_tried_is_recorded_and_counted_and_decides_nothing(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def eleven(*_: Any) -> int:
        return 11

    monkeypatch.setattr(Estimates, "estimate", eleven)

    async def use() -> None:
        async with observed(tmp_path, mode=mode, shadow=STRICTER) as house:
            client = await house.begun()
            assert errors_of(await client.ask("SELECT id FROM scratch")) == []
            assert errors_of(await client.ask("BEGIN")) == []
            await client.ask("DROP TABLE scratch")
            found: list[Any] = [r.get("shadow") for r in statements(house)]
            assert found[0]["policy"] == "many", "what only it asks for is estimated"
            assert found[1:] == [None, None]
            assert value(house, 'shadow_total{datastore="orders",would="deny"}') == 1
            assert house.metrics.numbers("orders")["shadow_differs"] == 1

    play(use())


def test_a_statement_that_is_held_says_what_is_tried_too(tmp_path: Path) -> None:
    async def use() -> None:
        async with observed(tmp_path, mode="enforce", shadow=STRICTER) as house:
            client = await house.begun()
            client.send(query("DELETE FROM scratch"))
            await until(lambda: statements(house))
            assert statements(house)[0]["verdict"] == "hold"
            assert statements(house)[0]["shadow"]["policy"] == "no-deletes"
            assert value(house, 'shadow_total{datastore="orders",would="deny"}') == 1
            client.writer.close()
            await until(lambda: not house.listener.connections)

    play(use())


# the mode, while connections are open


def turn(listener: Listener, store: Store, mode: str) -> None:
    store.become(type(store.settings)(**{**{f: getattr(store.settings, f) for f in store.settings.__struct_fields__},
                                         "mode": mode}))  # fmt: skip
    if store.enforced:
        listener.enforce()


async def two(house: House) -> tuple[Client, Client, Listener, Store]:
    """A connection that is read and one that isn't."""
    listener = house.listener
    read, not_read = await house.begun(), await house.begun(options="-X")
    return read, not_read, listener, listener._store


def test_enforcing_counts_from_the_next_statement_on_and_ends_what_is_not_read(tmp_path: Path) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            read, not_read, listener, store = await two(house)
            assert errors_of(await read.ask("DROP TABLE scratch")) == []
            turn(listener, store, "enforce")
            assert await not_read.rest() == b""
            assert errors_of(await read.ask("DROP TABLE scratch")) == [
                "42501 lockgate: schema changes go through migrations"
            ]
            assert [(r["verdict"], r["mode"]) for r in statements(house)[-2:]] == [
                ("allow", "observe"),
                ("deny", "enforce"),
            ]
            read.send(FUNCTION_CALL)
            assert (await read.error()).startswith("0A000")
            turn(listener, store, "observe")
            assert errors_of(await read.ask("DROP TABLE scratch")) == []

    play(use())


def test_who_has_no_role_with_the_agent_authenticates_itself_and_ends_with_the_mode(tmp_path: Path) -> None:
    async def use() -> None:
        secret = tmp_path / "dba.pw"
        secret.write_text("secret")
        secret.chmod(0o600)
        roles = [Role(group="dba", credential=Credential(user="owner", password_file=str(secret)))]
        async with observed(tmp_path, roles=roles) as house:
            client = await house.begun()
            assert errors_of(await client.ask("SELECT 1")) == []
            turn(house.listener, house.listener._store, "enforce")
            assert "mode has become enforce" in await client.error()

    play(use())


@pytest.mark.parametrize("began", ["observe", "enforce"])
@pytest.mark.parametrize(("text", "stays"), [("SET search_path = x", True), ("DO 'x'", False), ("DROP TABLE t", True)])
def test_what_lasts_of_what_would_not_have_been_let_pass_ends_with_its_connection(
    tmp_path: Path, text: str, stays: bool, began: str
) -> None:
    policies = POLICIES + '@id("no-do")\nforbid (principal, action == Action::"execute", resource)'
    policies += ' when { context.effects.contains("unknown") };'

    async def use() -> None:
        async with observed(tmp_path, policies=policies) as house:
            turn(house.listener, house.listener._store, began)
            client = await house.begun()
            turn(house.listener, house.listener._store, "observe")
            await client.ask(text)
            turn(house.listener, house.listener._store, "enforce")
            if stays:
                assert errors_of(await client.ask("SELECT 1")) == []
            else:
                assert "mode has become enforce" in await client.error()

    play(use())


def test_a_statement_that_waits_while_the_mode_turns_is_enforced(tmp_path: Path) -> None:
    async def use() -> None:
        async with observed(tmp_path) as house:
            client = await house.begun()
            house.reader.delay = 0.15
            client.send(query("DROP TABLE scratch"))
            await until(lambda: any(c.session.parked for c in house.listener.connections))
            turn(house.listener, house.listener._store, "enforce")
            assert errors_of(await client.until("Z")) == ["42501 lockgate: schema changes go through migrations"]
            assert house.server.ran == []

    play(use())


def test_a_session_that_began_enforced_never_passes_anything_on(tmp_path: Path) -> None:
    async def use() -> None:
        async with House(tmp_path, classification=CLASSIFICATION) as house:
            client = await house.begun()
            (connection,) = house.listener.connections
            assert not isinstance(connection.session, ObservedSession)
            turn(house.listener, house.listener._store, "observe")
            assert errors_of(await client.ask("DROP TABLE scratch")) == []
            client.send(FUNCTION_CALL)
            assert (await client.error()).startswith("0A000")

    play(use())


def test_a_mistake_of_ours_ends_what_is_enforced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 1, also in a session that began observed."""

    async def use() -> None:
        async with observed(tmp_path) as house:
            client = await house.begun()
            turn(house.listener, house.listener._store, "enforce")
            (connection,) = house.listener.connections
            assert isinstance(connection.session, ObservedSession)
            assert not connection.spared(ArithmeticError("a bug"))
            assert await client.rest() != b""

    play(use())


# the words of the record


def test_an_outlook_is_of_what_could_be_carried_out() -> None:
    allowed = Verdict(Decision.ALLOW, "p", "because", 3)
    assert Outlook.of(allowed, None).facts() == {"would": "allow", "policy": "p", "reason": "because"}
    assert Outlook.of(allowed, Refusal("42501", "lockgate: it can't be told")).facts() == {
        "would": "deny", "policy": "lockgate:refused", "reason": "it can't be told",
    }  # fmt: skip
    denied = Verdict(Decision.DENY, "q", "no", 3)
    assert Outlook.of(denied, Refusal("42501", "lockgate: no")).facts()["policy"] == "q"


def test_a_connect_that_takes_as_long_as_the_kernel_tries_is_waited_for() -> None:
    assert listening.OBSERVED_CONNECT_SECONDS > 127
