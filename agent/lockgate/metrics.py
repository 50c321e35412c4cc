"""The agent's numbers for Prometheus.

Counting is plain arithmetic in the event loop's thread: 0.1 us for a counter and 0.3 us for a histogram, where
prometheus_client's own (which lock) take 0.5 and 1.6 us here. The endpoint's thread reads the same integers, each of
which is whole at any time; a scrape may see one counter a statement ahead of another.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

OVERHEAD_BUCKETS: Final = (
    10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1.0,
)  # fmt: skip
"""Seconds that Lockgate adds to a statement before it leaves."""

UPSTREAM_BUCKETS: Final = (100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 100e-3, 500e-3, 1.0, 5.0, 30.0)
"""Seconds a statement takes at its datastore."""

HOLD_BUCKETS: Final = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0)
"""Seconds a held statement waits for its second key."""

VERDICTS: Final = ("allow", "deny", "hold")
WOULD: Final = ("allow", "mask", "deny", "hold")
"""What enforcing would have done with a statement: `mask` for one that would have gone, with columns masked."""
HOLD_OUTCOMES: Final = ("approved", "denied", "expired", "cancelled")
CONNECTION_OUTCOMES: Final = ("closed", "disconnected", "refused")

SCRAPE_SECONDS: Final = 5.0
"""How long the endpoint waits for one scraper, which holds up the others: one is served at a time."""

CLOSE_SECONDS: Final = 0.5
"""How often the endpoint looks whether it is to close."""


class MetricsError(OSError):
    """The endpoint can't be opened; the message names its address."""


class _Histogram:
    """Counts by bucket; `bounds` in seconds: a value belongs to the first bound that it is not over."""

    __slots__ = ("_bounds", "_counts", "_labels", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = [round(bound * 1e9) for bound in bounds]
        self._labels = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        self._counts = [0] * len(self._labels)
        self._sum = 0

    def observe(self, nanoseconds: int) -> None:
        self._counts[bisect_left(self._bounds, nanoseconds)] += 1
        self._sum += nanoseconds

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """The cumulative buckets, and the sum in seconds."""
        total = 0
        found: list[tuple[str, float]] = []
        for label, count in zip(self._labels, list(self._counts), strict=True):
            total += count
            found.append((label, total))
        return found, self._sum / 1e9


class Metrics(Collector):
    """Everything the agent counts. Every method but `text` and `serve` is for the event loop's thread.

    Durations are in nanoseconds (what time.monotonic_ns() differences are), sizes in bytes. Every datastore in
    `datastores` and every known outcome is there from the start, at zero, so that a first event is seen as an increase.
    """

    def __init__(self, datastores: Iterable[str]) -> None:
        stores = list(datastores)
        self._open = dict.fromkeys(stores, 0)
        self._connections = {(s, outcome): 0 for s in stores for outcome in CONNECTION_OUTCOMES}
        self._statements = {(s, verdict): 0 for s in stores for verdict in VERDICTS}
        self._would = {(s, would): 0 for s in stores for would in WOULD}
        self._shadow = {(s, would): 0 for s in stores for would in WOULD}
        self._unread = dict.fromkeys(stores, 0)
        self._unrecorded = 0
        self._masked = dict.fromkeys(stores, 0)
        self._detected: dict[str, int] = {}
        self._holds = {(s, outcome): _Histogram(HOLD_BUCKETS) for s in stores for outcome in HOLD_OUTCOMES}
        self._held: Callable[[], int] = int
        self._refused: dict[str, int] = {}
        self._overhead = _Histogram(OVERHEAD_BUCKETS)
        self._upstream = _Histogram(UPSTREAM_BUCKETS)
        self._spool: dict[str, int] = {}
        self._epoch = 0
        self._reloads = {"taken": 0, "refused": 0}
        self._shadow_epoch = 0
        self._shadow_reloads = {"taken": 0, "refused": 0}
        self._kernel: dict[str, int] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    # one connection

    def connected(self, datastore: str) -> None:
        """A client was accepted for this datastore."""
        self._open[datastore] += 1

    def disconnected(self, datastore: str, outcome: str = "closed") -> None:
        """A connection that was `connected` ended; `outcome` is one of CONNECTION_OUTCOMES."""
        self._open[datastore] -= 1
        self._connections[datastore, outcome] += 1

    def refused(self, reason: str) -> None:
        """Something was refused by no policy's verdict; `reason` is a word of the program's, never of a client's."""
        self._refused[reason] = self._refused.get(reason, 0) + 1

    # one statement

    def statement(self, datastore: str, verdict: str, count: int = 1) -> None:
        """Statements were judged; `verdict` is one of VERDICTS."""
        self._statements[datastore, verdict] += count

    def would(self, datastore: str, would: str) -> None:
        """What enforcing would have done with a statement that was only observed; one of WOULD."""
        self._would[datastore, would] += 1

    def shadow(self, datastore: str, would: str) -> None:
        """What the bundle that is tried would have done with a statement, where that is something else."""
        self._shadow[datastore, would] += 1

    def unread(self, datastore: str) -> None:
        """An observed connection is passed on unread from here on."""
        self._unread[datastore] += 1

    def unrecorded(self) -> None:
        """A record of something observed could not be written."""
        self._unrecorded += 1

    def numbers(self, datastore: str) -> dict[str, int]:
        """What `lockgate status` says of a datastore, since the start."""
        return {
            "statements": sum(self._statements[datastore, verdict] for verdict in VERDICTS),
            **{f"would_{would}": self._would[datastore, would] for would in ("deny", "hold", "mask")},
            "shadow_differs": sum(self._shadow[datastore, would] for would in WOULD),
            "unread_connections": self._unread[datastore],
        }

    def overhead(self, nanoseconds: int) -> None:
        """From a statement read to its forwarding, without what it waited for people."""
        self._overhead.observe(nanoseconds)

    def upstream(self, nanoseconds: int) -> None:
        """From a statement forwarded to its completion."""
        self._upstream.observe(nanoseconds)

    def masked(self, datastore: str, cells: int) -> None:
        """`cells` values of a result were masked."""
        self._masked[datastore] += cells

    def detected(self, counts: Mapping[str, int]) -> None:
        """Values that nobody classified held so much of each kind (`lockgate.masking.detectors.KINDS`)."""
        for kind, count in counts.items():
            self._detected[kind] = self._detected.get(kind, 0) + count

    def held(self, datastore: str, outcome: str, nanoseconds: int) -> None:
        """A hold ended after so long; `outcome` is one of HOLD_OUTCOMES."""
        self._holds[datastore, outcome].observe(nanoseconds)

    # what is read now and then

    def watch_held(self, read: Callable[[], int]) -> None:
        """Where to read, at every scrape and in its thread, how many statements are held now."""
        self._held = read

    def spool(self, size: int, limit: int, dropped: int, records: int | None = None) -> None:
        """What the spool takes, may take, lost to a crash before this start, and how many records wait in it."""
        found = {"bytes": size, "limit_bytes": limit, "dropped_bytes": dropped}
        self._spool = found if records is None else {**found, "records": records}

    def reloaded(self, epoch: int, *, taken: bool) -> None:
        """The policy bundle was read again; `epoch` is the one in force now."""
        self._epoch = epoch
        self._reloads["taken" if taken else "refused"] += 1

    def epoch(self, epoch: int) -> None:
        """The policy bundle that the agent started with."""
        self._epoch = epoch

    def shadow_reloaded(self, epoch: int, *, taken: bool) -> None:
        """The bundle that is tried was read again; `epoch` is the one that is tried now, 0 for none."""
        self._shadow_epoch = epoch
        self._shadow_reloads["taken" if taken else "refused"] += 1

    def kernel(self, totals: Mapping[str, int]) -> None:
        """The counters of the BPF programs, which count on by themselves."""
        self._kernel = dict(totals)

    # out

    def text(self) -> bytes:
        """The Prometheus text exposition."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks for at every scrape; from any thread."""
        yield _gauge("connections", "Connections open now.", ("datastore",), self._open)
        yield _counter("connections", "Connections ended, by how.", ("datastore", "outcome"), self._connections)
        yield _counter("statements", "Statements judged.", ("datastore", "verdict"), self._statements)
        yield _counter("would", "What enforcing would have done with what was observed.", _WOULD, self._would)
        yield _counter("shadow", "What the bundle that is tried would do otherwise.", _WOULD, self._shadow)
        yield _counter("unread", "Observed connections passed on unread.", ("datastore",), self._unread)
        yield CounterMetricFamily("lockgate_unrecorded", "Observed and not recorded.", self._unrecorded)
        yield _counter("masked_cells", "Values masked in results.", ("datastore",), self._masked)
        yield _counter("detected", "Found in values that nobody classified.", ("kind",), self._detected)
        yield _counter("refused", "Refusals that no policy decided.", ("reason",), self._refused)
        holds = HistogramMetricFamily(
            "lockgate_hold_seconds", "How long held statements waited.", labels=("datastore", "outcome")
        )
        for labels, histogram in self._holds.items():
            holds.add_metric(labels, *histogram.buckets())
        yield holds
        yield GaugeMetricFamily("lockgate_held", "Statements held now.", self._held())
        for name, documentation, histogram in (
            ("statement_overhead", "What Lockgate adds to a statement before it leaves.", self._overhead),
            ("upstream", "What statements take at their datastore.", self._upstream),
        ):
            buckets, total = histogram.buckets()
            yield HistogramMetricFamily(f"lockgate_{name}_seconds", documentation, buckets=buckets, sum_value=total)
        for name, value in self._spool.items():
            yield GaugeMetricFamily(f"lockgate_spool_{name}", _SPOOL[name], value)
        yield GaugeMetricFamily("lockgate_policy_epoch", "The policy bundle in force.", self._epoch)
        yield _counter("policy_reloads", "Policy bundles read again.", ("outcome",), self._reloads)
        yield GaugeMetricFamily("lockgate_shadow_epoch", "The policy bundle that is tried.", self._shadow_epoch)
        yield _counter("shadow_reloads", "Bundles to be tried read again.", ("outcome",), self._shadow_reloads)
        yield _counter("kernel", "What the BPF programs counted.", ("counter",), self._kernel)

    def serve(self, address: str) -> Callable[[], None]:
        """Serve `GET /metrics` on `HOST:PORT` from a thread of its own; the answer closes it. Raises MetricsError."""
        host, _, port = address.rpartition(":")
        try:
            server = _Server((host.strip("[]"), int(port)), _Handler)
        except OSError as error:
            raise MetricsError(f"metrics: {address}: {error.strerror or error}") from error
        server.set_app(self._answer)
        thread = threading.Thread(target=server.serve_forever, args=(CLOSE_SECONDS,), name="metrics", daemon=True)
        thread.start()

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return close

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """One scrape. Never OpenMetrics: it has no room for a gauge and a counter of one name (`connections`)."""
        if environ["REQUEST_METHOD"] != "GET" or environ["PATH_INFO"] != "/metrics":
            start_response("404 Not Found", [("Content-Length", "0")])
            return []
        body = self.text()
        start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST), ("Content-Length", str(len(body)))])
        return [body]


_WOULD: Final = ("datastore", "would")
_SPOOL: Final = {
    "bytes": "What the spool takes on disk.",
    "limit_bytes": "What it may take: statements are refused beyond.",
    "dropped_bytes": "What a crash had left incomplete in it when the agent started.",
    "records": "Records in it that the collector has not acknowledged.",
}


class _Server(WSGIServer):
    """One scraper at a time, each for SCRAPE_SECONDS at most: no number of them costs more than one thread."""

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # not HTTPServer's, which asks the resolver for the name of the address
        socketserver.TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), port
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """A scraper that went away, or sent what is no request, is none of ours to report."""


class _Handler(WSGIRequestHandler):
    timeout = SCRAPE_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are not logged."""


_Values = Mapping[str, int] | Mapping[tuple[str, str], int]


def _counter(name: str, documentation: str, labels: tuple[str, ...], values: _Values) -> Metric:
    return _add(CounterMetricFamily(f"lockgate_{name}", documentation, labels=labels), values)


def _gauge(name: str, documentation: str, labels: tuple[str, ...], values: _Values) -> Metric:
    return _add(GaugeMetricFamily(f"lockgate_{name}", documentation, labels=labels), values)


def _add(family: CounterMetricFamily | GaugeMetricFamily, values: _Values) -> Metric:
    # copied in one step: the loop's thread may add a key meanwhile
    for key, value in list(values.items()):
        family.add_metric((key,) if isinstance(key, str) else key, value)
    return family
