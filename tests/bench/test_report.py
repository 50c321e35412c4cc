"""Medians, ratios and aims from values that are known; the tables as they read."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from tests.bench.report import AIMS, COSTS, MEASURES, REDIS, Aim, Ratio, Results, redis_name, show
from tests.bench.workloads import WORKLOADS


def results(values: dict[str, dict[str, list[float]]]) -> Results:
    """measure -> peer -> its value in round 0, 1, 2, ..."""
    made = Results()
    for measure, by_peer in values.items():
        for peer, found in by_peer.items():
            for number, value in enumerate(found):
                made.add(peer, number, {measure: value})
    return made


def printed(made: Results) -> str:
    out = io.StringIO()
    show(made, Console(file=out, width=120), "lockgate")
    return out.getvalue()


def test_the_median_is_of_the_rounds() -> None:
    made = results({"bulk plain": {"direct": [100.0, 900.0, 300.0], "lockgate": [1.0, 2.0]}})
    assert made.median("bulk plain", "direct") == 300.0
    assert made.median("bulk plain", "lockgate") == 1.5


def test_what_was_not_measured_has_no_median_and_no_ratio() -> None:
    made = results({"bulk plain": {"direct": [100.0]}})
    assert made.median("bulk plain", "lockgate") is None
    assert made.median("latency p50", "direct") is None
    assert made.ratio("bulk plain", "lockgate", "direct") is None


def test_a_ratio_is_taken_within_each_round() -> None:
    # the machine was four times as fast in the last round: ratios of medians would say 0.25
    made = results({"bulk plain": {"direct": [100.0, 100.0, 400.0], "lockgate": [50.0, 25.0, 200.0]}})
    assert made.ratio("bulk plain", "lockgate", "direct") == Ratio(0.5, 0.25, 0.5)


def test_a_ratio_leaves_out_rounds_that_one_of_both_lacks() -> None:
    made = results({"bulk plain": {"direct": [100.0]}})
    made.add("lockgate", 0, {"bulk plain": 80.0})
    made.add("lockgate", 1, {"bulk plain": 9.0})
    assert made.ratio("bulk plain", "lockgate", "direct") == Ratio(0.8, 0.8, 0.8)


def test_nothing_is_a_part_of_zero() -> None:
    assert (
        results({"bulk plain": {"direct": [0.0], "lockgate": [1.0]}}).ratio("bulk plain", "lockgate", "direct") is None
    )


@pytest.mark.parametrize(("measured", "met"), [(60.0, True), (59.0, False), (61.0, True)])
def test_a_relative_aim_is_a_least(measured: float, met: bool) -> None:
    made = results({"select simple x1": {"haproxy": [100.0], "lockgate": [measured]}})
    assert made.judge(Aim("select simple x1", "haproxy", 0.6), "lockgate").met is met


@pytest.mark.parametrize(("measured", "met"), [(30.0, True), (30.5, False), (2.0, True)])
def test_an_absolute_aim_is_a_most(measured: float, met: bool) -> None:
    made = results({"connection": {"lockgate": [measured]}})
    assert made.judge(Aim("connection", None, 30.0), "lockgate").met is met


def test_an_aim_that_was_not_measured_is_neither_met_nor_missed() -> None:
    for aim in AIMS:
        assert Results().judge(aim, "lockgate").met is None


def test_every_aim_is_about_something_that_is_measured() -> None:
    names = {measure.name for measure in (*MEASURES, *COSTS)}
    assert {aim.measure for aim in AIMS} <= names
    assert {workload.name for workload in WORKLOADS} - {"latency"} <= names
    assert {redis_name(*one) for one in REDIS} <= names


def test_the_tables_say_who_did_what() -> None:
    made = results(
        {
            "select simple x1": {"direct": [10000.0], "haproxy": [8000.0], "lockgate": [6000.0]},
            "bulk plain": {"direct": [1000.0], "lockgate": [500.0]},
            "connection": {"haproxy": [3.2], "lockgate": [12.5]},
        }
    )
    lines = printed(made).splitlines()
    assert any(line.replace("│", " ").split() == ["lockgate", "6,000", "0.60", "0.75"] for line in lines)
    assert any("a connection, RSS, KiB" in line and "3.2" in line and "12.5" in line for line in lines)
    aims = lines[next(n for n, line in enumerate(lines) if "aims of lockgate" in line) :]
    assert any("simple, 1 client" in line and "0.75" in line and line.rstrip(" │").endswith("met") for line in aims)
    assert any("1 million rows " in line and "0.50" in line and "missed" in line for line in aims)
    assert any("prepared, 8 clients" in line and "not measured" in line for line in aims)


def test_who_could_not_be_measured_is_named_with_the_reason() -> None:
    made = results({"bulk plain": {"direct": [1000.0]}})
    made.missing["envoy"] = "can't be installed: [no] such thing"
    made.failed("mitmproxy", "bulk plain", "not finished after 60 s")
    text = printed(made)
    assert "not measured: envoy: can't be installed: [no] such thing" in text
    assert "failed: mitmproxy, bulk plain: not finished after 60 s" in text


def test_the_file_has_every_value_and_what_follows_from_it() -> None:
    made = results({"bulk plain": {"direct": [1000.0, 800.0], "lockgate": [750.0, 640.0]}})
    made.missing["envoy"] = "no"
    told = json.loads(json.dumps(made.as_json("lockgate")))
    assert told["values"]["bulk plain"]["lockgate"] == [750.0, 640.0]
    assert told["medians"]["bulk plain"]["direct"] == 900.0
    aim = next(aim for aim in told["aims"] if aim["measure"] == "bulk plain")
    assert (aim["measured"], aim["met"]) == (0.775, True)
    assert told["missing"] == {"envoy": "no"}
