from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adversity.attacks.world import OLDER, attacked
from tests.support.attacks import Attacker
from tests.support.postgres import Postgres
from tests.support.redis import Redis
from tests.support.redis_attacks import RedisAttacker
from tests.support.redis_stack import POLICIES, RedisStack
from tests.support.stack import Stack


@pytest.fixture(scope="package")
def ann() -> Iterator[Attacker]:
    """ann, before everything that is to be attacked."""
    with attacked(Postgres(), OLDER) as attacker:
        yield attacker


@pytest.fixture(scope="package")
def stack(ann: Attacker) -> Stack:
    return ann.stack


@pytest.fixture(scope="package")
def bob(ann: Attacker) -> Iterator[Attacker]:
    """bob, who may not use what he doesn't see, and for whom detectors look through the rest."""
    attacker = Attacker(ann.stack, ann.upstream, "bob")
    yield attacker
    attacker.close()


SERVER = {"enable-debug-command": "yes", "enable-module-command": "yes", "notify-keyspace-events": "KEA",
          "enable-protected-configs": "yes"}  # fmt: skip
USERS = {"other": "on nopass ~* &* +@all"}
"""As open as a server can be: what is refused is refused by the agent."""


PATIENT = """
@id("two-for-deeds")
@approvers("dba")
@timeout("30s")
forbid (principal, action == Action::"execute_alone", resource in Keys::"cache/deed:*")
when { context.effects.contains("write") };
"""


@pytest.fixture(scope="package")
def redis() -> Iterator[RedisAttacker]:
    """Who attacks a cache; for what becomes of a `ledger:*` nobody waits for long."""
    policies = POLICIES.replace('"30s"', '"1s"') + PATIENT
    with RedisStack(redis=Redis(SERVER, users=USERS), policies=policies) as stack:
        attacker = RedisAttacker(stack)
        yield attacker
        attacker.close()
