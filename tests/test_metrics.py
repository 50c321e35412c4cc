"""The agent's numbers: what is counted comes out, costs next to nothing, and the endpoint can't be held up."""

from __future__ import annotations

import http.client
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from lockgate import metrics as module
from lockgate.metrics import HOLD_BUCKETS, OVERHEAD_BUCKETS, Metrics, MetricsError
from tests.support.postgres import free_port


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """As Prometheus reads them: (name, labels) -> value."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[f"lockgate_{name}", frozenset(labels.items())]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(["orders", "users"])


def test_everything_known_is_there_from_the_start(metrics: Metrics) -> None:
    """A counter that first appears with its first event shows no increase."""
    assert value(metrics, "connections", datastore="orders") == 0
    assert value(metrics, "connections_total", datastore="users", outcome="disconnected") == 0
    assert value(metrics, "statements_total", datastore="users", verdict="deny") == 0
    assert value(metrics, "masked_cells_total", datastore="users") == 0
    assert value(metrics, "hold_seconds_count", datastore="users", outcome="expired") == 0
    assert value(metrics, "held") == 0
    assert value(metrics, "policy_reloads_total", outcome="refused") == 0


def test_connections(metrics: Metrics) -> None:
    metrics.connected("orders")
    metrics.connected("orders")
    metrics.connected("users")
    metrics.disconnected("orders")
    metrics.disconnected("users", "disconnected")
    assert value(metrics, "connections", datastore="orders") == 1
    assert value(metrics, "connections", datastore="users") == 0
    assert value(metrics, "connections_total", datastore="orders", outcome="closed") == 1
    assert value(metrics, "connections_total", datastore="users", outcome="disconnected") == 1


def test_statements_cells_and_refusals(metrics: Metrics) -> None:
    metrics.statement("orders", "allow")
    metrics.statement("orders", "allow")
    metrics.statement("users", "hold")
    metrics.masked("orders", 3)
    metrics.masked("orders", 4)
    metrics.detected({"email": 2, "card": 1})
    metrics.detected({"email": 3})
    metrics.refused("identity")
    assert value(metrics, "statements_total", datastore="orders", verdict="allow") == 2
    assert value(metrics, "statements_total", datastore="users", verdict="hold") == 1
    assert value(metrics, "masked_cells_total", datastore="orders") == 7
    assert value(metrics, "detected_total", kind="email") == 5
    assert value(metrics, "detected_total", kind="card") == 1
    assert value(metrics, "refused_total", reason="identity") == 1


def test_holds(metrics: Metrics) -> None:
    waiting = [1, 2]
    metrics.watch_held(lambda: len(waiting))
    metrics.held("orders", "approved", 3_000_000_000)
    assert value(metrics, "held") == 2
    waiting.clear()
    assert value(metrics, "held") == 0
    labels = {"datastore": "orders", "outcome": "approved"}
    assert value(metrics, "hold_seconds_sum", **labels) == 3
    assert value(metrics, "hold_seconds_bucket", le="1", **labels) == 0
    assert value(metrics, "hold_seconds_bucket", le="5", **labels) == 1
    assert value(metrics, "hold_seconds_bucket", le="+Inf", **labels) == 1


def test_the_spool_the_policies_and_the_kernel(metrics: Metrics) -> None:
    assert not any("spool" in name for name, _ in samples(metrics))
    metrics.spool(10, 100, 1)
    assert not any("records" in name for name, _ in samples(metrics))
    metrics.spool(10, 100, 1, 5)
    metrics.epoch(1)
    assert value(metrics, "policy_epoch") == 1
    metrics.reloaded(2, taken=True)
    metrics.reloaded(2, taken=False)
    metrics.kernel({"redirected": 7, "map_full": 0})
    assert value(metrics, "spool_bytes") == 10
    assert value(metrics, "spool_limit_bytes") == 100
    assert value(metrics, "spool_dropped_bytes") == 1
    assert value(metrics, "spool_records") == 5
    assert value(metrics, "policy_epoch") == 2
    assert value(metrics, "policy_reloads_total", outcome="taken") == 1
    assert value(metrics, "policy_reloads_total", outcome="refused") == 1
    assert value(metrics, "kernel_total", counter="redirected") == 7


@pytest.mark.parametrize(
    ("name", "observe"), [("statement_overhead", Metrics.overhead), ("upstream", Metrics.upstream)]
)
def test_durations(metrics: Metrics, name: str, observe: Callable[[Metrics, int], None]) -> None:
    for nanoseconds in (0, 99_999, 100_000, 100_001, 10**12):
        observe(metrics, nanoseconds)
    assert value(metrics, f"{name}_seconds_bucket", le="0.0001") == 3
    assert value(metrics, f"{name}_seconds_bucket", le="0.00025") == 4
    assert value(metrics, f"{name}_seconds_bucket", le="+Inf") == 5
    assert value(metrics, f"{name}_seconds_count") == 5
    assert math.isclose(value(metrics, f"{name}_seconds_sum"), 1000.0003)


@given(st.lists(st.integers(0, 4 * 10**9), max_size=30))
def test_a_bucket_holds_what_is_not_over_its_bound(durations: list[int]) -> None:
    metrics = Metrics([])
    for nanoseconds in durations:
        metrics.overhead(nanoseconds)
    for bound in OVERHEAD_BUCKETS:
        expected = sum(nanoseconds <= round(bound * 1e9) for nanoseconds in durations)
        assert value(metrics, "statement_overhead_seconds_bucket", le=f"{bound:g}") == expected


@pytest.mark.parametrize("buckets", [OVERHEAD_BUCKETS, module.UPSTREAM_BUCKETS, HOLD_BUCKETS])
def test_bounds_rise(buckets: tuple[float, ...]) -> None:
    assert list(buckets) == sorted(set(buckets))


@pytest.mark.parametrize("count", [lambda m: m.statement("orders", "allow"), lambda m: m.overhead(30_000)])
def test_counting_costs_next_to_nothing(metrics: Metrics, count: Callable[[Metrics], None]) -> None:
    """0.3 us here; the bound leaves room for a busy machine."""

    def timed() -> float:
        start = time.perf_counter()
        for _ in range(1000):
            count(metrics)
        return (time.perf_counter() - start) / 1000

    assert min(timed() for _ in range(10)) < 2e-6


@contextmanager
def serving(metrics: Metrics, host: str = "127.0.0.1") -> Iterator[int]:
    port = free_port()
    close = metrics.serve(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    try:
        yield port
    finally:
        close()


def get(port: int, path: str = "/metrics", method: str = "GET", host: str = "127.0.0.1") -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        # what Prometheus asks for: it would rather have OpenMetrics, and would find a gauge and a counter of one name
        connection.request(
            method, path, headers={"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
        )
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Content-Type", ""), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_prometheus_can_scrape(metrics: Metrics, host: str) -> None:
    metrics.statement("orders", "allow")
    with serving(metrics, host) as port:
        status, kind, body = get(port, host=host)
    assert status == 200
    assert kind.startswith("text/plain")
    assert body == metrics.text()


def test_nothing_else_is_served(metrics: Metrics) -> None:
    with serving(metrics) as port:
        assert get(port, "/")[0] == 404
        assert get(port, "/metrics/../etc/passwd")[0] == 404
        assert get(port, method="POST")[0] == 404
        assert get(port)[0] == 200


def test_a_taken_port_is_a_clear_error(metrics: Metrics) -> None:
    with (
        serving(metrics) as port,
        pytest.raises(MetricsError, match=f"^metrics: 127.0.0.1:{port}: Address already in use$"),
    ):
        metrics.serve(f"127.0.0.1:{port}")


def test_an_address_that_is_not_ours_is_a_clear_error(metrics: Metrics) -> None:
    with pytest.raises(MetricsError, match=r"metrics: 192\.0\.2\.1:9464: "):
        metrics.serve("192.0.2.1:9464")


def test_closing_frees_the_port_and_the_thread(metrics: Metrics) -> None:
    with serving(metrics) as port:
        assert any(thread.name == "metrics" for thread in threading.enumerate())
    assert not any(thread.name == "metrics" for thread in threading.enumerate())
    metrics.serve(f"127.0.0.1:{port}")()


def test_a_scraper_that_says_nothing_holds_nobody_up_for_long(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module._Handler, "timeout", 0.1)
    with serving(metrics) as port:
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)) as garbage:
            garbage.sendall(b"\x00\xff\r\n\r\n")
            assert get(port)[0] == 200
        assert get(port)[0] == 200
    assert capfd.readouterr() == ("", "")


def test_what_would_have_been_is_counted_by_datastore(metrics: Metrics) -> None:
    assert value(metrics, "would_total", datastore="orders", would="deny") == 0
    metrics.would("orders", "deny")
    metrics.would("orders", "mask")
    metrics.shadow("orders", "hold")
    metrics.unread("orders")
    metrics.unrecorded()
    metrics.statement("orders", "allow")
    metrics.shadow_reloaded(3, taken=True)
    metrics.shadow_reloaded(3, taken=False)
    assert value(metrics, "would_total", datastore="orders", would="deny") == 1
    assert value(metrics, "shadow_total", datastore="orders", would="hold") == 1
    assert value(metrics, "unread_total", datastore="orders") == 1
    assert value(metrics, "unrecorded_total") == 1
    assert value(metrics, "shadow_epoch") == 3
    assert value(metrics, "shadow_reloads_total", outcome="refused") == 1
    assert metrics.numbers("orders") == {
        "statements": 1, "would_deny": 1, "would_hold": 0, "would_mask": 1, "shadow_differs": 1,
        "unread_connections": 1,
    }  # fmt: skip
