"""Salted passwords are computed once, off the loop, and forgotten in time."""

from __future__ import annotations

import asyncio
import logging

import pytest

from lockgate.proxy.postgresql import login
from lockgate.proxy.postgresql.login import SaltedPasswords, UpstreamLogin
from lockgate.values.secret import Secret
from lockgate.wire.postgresql.scram import salted_password
from tests.proxy.house import play

PASSWORD = Secret("s3cret\u00ad")


def test_a_salted_password_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[tuple[str, bytes, int]] = []

    def counted(password: str, salt: bytes, iterations: int) -> bytes:
        computed.append((password, salt, iterations))
        return salted_password(password, salt, iterations)

    monkeypatch.setattr(login, "salted_password", counted)

    async def use() -> None:
        kept = SaltedPasswords(limit=2)
        assert kept.get(PASSWORD, b"salt", 4096) is None
        found = await asyncio.gather(*(kept.derive(PASSWORD, b"salt", 4096) for _ in range(10)))
        assert set(found) == {salted_password("s3cret", b"salt", 4096)}
        assert computed == [("s3cret", b"salt", 4096)]
        assert kept.get(PASSWORD, b"salt", 4096) == found[0]
        assert kept.get(PASSWORD, b"salt", 4097) is None
        assert kept.get(Secret("other"), b"salt", 4096) is None
        await kept.derive(PASSWORD, b"pepper", 4096)
        kept.get(PASSWORD, b"salt", 4096)
        await kept.derive(PASSWORD, b"sugar", 4096)
        assert [kept.get(PASSWORD, salt, 4096) is None for salt in (b"salt", b"pepper", b"sugar")] == [
            False, True, False,
        ]  # fmt: skip

    play(use())


def test_many_iterations_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> None:
        kept = SaltedPasswords()
        slow = asyncio.create_task(kept.derive(PASSWORD, b"salt", 2_000_000))
        ticks = 0
        while not slow.done():
            await asyncio.sleep(0.005)
            ticks += 1
        assert ticks > 10

    play(use())


def make(secret: Secret | None, refused: list[str]) -> UpstreamLogin:
    return UpstreamLogin(
        "orders", "app", secret, "prefer", False, SaltedPasswords(), on_refused=lambda: refused.append("x")
    )


def test_a_login_answers_at_once_or_has_it_derived() -> None:
    async def use() -> None:
        own = make(PASSWORD, [])
        wanted: list[tuple[bytes, int]] = []
        own.derive_with(lambda salt, iterations: wanted.append((salt, iterations)))
        assert own.salted(b"salt", 4096) is None
        assert wanted == [(b"salt", 4096)]
        derived = await own.derived(b"salt", 4096)
        assert own.salted(b"salt", 4096) == derived
        assert len(wanted) == 1
        assert own.password() == PASSWORD.reveal()
        assert make(None, []).password() is None

    play(use())


def test_a_refusal_is_logged_in_one_line_and_told(caplog: pytest.LogCaptureFixture) -> None:
    refused: list[str] = []
    with caplog.at_level(logging.WARNING):
        make(PASSWORD, refused).refused("28P01", 'password authentication failed\nfor user "app"')
    assert caplog.messages == [
        "datastore orders refused the agent's credential of role app: "
        'password authentication failed for user "app" (SQLSTATE 28P01)'
    ]
    assert refused == ["x"]
