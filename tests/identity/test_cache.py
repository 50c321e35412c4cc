"""Who is asking, remembered: renewed in time, forgotten at exit, never handed to another process."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lockgate.config import Identity, Selector
from lockgate.identity.cache import RENEW_BEFORE, Identified, Identities
from lockgate.identity.keys import HostKey
from lockgate.identity.principals import Directory
from lockgate.identity.tokens import LIFETIME, TokenIssuer
from lockgate.identity.workload import IdentityError, ProcessGone, read_start
from lockgate.values.identity import Endpoint, Origin

SLEEP = shutil.which("sleep") or "/bin/sleep"


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer(clock: Clock) -> TokenIssuer:
    return TokenIssuer(HostKey(Ed25519PrivateKey.generate()), "host-1", clock=clock)


def directory(name: str = "tester") -> Directory:
    return Directory([Identity(principal=name, when=Selector(cgroup="/"))])


@pytest.fixture
def identities(issuer: TokenIssuer) -> Iterator[Identities]:
    made = Identities(directory(), issuer)
    yield made
    made.close()


def origin_of(pid: int) -> Origin:
    return Origin(pid, read_start(pid), 1, 0, 0, 1, 1, 1, "x", Endpoint("127.0.0.1", 5432))


@contextmanager
def sleeping(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command or [SLEEP, "60"], stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_process_is_identified_once(identities: Identities, issuer: TokenIssuer) -> None:
    origin = origin_of(os.getpid())
    found = identities.identify(origin)
    assert found.principal.name == found.claims.principal == "tester"
    assert found.workload.pid == os.getpid()
    assert issuer.verify(found.token_text) == found.claims
    assert identities.identify(origin) is found
    assert identities.identify(replace(origin, destination=Endpoint("127.0.0.2", 1))) is found
    assert identities.fresh(found) is found


def test_the_token_does_not_show_in_its_repr(identities: Identities) -> None:
    found = identities.identify(origin_of(os.getpid()))
    assert found.token_text not in repr(found)


@pytest.mark.parametrize("change", [{"exec_id": 2}, {"uid": 12345}, {"cgroup_id": 2}])
def test_another_image_uid_or_place_of_one_process_is_looked_at_again(
    identities: Identities, change: dict[str, int]
) -> None:
    """A daemon that connects as root and then drops to a user is not root any more."""
    origin = origin_of(os.getpid())
    first = identities.identify(origin)
    second = identities.identify(replace(origin, **change))  # type: ignore[arg-type]
    assert first.claims.token != second.claims.token
    assert second.workload.uid == change.get("uid", 0)
    assert len(identities) == 2


def test_a_reused_pid_is_another_process(identities: Identities) -> None:
    origin = origin_of(os.getpid())
    identities.identify(origin)
    with pytest.raises(ProcessGone):
        identities.identify(replace(origin, start_ns=origin.start_ns - 20_000_000))
    assert len(identities) == 1


def test_a_token_is_renewed_before_it_ends(identities: Identities, issuer: TokenIssuer, clock: Clock) -> None:
    origin = origin_of(os.getpid())
    first = identities.identify(origin)
    clock.now += LIFETIME - RENEW_BEFORE - 0.1
    assert identities.fresh(first) is first
    clock.now += 0.1
    second = identities.fresh(first)
    assert second.claims.token != first.claims.token
    assert second.claims.expires_at == clock.now + LIFETIME
    assert issuer.verify(second.token_text) == second.claims
    assert identities.fresh(first) is second  # another connection of the same process: no second signature
    assert identities.identify(origin) is second
    clock.now += LIFETIME
    assert identities.identify(origin).claims.expires_at == clock.now + LIFETIME
    assert len(identities) == 1


def test_a_clock_set_back_does_not_lengthen_a_tokens_life(
    identities: Identities, issuer: TokenIssuer, clock: Clock
) -> None:
    first = identities.identify(origin_of(os.getpid()))
    clock.now -= 3600
    second = identities.fresh(first)
    assert second.claims.expires_at == clock.now + LIFETIME
    assert issuer.verify(second.token_text) == second.claims


def test_nobody_is_renewed_after_the_end(identities: Identities, clock: Clock) -> None:
    with sleeping() as process:
        found = identities.identify(origin_of(process.pid))
    assert identities.fresh(found) is found
    clock.now += LIFETIME
    with pytest.raises(ProcessGone):
        identities.fresh(found)
    assert len(identities) == 0
    with pytest.raises(ProcessGone):
        identities.identify(found.origin)


def test_a_process_that_became_another_program_is_not_who_connected(identities: Identities, clock: Clock) -> None:
    """Connect as one program, exec another that policy trusts, and wait for the renewal."""
    with sleeping("/bin/sh", "-c", f"read go; exec {SLEEP} 60") as process:
        found = identities.identify(origin_of(process.pid))
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        while Path(os.readlink(f"/proc/{process.pid}/exe")).name == Path(found.workload.exe).name:
            time.sleep(0.001)
        clock.now += LIFETIME
        with pytest.raises(ProcessGone, match="another program"):
            identities.fresh(found)
        assert len(identities) == 0


def test_new_entries_hold_for_open_connections_too(identities: Identities) -> None:
    found = identities.identify(origin_of(os.getpid()))
    identities.replace(directory("renamed"))
    assert len(identities) == 0
    again = identities.fresh(found)
    assert again.claims.principal == "renamed"
    assert identities.fresh(again) is again
    assert identities.fresh(found) is again
    assert identities.identify(found.origin) is again


def test_an_exit_is_noticed(identities: Identities) -> None:
    async def scenario() -> None:
        identities.watch(asyncio.get_running_loop())
        with sleeping() as process:
            identities.identify(origin_of(process.pid))
            identities.identify(origin_of(os.getpid()))
            assert len(identities) == 2
        for _ in range(1000):
            if len(identities) == 1:
                break
            await asyncio.sleep(0.001)
        assert len(identities) == 1
        identities.close()

    before = open_descriptors()
    asyncio.run(scenario())
    assert open_descriptors() == before


def test_the_number_remembered_is_bounded_and_so_are_descriptors(issuer: TokenIssuer) -> None:
    async def scenario() -> None:
        identities = Identities(directory(), issuer, limit=3)
        before = open_descriptors()
        identities.watch(asyncio.get_running_loop())
        origin = origin_of(os.getpid())
        found = [identities.identify(replace(origin, exec_id=n)) for n in range(3)]
        assert identities.identify(found[0].origin) is found[0]  # used again: 1 is now the oldest
        identities.identify(replace(origin, exec_id=3))
        assert len(identities) == 3
        assert open_descriptors() == before + 3
        assert identities.identify(found[0].origin) is found[0]
        assert identities.identify(found[1].origin) is not found[1]
        identities.forget(os.getpid())
        assert len(identities) == 0
        assert open_descriptors() == before
        identities.close()

    asyncio.run(scenario())


def test_what_cannot_be_identified_leaves_nothing_behind(issuer: TokenIssuer) -> None:
    async def scenario() -> None:
        identities = Identities(directory(), issuer)
        identities.watch(asyncio.get_running_loop())
        with sleeping() as process:
            gone = origin_of(process.pid)
        before = open_descriptors()
        origin = origin_of(os.getpid())
        for wrong in (gone, replace(origin, start_ns=1)):
            with pytest.raises(ProcessGone):
                identities.identify(wrong)
        assert len(identities) == 0
        assert open_descriptors() == before
        identities.close()

    asyncio.run(scenario())


def test_a_token_that_would_be_too_long_is_no_token(issuer: TokenIssuer) -> None:
    groups = [f"{n:0128}" for n in range(200)]
    wide = Directory([Identity(principal="x", groups=groups, when=Selector(cgroup="/"))])
    with pytest.raises(IdentityError, match="characters"):
        Identities(wide, issuer).identify(origin_of(os.getpid()))


def test_the_check_of_every_statement_is_cheap(identities: Identities) -> None:
    found = identities.identify(origin_of(os.getpid()))
    best = min(timed(identities, found) for _ in range(5))
    assert best < 5e-6


def timed(identities: Identities, found: Identified) -> float:
    start = time.perf_counter()
    for _ in range(1000):
        identities.fresh(found)
    return (time.perf_counter() - start) / 1000


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
