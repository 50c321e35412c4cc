"""The units, as systemd itself judges them."""

from __future__ import annotations

import re

import pytest

from tests.packages.host import AGENT, COLLECTOR, Host

EXPOSURE = {AGENT: 3.0, COLLECTOR: 1.5}
"""What `systemd-analyze security` may say at most, of 10."""


def test_systemd_finds_nothing_to_complain_of(host: Host) -> None:
    host.installed()
    assert host.machine.run("systemctl", "--failed", "--plain", "--no-legend") == ""
    for unit in (AGENT, COLLECTOR, "lockgate-gate.service"):
        verified = host.machine.attempt("systemd-analyze", "verify", "--man=no", unit)
        assert (verified.status, verified.said) == (0, ""), verified


@pytest.mark.parametrize("unit", EXPOSURE)
def test_units_are_exposed_to_little(debian: Host, unit: str) -> None:
    assert debian.install().status == 0
    said = debian.machine.run("systemd-analyze", "security", "--no-pager", unit)
    found = re.search(rf"Overall exposure level for {re.escape(unit)}: ([0-9.]+)", said)
    assert found is not None, said
    assert float(found[1]) <= EXPOSURE[unit]
