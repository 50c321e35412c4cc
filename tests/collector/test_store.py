"""The store keeps what it was given once, and knows a forged record from the host's own."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.audit import chain
from lockgate.audit.record import encoder
from lockgate.collector.entry import parse_all
from lockgate.collector.search import Reader
from lockgate.collector.store import KeyConflict, Store, StoreError, database
from lockgate.identity.keys import InvalidKeySet
from tests.collector.chains import Host


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(database(tmp_path / "state")) as opened:
        yield opened


def rows(store: Store, conflict: int = 0) -> list[bytes]:
    found = store.db.execute("SELECT raw FROM records WHERE conflict = ? ORDER BY host, seq", (conflict,)).fetchall()
    return [raw for (raw,) in found]


def head(store: Store, host: str = "host-1") -> tuple[int, int]:
    row = store.db.execute("SELECT seq, sealed FROM heads WHERE host = ?", (host,)).fetchone()
    return (row[0], row[1]) if row else (0, 0)


def flaws(store: Store) -> list[tuple[int, str]]:
    return store.db.execute("SELECT seq, flaw FROM problems ORDER BY seq, flaw").fetchall()


def ingest(store: Store, *records: bytes) -> int:
    return store.ingest([parse_all(records)])


def impostor(host: Host, index: int, **fields: object) -> bytes:
    """A record that somebody without the key sends under the number of `host.records[index]`."""
    original = parse_all([host.records[index]])[0]
    return encoder.encode(
        {"v": 1, "host": host.name, "seq": original.seq, "prev": original.prev, "time": 1, "type": "agent"} | fields
    )


def test_records_are_stored_once_however_often_they_are_sent(store: Store) -> None:
    host = Host()
    host.statement("SELECT 1")
    host.seal()
    assert ingest(store, *host.records) == 3
    assert ingest(store, *host.records) == 0
    assert ingest(store, *host.records, *host.records) == 0
    assert rows(store) == host.records
    assert flaws(store) == []


def test_what_was_stored_is_there_after_a_restart_and_private(tmp_path: Path) -> None:
    host = Host()
    host.statement("SELECT 1")
    path = database(tmp_path)
    with Store(path) as store:
        ingest(store, *host.records)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(f"{path}-wal").st_mode) == 0o600
    with Store(path) as store:
        assert rows(store) == host.records
        assert ingest(store, *host.records) == 0


def test_the_head_moves_from_seal_to_seal(store: Store) -> None:
    host = Host()
    store.pin("host-1", host.key.jwks(), None)
    host.statement("SELECT 1")
    ingest(store, *host.records)
    assert head(store) == (0, 0)
    host.seal()
    ingest(store, host.records[-1])
    assert head(store) == (3, 2)
    host.statement("SELECT 2", 2)
    host.seal()
    ingest(store, *host.records[3:])
    assert head(store) == (6, 5)
    assert flaws(store) == []


def test_a_key_that_comes_after_the_records_verifies_them(store: Store) -> None:
    host = Host()
    host.statement("SELECT 1")
    host.seal()
    ingest(store, *host.records)
    assert head(store) == (0, 0)
    store.pin("host-1", host.key.jwks(), None)
    assert head(store) == (3, 2)


def test_a_gap_is_waited_for(store: Store) -> None:
    host = Host()
    store.pin("host-1", host.key.jwks(), None)
    host.statement("SELECT 1")
    host.seal()
    host.statement("SELECT 2", 2)
    host.seal()
    ingest(store, *host.records[:1], *host.records[2:])
    assert head(store) == (0, 0)
    host.seal()
    ingest(store, host.records[1], host.records[-1])
    assert head(store) == (7, 6)
    assert flaws(store) == []


def test_a_second_record_under_one_number_is_an_alarm_and_overwrites_nothing(store: Store) -> None:
    host = Host()
    store.pin("host-1", host.key.jwks(), None)
    host.statement("DROP TABLE orders")
    host.seal()
    ingest(store, *host.records)
    forged = impostor(host, 0)
    assert ingest(store, forged) == 1
    assert rows(store) == host.records
    assert rows(store, conflict=1) == [forged]
    assert flaws(store) == [(1, "forked")]


@pytest.mark.parametrize("victims", [[0], [1], [2], [0, 1, 2]])
def test_a_record_that_was_forged_first_gives_way_to_the_sealed_one(store: Store, victims: list[int]) -> None:
    host = Host()
    store.pin("host-1", host.key.jwks(), None)
    host.statement("DROP TABLE orders")
    host.seal()
    forged = [impostor(host, index) for index in victims]
    ingest(store, *forged)
    ingest(store, *host.records)
    assert rows(store) == host.records
    assert rows(store, conflict=1) == forged
    assert head(store) == (3, 2)
    assert flaws(store) == [(index + 1, "forked") for index in victims]


def test_a_seal_that_the_host_did_not_sign_moves_nothing(store: Store) -> None:
    host, thief = Host(), Host()
    store.pin("host-1", host.key.jwks(), None)
    host.statement("DROP TABLE orders")
    forged = impostor(host, 1, **chain.seal("host-1", chain.Head(1, parse_all(host.records)[0].hash), thief.key))
    ingest(store, host.records[0], forged)
    assert head(store) == (0, 0)
    assert flaws(store) == [(2, "signature")]
    host.seal()
    ingest(store, *host.records)
    assert rows(store) == host.records
    assert head(store) == (3, 2)


def test_an_altered_record_is_told_when_the_seal_comes(store: Store) -> None:
    host = Host()
    store.pin("host-1", host.key.jwks(), None)
    host.statement("DROP TABLE orders")
    host.seal()
    ingest(store, impostor(host, 0), *host.records[1:])
    assert head(store) == (3, 2)
    assert flaws(store) == [(2, "broken")]


def test_a_host_can_not_write_into_the_chain_of_another(store: Store) -> None:
    host, other = Host("host-1"), Host("host-2")
    store.pin("host-1", host.key.jwks(), None)
    store.pin("host-2", other.key.jwks(), None)
    pretender = Host("host-1")
    pretender.key = other.key
    pretender.statement("SELECT 'nothing happened'")
    pretender.seal()
    host.statement("DROP TABLE orders")
    host.seal()
    ingest(store, *pretender.records)
    ingest(store, *host.records)
    assert rows(store) == host.records
    assert head(store) == (3, 2)


def test_the_first_key_is_pinned_and_another_refused(store: Store) -> None:
    host, thief = Host(), Host()
    assert store.pin("host-1", host.key.jwks(), None)
    assert not store.pin("host-1", host.key.jwks(), None)
    with pytest.raises(KeyConflict, match=host.key.kid):
        store.pin("host-1", thief.key.jwks(), None)
    key = store.key("host-1")
    assert key is not None
    assert (key.kid, key.jwks) == (host.key.kid, host.key.jwks())
    assert flaws(store) == [(0, "key")]
    assert store.key("host-2") is None


def test_the_configured_thumbprint_decides_over_the_first_use(store: Store) -> None:
    host, squatter = Host(), Host()
    store.pin("host-1", squatter.key.jwks(), None)
    with pytest.raises(KeyConflict):
        store.pin("host-1", squatter.key.jwks(), host.key.kid)
    assert not store.pin("host-1", host.key.jwks(), host.key.kid)
    key = store.key("host-1")
    assert key is not None
    assert key.kid == host.key.kid


def test_a_host_has_one_key(store: Store) -> None:
    one, two = Host().key.jwks(), Host().key.jwks()
    for keys in ([*one["keys"], *two["keys"]], [], None):
        with pytest.raises(InvalidKeySet):
            store.pin("host-1", {"keys": keys}, None)


def test_a_full_disk_takes_back_the_whole_batch(store: Store) -> None:
    host = Host()
    host.statement("SELECT 1")
    (pages,) = store.db.execute("PRAGMA page_count").fetchone()
    store.db.execute(f"PRAGMA max_page_count = {pages + 2}")
    host.statement("x" * 100_000, 2)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        ingest(store, *host.records)
    assert rows(store) == []
    store.db.execute("PRAGMA max_page_count = 1000000")
    assert ingest(store, *host.records) == 4


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    path = database(tmp_path)
    with Store(path) as store:
        store.db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match=r"another version .*schema 99"):
        Store(path)
    with pytest.raises(StoreError, match=r"another version .*schema 99"):
        Reader(path)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    path = database(tmp_path)
    path.write_bytes(b"not a database, but long enough to be looked at" * 10)
    with pytest.raises(StoreError, match=str(path)):
        Store(path)


# what would have been done, and a store that another version wrote


def otherwise(store: Store) -> list[tuple[str | None, str | None]]:
    return store.db.execute("SELECT would, shadow FROM otherwise ORDER BY record").fetchall()


def observed() -> Host:
    host = Host()
    host.statement("SELECT 1", 1, would="allow")
    host.statement("DROP TABLE a", 2, would="deny")
    host.statement("SELECT 2", 3, shadow={"would": "hold", "policy": "p", "reason": "r", "epoch": 2})
    return host


def test_a_store_of_the_version_before_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockgate.collector.store.CATCH_UP_STEP", 2)
    path = database(tmp_path / "state")
    with Store(path) as store:
        ingest(store, *observed().records)
        expected = otherwise(store)
        store.db.execute("DROP TABLE otherwise")
        store.db.execute("DROP TABLE otherwise_upto")
    assert expected == [("deny", None), (None, "hold")]
    with Store(path) as store:
        assert otherwise(store) == expected


def test_what_the_version_before_took_in_between_is_caught_up_with(tmp_path: Path) -> None:
    path, host = database(tmp_path / "state"), observed()
    with Store(path) as store:
        ingest(store, *host.records[:2])
        upto = store.db.execute("SELECT record FROM otherwise_upto").fetchone()
        ingest(store, *host.records)
        # it knows neither table
        store.db.execute("DELETE FROM otherwise")
        store.db.execute("UPDATE otherwise_upto SET record = ?", upto)
    with Store(path) as store:
        assert otherwise(store) == [("deny", None), (None, "hold")]
        assert store.db.execute("PRAGMA user_version").fetchone() == (1,), "which the version before takes"


def test_no_more_than_so_many_are_caught_up_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = database(tmp_path / "state")
    with Store(path) as store:
        ingest(store, *observed().records)
        store.db.execute("DELETE FROM otherwise")
        store.db.execute("DELETE FROM otherwise_upto")
    monkeypatch.setattr("lockgate.collector.store.CATCH_UP", 2)
    with Store(path) as store:
        assert otherwise(store) == [(None, "hold")]
