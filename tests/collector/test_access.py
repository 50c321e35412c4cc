"""Whose word counts where (test_api asks the same over HTTP)."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.collector.access import Access, Forbidden, UnknownHost
from lockgate.collector.store import PinnedKey
from lockgate.identity.tokens import InvalidToken
from tests.collector.chains import Host, hold

NAMED, FIRST_USE = Host("named"), Host("first-use")
T = TypeVar("T")


async def pinned(host: str) -> PinnedKey | None:
    found = {h.name: h for h in (NAMED, FIRST_USE)}.get(host)
    return PinnedKey(found.key.kid, found.key.jwks()) if found else None


ACCESS = Access(pinned, {"named": NAMED.key.kid, "replaced": "another"}, ["security"], time.time)


def of(work: Awaitable[T]) -> T:
    async def run() -> T:
        return await work

    return asyncio.run(run())


def bearer(text: str) -> str:
    return f"Bearer {text}"


def test_people_of_a_named_host_see_all_others_their_own() -> None:
    assert of(ACCESS.holds(bearer(NAMED.person("bob", "dba")))) is None
    assert of(ACCESS.holds(bearer(FIRST_USE.person("bob", "dba")))) == "first-use"
    assert of(ACCESS.holds(bearer(NAMED.person("root", person=None, operator=True)))) == "named"
    for nobody in (NAMED.agent(), NAMED.person("billing", person=None)):
        with pytest.raises(Forbidden):
            of(ACCESS.holds(bearer(nobody)))


def test_records_are_for_auditors_and_root_of_the_same_host() -> None:
    eve = bearer(NAMED.person("eve", "security"))
    assert of(ACCESS.records(eve, None)) is None
    assert of(ACCESS.records(eve, "first-use")) == "first-use"
    for own in (FIRST_USE.person("eve", "security"), FIRST_USE.person("root", operator=True)):
        assert of(ACCESS.records(bearer(own), None)) == "first-use"
        with pytest.raises(Forbidden, match="first-use only"):
            of(ACCESS.records(bearer(own), "named"))
    for nobody in (NAMED.person("ann", "engineers"), NAMED.agent()):
        with pytest.raises(Forbidden, match="security"):
            of(ACCESS.records(bearer(nobody), None))


def test_decisions_count_at_home_or_from_a_named_host() -> None:
    for host, where in ((FIRST_USE, "first-use"), (NAMED, "first-use"), (NAMED, "named")):
        claims, approval, text = of(ACCESS.approval(bearer(host.decision("bob", "dba", hold=hold()))))
        ACCESS.decides(claims, where)
        assert (claims.person, approval.hold, text.count(".")) == ("bob", "hold-0001", 2)
    claims, _, _ = of(ACCESS.approval(bearer(FIRST_USE.decision("bob", "dba", hold=hold()))))
    with pytest.raises(Forbidden):
        ACCESS.decides(claims, "named")


def test_a_pinned_key_that_is_not_the_configured_one_is_no_key() -> None:
    with pytest.raises(UnknownHost):
        of(ACCESS.key("replaced"))
    with pytest.raises(UnknownHost):
        of(ACCESS.bearer(bearer(Host("nobody").agent())))


def test_a_host_can_not_sign_in_the_name_of_another() -> None:
    thief = Host("named")
    thief.key, thief.issuer = FIRST_USE.key, type(FIRST_USE.issuer)(FIRST_USE.key, "named")
    with pytest.raises(InvalidToken):
        of(ACCESS.agent(bearer(thief.agent())))


@given(st.one_of(st.none(), st.text(max_size=80), st.text(max_size=80).map(lambda t: f"Bearer {t}")))
def test_garbage_is_no_token(header: str | None) -> None:
    with pytest.raises((InvalidToken, UnknownHost)):
        of(ACCESS.bearer(header))


def test_claims_nested_without_end_are_no_token() -> None:
    claims = base64.urlsafe_b64encode(b'{"iss":"named","more":' + b"[" * 9000).decode().rstrip("=")
    with pytest.raises(InvalidToken, match="can't be read"):
        of(ACCESS.bearer(bearer(f"a.{claims}.c")))
