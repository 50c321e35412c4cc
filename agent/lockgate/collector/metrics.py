"""The collector's own numbers for Prometheus: read when they are asked for, so that counting costs nothing."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lockgate.collector.ingest import Ingest
from lockgate.collector.writer import Writer


class Numbers(Collector):
    """`text()` is the exposition; call it in the store's thread."""

    def __init__(self, writer: Writer, ingest: Ingest) -> None:
        self._writer = writer
        self._ingest = ingest
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Nothing to say before the store is open."""
        return []

    def collect(self) -> Iterator[Metric]:
        db = self._writer.store.db
        (waiting,) = db.execute("SELECT count(*) FROM holds WHERE state = 'waiting'").fetchone()
        (alarms,) = db.execute("SELECT count(*) FROM problems").fetchone()
        yield CounterMetricFamily(
            "lockgate_collector_records", "Records stored since the start, each once.", self._writer.ingested
        )
        yield CounterMetricFamily(
            "lockgate_collector_rejected", "Connections closed for what they sent.", self._ingest.rejected
        )
        yield GaugeMetricFamily(
            "lockgate_collector_connections", "Peers of the Forward listener.", self._ingest.connections
        )
        yield GaugeMetricFamily("lockgate_collector_holds_waiting", "Statements that wait for a person.", waiting)
        yield GaugeMetricFamily("lockgate_collector_alarms", "Forks, broken chains, bad seals, second keys.", alarms)
        verified = GaugeMetricFamily(
            "lockgate_collector_verified_seq", "The last record that a verified seal covers.", labels=["host"]
        )
        for host, sealed in db.execute("SELECT host, sealed FROM heads ORDER BY host"):
            verified.add_metric([host], sealed)
        yield verified
