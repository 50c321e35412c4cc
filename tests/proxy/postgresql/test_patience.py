"""Who has waited in vain is not followed by others for a while."""

from __future__ import annotations

from lockgate.proxy.postgresql.patience import DATABASES, PAUSE_SECONDS, Patience


def test_nothing_waits_behind_one_that_waited_in_vain_until_it_is_worth_trying_again() -> None:
    now = 100.0
    patience = Patience(lambda: now)
    assert patience.lost("shop") is None
    patience.lose("shop", "it takes too long")
    assert patience.lost("shop") == "it takes too long"
    assert patience.lost("other") is None
    now += PAUSE_SECONDS
    assert patience.lost("shop") is None


def test_clients_name_databases_so_they_are_bounded() -> None:
    patience = Patience(lambda: 0.0)
    for number in range(DATABASES + 1):
        patience.lose(f"d{number}", "no")
    assert patience.lost("d0") is None
    assert patience.lost("d1") == "no"
    assert patience.lost(f"d{DATABASES}") == "no"
