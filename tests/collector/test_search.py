"""Finding a statement again, and verifying the chain from the first record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.collector.entry import parse_all
from lockgate.collector.search import NotUnique, Query, Reader, _match
from lockgate.collector.store import Store, StoreError, database
from tests.collector.chains import START, Host

SECOND = 1_000_000_000


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(database(tmp_path)) as opened:
        yield opened


@pytest.fixture
def reader(store: Store) -> Iterator[Reader]:
    with Reader(store.path) as opened:
        yield opened


def ingest(store: Store, host: Host) -> None:
    store.ingest([parse_all(host.records)])


def found(reader: Reader, **query: Any) -> list[str]:
    return [row["id"] for row in reader.search(Query(**query))]


def test_search_finds_by_word_prefix_and_object(store: Store, reader: Reader, host: Host) -> None:
    host.statement("SELECT email FROM customers", 1, objects=["public.customers"])
    host.statement("DELETE FROM orders_2024 WHERE id = 7", 2, objects=["public.orders_2024"])
    host.statement("TABLE archive", 3, objects=["public.customers"])
    host.seal()
    ingest(store, host)
    assert found(reader) == ["c1-3", "c1-2", "c1-1"]
    assert found(reader, text="customers") == ["c1-3", "c1-1"]
    assert found(reader, text="email from") == ["c1-1"]
    assert found(reader, text="DELETE orders_2024") == ["c1-2"]
    assert found(reader, text="orders*") == ["c1-2"]
    assert found(reader, text="orders") == []
    assert found(reader, text="id = 7") == ["c1-2"]
    assert found(reader, text="'; --") == []


def test_search_finds_by_field_and_time(store: Store, reader: Reader, host: Host) -> None:
    host.statement("SELECT 1", 1)
    host.statement("SELECT 2", 2, verdict="deny")
    host.statement("SELECT 3", 1, connection="c2", facts={"principal": "billing", "person": None})
    host.statement("SELECT 4", 1, connection="c3", facts={"datastore": "ledger"})
    ingest(store, host)
    assert found(reader, verdict="deny") == ["c1-2"]
    assert found(reader, principal="billing") == ["c2-1"]
    assert found(reader, person="ann", verdict="allow") == ["c3-1", "c1-1"]
    assert found(reader, datastore="ledger") == ["c3-1"]
    assert found(reader, connection="c1") == ["c1-2", "c1-1"]
    assert found(reader, host="host-2") == []
    assert found(reader, since=START + 2 * SECOND, until=START + 6 * SECOND) == ["c2-1", "c1-2"]
    assert found(reader, limit=1) == ["c3-1"]
    assert found(reader, limit=-1) == []


def test_a_found_statement_has_its_outcome_once_there_is_one(store: Store, reader: Reader, host: Host) -> None:
    host.statement("SELECT 1")
    store.ingest([parse_all(host.records[:1])])
    (row,) = reader.search(Query())
    assert (row["statement"], row["connection"]["principal"], row["end"]) == ("SELECT 1", "ann", None)
    ingest(store, host)
    (row,) = reader.search(Query())
    assert (row["end"]["outcome"], row["end"]["rows"]) == ("completed", 3)
    assert row["end"]["prev"] == row["hash"] == parse_all(host.records)[0].hash.hex()


def test_show_gives_every_record_of_an_id(store: Store, reader: Reader, host: Host) -> None:
    identifier = host.statement("DELETE FROM orders")
    host.write(type="approval", id=identifier, hold="hold-0001", digest="d", outcome="approved", waited_us=5)
    host.statement("SELECT 1", 2)
    ingest(store, host)
    shown = reader.show("c1-1")
    assert [(r["type"], r.get("phase")) for r in shown] == [
        ("statement", "begin"),
        ("statement", "end"),
        ("approval", None),
    ]
    assert not any(r["conflict"] for r in shown)
    assert [r["id"] for r in reader.show("c1-2")] == ["c1-2", "c1-2"]
    assert reader.show("c1-2", host="host-2") == []
    assert reader.show("nothing") == []


def test_show_takes_a_unique_prefix_and_prefers_the_exact_id(store: Store, reader: Reader, host: Host) -> None:
    for number in (1, 10, 2):
        host.statement(f"SELECT {number}", number)
    ingest(store, host)
    assert reader.show("c1-1")[0]["statement"] == "SELECT 1"
    assert reader.show("c1-10")[0]["statement"] == "SELECT 10"
    with pytest.raises(NotUnique, match="c1-"):
        reader.show("c1")


def test_verify_answers_for_a_whole_chain(store: Store, reader: Reader, host: Host) -> None:
    store.pin("host-1", host.key.jwks(), None)
    host.statement("SELECT 1")
    host.seal()
    host.statement("SELECT 2", 2)
    ingest(store, host)
    answer = reader.verify("host-1")
    assert answer["ok"]
    assert (answer["records"], answer["first"], answer["last"]) == (5, 1, 5)
    assert (answer["sealed"], answer["unsealed"], answer["key"]) == (2, 3, host.key.kid)
    assert reader.hosts() == ["host-1"]


TAMPERING = {
    "altered": "UPDATE records SET raw = replace(raw, 'DROP TABLE', 'SELECT 1--') WHERE seq = 1",
    "deleted": "DELETE FROM records WHERE seq = 1",
    "cut off": "DELETE FROM records WHERE seq >= 3",
    "swapped": "UPDATE records SET raw = (SELECT raw FROM records WHERE seq = 4) WHERE seq = 1",
    "emptied": "DELETE FROM records",
}


@pytest.mark.parametrize("how", TAMPERING)
def test_verify_notices_what_was_done_to_the_file(how: str, store: Store, reader: Reader, host: Host) -> None:
    store.pin("host-1", host.key.jwks(), None)
    host.statement("DROP TABLE orders")
    host.seal()
    host.statement("SELECT 2", 2)
    host.seal()
    ingest(store, host)
    assert reader.verify("host-1")["ok"]
    store.db.execute(
        TAMPERING[how]
        .replace("raw = replace(raw,", "raw = CAST(replace(CAST(raw AS TEXT),")
        .replace("'SELECT 1--')", "'SELECT 1--') AS BLOB)")
    )
    answer = reader.verify("host-1")
    assert not answer["ok"]
    assert answer["problems"]


def test_verify_without_a_key_says_so(store: Store, reader: Reader, host: Host) -> None:
    host.statement("SELECT 1")
    ingest(store, host)
    answer = reader.verify("host-1")
    assert not answer["ok"]
    assert "no key" in answer["problems"][0]["text"]


def test_verify_shows_alarms_beside_an_intact_chain(store: Store, reader: Reader, host: Host) -> None:
    store.pin("host-1", host.key.jwks(), None)
    host.statement("SELECT 1")
    host.seal()
    ingest(store, host)
    forger = Host()
    forger.statement("SELECT 'forged'")
    ingest(store, forger)
    answer = reader.verify("host-1")
    assert answer["ok"]
    assert [alarm["flaw"] for alarm in answer["alarms"]] == ["forked", "forked"]
    assert [r["conflict"] for r in reader.show("c1-1")] == [False, True, False, True]
    assert [r["statement"] for r in reader.search(Query())] == ["SELECT 1"]


def test_a_reader_never_writes(reader: Reader) -> None:
    with pytest.raises(Exception, match="readonly"):
        reader._db.execute("DELETE FROM records")


def test_a_missing_store_is_said_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open"):
        Reader(database(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


def test_the_file_can_be_read_when_the_collector_is_down(tmp_path: Path, host: Host) -> None:
    host.statement("SELECT 1")
    with Store(database(tmp_path)) as store:
        ingest(store, host)
    with Reader(database(tmp_path)) as reader:
        assert len(reader.search(Query())) == 1


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with Store(database(tmp_path_factory.mktemp("words"))) as store, Reader(store.path) as reader:
        yield reader


@given(text=st.text(max_size=40))
def test_no_search_text_is_syntax(words: Reader, text: str) -> None:
    assert words.search(Query(text=text)) == []
    assert _match(text).count('"') % 2 == 0


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query(text="select"),
        Query(text="select", host="host-1"),
        Query(principal="ann"),
        Query(verdict="deny"),
        Query(datastore="orders"),
        Query(connection="c1"),
        Query(host="host-1"),
        Query(host="host-1", verdict="allow", since=5),
    ],
)
def test_a_page_is_read_without_sorting_the_store(store: Store, reader: Reader, host: Host, query: Query) -> None:
    host.statement("SELECT 1")
    ingest(store, host)
    asked: list[str] = []
    reader._db.set_trace_callback(asked.append)
    reader.search(query)
    reader._db.set_trace_callback(None)
    # what begins with -- are the statements that fts5 itself runs
    asked = [sql for sql in asked if not sql.startswith("--")]
    plans = [row[3] for sql in asked for row in reader._db.execute(f"EXPLAIN QUERY PLAN {sql}")]
    assert plans
    assert not [step for step in plans if "TEMP B-TREE" in step]
    assert any("records_id" in step for step in plans) == bool(reader.search(query))


# what would have been done


def observed(host: Host) -> None:
    host.statement("SELECT 1", 1, would="allow")
    host.statement("DROP TABLE a", 2, would="deny", policy="no-drop")
    host.statement("DROP TABLE b", 1, connection="c2", would="deny", policy="no-drop", facts={"principal": "billing"})
    host.statement("DELETE FROM a", 3, would="hold", policy="two")
    host.statement("SELECT email", 4, would="allow", masks=[["public.customers.email", "redact"]])
    host.statement("SELECT a", 5, shadow={"would": "deny", "policy": "next", "reason": "r", "epoch": 2})
    host.statement("SELECT b", 6, would="deny", policy="no-drop", facts={"datastore": "ledger"},
                   shadow={"would": "allow", "policy": "next", "reason": "r", "epoch": 2})  # fmt: skip


def test_search_finds_what_would_have_been(store: Store, reader: Reader, host: Host) -> None:
    observed(host)
    ingest(store, host)
    assert found(reader, would="deny") == ["c1-6", "c2-1", "c1-2"]
    assert found(reader, would="deny", principal="billing") == ["c2-1"]
    assert found(reader, would="deny", text="drop", host="host-1") == ["c2-1", "c1-2"]
    assert found(reader, would="hold") == ["c1-3"]
    assert found(reader, would="mask") == ["c1-4"]
    assert found(reader, shadow="deny") == ["c1-5"]
    assert found(reader, shadow="allow", would="deny") == ["c1-6"]
    assert found(reader, shadow="allow", host="host-2") == []
    assert found(reader, would="deny", since=START + 11 * SECOND) == ["c1-6"]


def test_a_summary_for_who_decides(store: Store, reader: Reader, host: Host) -> None:
    observed(host)
    ingest(store, host)
    told = reader.otherwise()
    assert told[0] == {
        "kind": "would", "datastore": "orders", "decision": "deny", "policy": "no-drop", "statements": 2,
        "principals": 2, "names": told[0]["names"], "example": "c2-1",
    }  # fmt: skip
    assert sorted(told[0]["names"]) == ["ann", "billing"]
    assert sorted((e["kind"], e["datastore"], e["decision"], e["policy"]) for e in told[1:]) == [
        ("shadow", "ledger", "allow", "next"),
        ("shadow", "orders", "deny", "next"),
        ("would", "ledger", "deny", "no-drop"),
        ("would", "orders", "hold", "two"),
        ("would", "orders", "mask", "engineers"),
    ]
    assert reader.otherwise(host="host-2") == []
    assert {e["datastore"] for e in reader.otherwise(datastore="ledger")} == {"ledger"}
    assert {e["example"] for e in reader.otherwise(since=START + 12 * SECOND)} == {"c1-6"}


def test_a_summary_is_bounded_and_says_so(
    store: Store, reader: Reader, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockgate.collector.search.SUMMED", 2)
    monkeypatch.setattr("lockgate.collector.search.NAMED", 1)
    observed(host)
    ingest(store, host)
    told = reader.otherwise()
    assert told[0]["more"] is True
    assert all(len(entry["names"]) <= 1 for entry in told)
    monkeypatch.setattr("lockgate.collector.search.SUMMED", 100)
    assert "more" not in reader.otherwise()[0]


def test_a_record_in_conflict_counts_for_nothing(store: Store, reader: Reader, host: Host) -> None:
    observed(host)
    ingest(store, host)
    before = reader.otherwise()
    forged = Host()
    forged.statement("SELECT 1", 1, would="deny", policy="forged")
    ingest(store, forged)
    assert reader.otherwise() == before


def test_a_store_that_the_version_before_wrote_says_so(store: Store, host: Host) -> None:
    store.db.execute("DROP TABLE otherwise")
    with Reader(store.path) as reader:
        assert found(reader) == []
        with pytest.raises(StoreError, match="version before"):
            reader.otherwise()
        with pytest.raises(StoreError, match="version before"):
            found(reader, would="deny")
