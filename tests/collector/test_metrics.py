"""The collector's numbers."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from lockgate.collector.entry import parse_all
from lockgate.collector.holds import Holds
from lockgate.collector.ingest import Ingest
from lockgate.collector.metrics import Numbers
from lockgate.collector.store import Store, database
from lockgate.collector.writer import Writer
from tests.collector.chains import Host, hold


def test_the_numbers_are_those_of_the_store(tmp_path: Path) -> None:
    host, forger = Host(), Host()
    with Store(database(tmp_path)) as store:
        store.pin("host-1", host.key.jwks(), None)
        host.statement("SELECT 1")
        host.seal()
        forger.statement("SELECT 2")
        writer = Writer(store)
        ingest = Ingest(writer)
        writer.ingested = store.ingest([parse_all(host.records), parse_all(forger.records)])
        ingest.rejected = 4
        held = hold()
        Holds(store).post(held, held.created)
        text = Numbers(writer, ingest).text().decode()
    samples = {(s.name, *s.labels.values()): s.value for f in text_string_to_metric_families(text) for s in f.samples}
    assert samples == {
        ("lockgate_collector_records_total",): 5,
        ("lockgate_collector_rejected_total",): 4,
        ("lockgate_collector_connections",): 0,
        ("lockgate_collector_holds_waiting",): 1,
        ("lockgate_collector_alarms",): 2,
        ("lockgate_collector_verified_seq", "host-1"): 2,
    }
