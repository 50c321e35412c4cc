"""Who it is that asks, however the connection came about."""

from __future__ import annotations

import pytest

from tests.support.attacks import written
from tests.support.markers import VALUE
from tests.support.playbook import query
from tests.support.raw import Raw
from tests.support.stack import Stack


def test_a_process_can_not_be_taken_for_somebody_else(stack: Stack) -> None:
    """Who connected is who asks: a connection handed to another process stays its maker's."""
    with Raw(stack, "cyd") as raw:
        raw.start()
        raw.send(query("SELECT email FROM customers LIMIT 1"))
        assert VALUE.search(written(raw.until()).encode())
    with Raw(stack, "ann") as raw:
        # held by this process, which is root
        raw.start()
        raw.send(query("SELECT email FROM customers LIMIT 1"))
        assert b"u***@" in dict(raw.until())["D"]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost"])
def test_every_way_to_write_the_address_is_redirected(stack: Stack, address: str) -> None:
    run = stack.psql("ann", "SELECT email FROM customers LIMIT 1", host=address)
    assert run.stdout.startswith("u***@"), run.stderr
