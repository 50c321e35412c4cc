"""From what was measured to what is said about it: medians, ratios taken within one round, aims, tables."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.database import MASKERS

FORMS = ("text", "binary", "copy text", "copy csv", "copy binary")
HITS = ("plain", "plain, new constants", "masked", "masked, new constants", "prepared")
MISSES = ("one table", "a join", "nested", "an update")
BESIDE = ("hit plain", "hit masked", "hit prepared", "miss one table")
"""What is measured again where it is only observed, and with policies beside that are only tried."""

REDIS = tuple(
    (command, depth, clients) for command in ("GET", "SET", "MGET") for depth in (1, 16) for clients in (1, 50)
)
"""The command, how many of them a client sends before it waits for an answer, and how many clients there are."""


def redis_name(command: str, depth: int, clients: int) -> str:
    return f"redis {command} P{depth} x{clients}"


@dataclass(frozen=True, slots=True)
class Measure:
    """Something measured in every round. `unit` as printed."""

    name: str
    title: str
    unit: str


def _clients(number: int) -> str:
    return "1 client" if number == 1 else f"{number} clients"


MEASURES = (
    Measure("select simple x1", "pgbench -S, simple, 1 client", "tps"),
    Measure("select simple x8", "pgbench -S, simple, 8 clients", "tps"),
    Measure("select prepared x1", "pgbench -S, prepared, 1 client", "tps"),
    Measure("select prepared x8", "pgbench -S, prepared, 8 clients", "tps"),
    Measure("bulk plain", "1 million rows", "k rows/s"),
    Measure("bulk masked", "1 million rows, one column masked", "k rows/s"),
    Measure("latency p50", "SELECT 1, median", "us"),
    Measure("latency p99", "SELECT 1, 99th percentile", "us"),
    Measure("connections", "connections", "a second"),
    *(
        measure
        for prefix, told in (("tls ", "TLS with the client"), ("upstream tls ", "TLS with the server"))
        for measure in (
            *(
                Measure(f"{prefix}select {mode} x{clients}", f"{told}: pgbench -S, {mode} x{clients}", "tps")
                for mode in ("simple", "prepared")
                for clients in (1, 8)
            ),
            Measure(f"{prefix}bulk plain", f"{told}: 1 million rows", "k rows/s"),
            Measure(f"{prefix}copy", f"{told}: COPY of 1 million rows", "k rows/s"),
            Measure(f"{prefix}latency p50", f"{told}: SELECT 1, median", "us"),
            Measure(f"{prefix}latency p99", f"{told}: SELECT 1, 99th percentile", "us"),
            Measure(f"{prefix}connections", f"{told}: connections", "a second"),
        )
    ),
    *(
        Measure(f"mask {masker} {form}", f"one column {masker}, {form}", "k rows/s")
        for masker in MASKERS
        for form in FORMS
    ),
    Measure("detect clean", "all detectors, clean text", "k rows/s"),
    Measure("detect found", "all detectors, 1 % found", "k rows/s"),
    Measure("granted x1", "DELETE under a grant", "tps"),
    Measure("unheld x1", "UPDATE that nobody holds", "tps"),
    Measure("trusted connections", "a connection and a SELECT, trust", "tps"),
    Measure("scram connections", "a connection and a SELECT, SCRAM", "tps"),
    Measure("migration in one transaction", "200 changes of the schema, one transaction", "a second"),
    Measure("migration, each by itself", "20 changes of the schema, each by itself", "a second"),
    *(Measure(redis_name(*one), f"Redis {one[0]}, pipeline {one[1]}, {_clients(one[2])}", "a second") for one in REDIS),
    Measure("redis latency p50", "Redis GET, median", "us"),
    Measure("redis latency p99", "Redis GET, 99th percentile", "us"),
)

COSTS = (
    Measure("idle rss", "idle, RSS", "MiB"),
    Measure("idle pss", "idle, PSS", "MiB"),
    Measure("later rss", "after the load, RSS", "MiB"),
    Measure("connection", "a connection, RSS", "KiB"),
    Measure("cpu select simple x1", "CPU a statement, simple, 1 client", "us"),
    Measure("cpu select simple x8", "CPU a statement, simple, 8 clients", "us"),
    Measure("cpu select prepared x1", "CPU a statement, prepared, 1 client", "us"),
    Measure("cpu select prepared x8", "CPU a statement, prepared, 8 clients", "us"),
    *(
        Measure(f"cpu {prefix}select {mode} x{clients}", f"CPU a statement, {prefix}{mode} x{clients}", "us")
        for prefix in ("tls ", "upstream tls ")
        for mode in ("simple", "prepared")
        for clients in (1, 8)
    ),
    *(Measure(f"cpu {redis_name(*one)}", f"CPU a command, Redis {one[0]} P{one[1]} x{one[2]}", "us") for one in REDIS),
    *(Measure(f"hit {name}", f"judged before: {name}", "us") for name in HITS),
    *(Measure(f"miss {name}", f"a new shape: {name}", "us") for name in MISSES),
    *(Measure(f"observed {what}", f"observed, {what}", "us") for what in BESIDE),
    *(Measure(f"tried {what}", f"with policies that are tried, {what}", "us") for what in BESIDE),
    Measure("masked adds", "what a masked column adds to a hit", "us"),
    Measure("detectors clean", "all detectors on clean rows", "MB/s"),
    Measure("detectors found", "all detectors, 1 % found", "MB/s"),
    Measure("detectors ns", "all detectors on clean rows, a byte", "ns"),
    Measure("catalog 300", "reading the catalog, 300 relations", "ms"),
    Measure("catalog 3000", "reading the catalog, 3,000 relations", "ms"),
)


@dataclass(frozen=True, slots=True)
class Aim:
    """At least `bound` of `reference`'s in the same round, or, without one, at most `bound` in the measure's unit."""

    measure: str
    reference: str | None
    bound: float


AIMS = (
    Aim("select simple x1", "haproxy", 0.6),
    Aim("select simple x8", "haproxy", 0.6),
    Aim("select prepared x1", "haproxy", 0.6),
    Aim("select prepared x8", "haproxy", 0.6),
    Aim("bulk plain", "direct", 0.7),
    Aim("bulk masked", "direct", 0.7),
    Aim("connection", None, 30.0),
    Aim("idle rss", None, 60.0),
    Aim("masked adds", None, 15.0),
    Aim("detectors ns", None, 5.0),
    *(Aim(redis_name(*one), "haproxy", 0.6) if one[1] == 1 else Aim(redis_name(*one), "direct", 0.35) for one in REDIS),
)


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of the ratios of each round, and the least and the greatest of them."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Judged:
    """An aim and what came of it; both None when it could not be measured."""

    aim: Aim
    measured: float | None
    met: bool | None
    spread: Ratio | None = None


@dataclass(slots=True)
class Results:
    """What was measured: measure -> peer -> round -> value. Also who is missing or failed, and why."""

    values: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failures: dict[str, dict[str, str]] = field(default_factory=dict)
    """peer -> workload -> why."""

    def add(self, peer: str, number: int, measured: Mapping[str, float]) -> None:
        """What came out of one run in round `number`."""
        for measure, value in measured.items():
            self.values.setdefault(measure, {}).setdefault(peer, {})[number] = value

    def failed(self, peer: str, workload: str, why: str) -> None:
        self.failures.setdefault(peer, {})[workload] = why

    def peers(self) -> list[str]:
        """Who has values, in the order in which they first did the same."""
        known = [self.values.get(measure.name, {}) for measure in (*MEASURES, *COSTS)]
        return list(dict.fromkeys(peer for found in known for peer in found))

    def median(self, measure: str, peer: str) -> float | None:
        """None: not measured."""
        found = self.values.get(measure, {}).get(peer)
        return statistics.median(found.values()) if found else None

    def ratio(self, measure: str, peer: str, reference: str) -> Ratio | None:
        """`peer` as a part of `reference`, over the rounds that both have. None where there is none.

        Rounds are compared one by one: what else goes on on the machine changes over a run, and hits both of a round.
        """
        by_peer = self.values.get(measure, {})
        mine, theirs = by_peer.get(peer, {}), by_peer.get(reference, {})
        found = [mine[number] / theirs[number] for number in mine if theirs.get(number)]
        return Ratio(statistics.median(found), min(found), max(found)) if found else None

    def judge(self, aim: Aim, peer: str) -> Judged:
        """Whether `peer` reaches an aim."""
        if aim.reference is None:
            value = self.median(aim.measure, peer)
            return Judged(aim, value, None if value is None else value <= aim.bound)
        ratio = self.ratio(aim.measure, peer, aim.reference)
        if ratio is None:
            return Judged(aim, None, None)
        return Judged(aim, ratio.median, ratio.median >= aim.bound, ratio)

    def as_json(self, peer: str) -> dict[str, Any]:
        """Everything, for a file: raw values by round, medians, and the aims of `peer`."""
        return {
            "values": {m: {p: list(by.values()) for p, by in found.items()} for m, found in self.values.items()},
            "medians": {m: {p: self.median(m, p) for p in found} for m, found in self.values.items()},
            "aims": [
                {
                    "measure": judged.aim.measure,
                    "reference": judged.aim.reference,
                    "bound": judged.aim.bound,
                    "measured": judged.measured,
                    "met": judged.met,
                }
                for judged in (self.judge(aim, peer) for aim in AIMS)
            ],
            "missing": self.missing,
            "failures": self.failures,
        }


def show(results: Results, console: Console, subject: str) -> None:
    """Print the tables: rates with ratios, costs, and whether `subject` reaches its aims."""
    console.print(_rates(results, subject))
    console.print(_costs(results, subject))
    console.print(_aims(results, subject))
    for peer, why in results.missing.items():
        console.print(f"not measured: {peer}: {why}", markup=False, highlight=False)
    for peer, found in results.failures.items():
        for workload, why in found.items():
            console.print(f"failed: {peer}, {workload}: {why}", markup=False, highlight=False)


def _rates(results: Results, subject: str) -> Table:
    table = Table(title="Medians; ratios of the same round", title_justify="left")
    for title in ("", "peer"):
        table.add_column(title)
    for title in ("median", "of direct", "of haproxy"):
        table.add_column(title, justify="right")
    for measure in MEASURES:
        peers = [p for p in results.peers() if results.median(measure.name, p) is not None]
        for index, peer in enumerate(peers):
            table.add_row(
                measure.title if index == 0 else f"  {measure.unit}" if index == 1 else "",
                peer,
                _number(results.median(measure.name, peer)),
                *(_ratio(results.ratio(measure.name, peer, other)) for other in ("direct", "haproxy")),
                style="bold" if peer == subject else None,
                end_section=index == len(peers) - 1,
            )
    return table


def _costs(results: Results, subject: str) -> Table:
    table = Table(title="What each costs", title_justify="left")
    table.add_column("")
    peers = [p for p in results.peers() if any(results.median(m.name, p) is not None for m in COSTS)]
    for peer in peers:
        table.add_column(peer, justify="right", style="bold" if peer == subject else None)
    for measure in COSTS:
        table.add_row(
            f"{measure.title}, {measure.unit}", *(_number(results.median(measure.name, peer)) for peer in peers)
        )
    return table


def _aims(results: Results, subject: str) -> Table:
    table = Table(title=f"The aims of {subject}", title_justify="left")
    for title in ("", "aim"):
        table.add_column(title)
    for title in ("measured", "rounds"):
        table.add_column(title, justify="right")
    table.add_column("")
    titles = {measure.name: measure for measure in (*MEASURES, *COSTS)}
    for aim in AIMS:
        judged, measure = results.judge(aim, subject), titles[aim.measure]
        wanted = f"at most {aim.bound:g} {measure.unit}"
        if aim.reference is not None:
            wanted = f"at least {aim.bound:g} of {aim.reference}"
        spread = judged.spread
        word, style = {None: ("not measured", "yellow"), True: ("met", "green"), False: ("missed", "red")}[judged.met]
        table.add_row(
            measure.title,
            wanted,
            _number(judged.measured) if spread is None else f"{spread.median:.2f}",
            "" if spread is None else f"{spread.low:.2f} to {spread.high:.2f}",
            f"[{style}]{word}[/]",
        )
    return table


def _ratio(ratio: Ratio | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"
