"""The decision on commands: by pattern, each thing that they touch, and no way around it."""

from __future__ import annotations

from itertools import chain, combinations, product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockgate.policy import decide as room
from lockgate.policy.decide import Engine
from lockgate.values.command import Call
from lockgate.values.glob import compile_glob
from lockgate.values.identity import Asker
from lockgate.values.statement import Effect, Place, Request, Statement, Touch
from lockgate.values.verdict import Decision
from tests.policy.given import who
from tests.policy.redis import (
    ADMIN,
    EXECUTE,
    RW,
    SESSION,
    TRANSACTION,
    UNKNOWN,
    R,
    W,
    bundle,
    call,
    channel,
    decide,
    engine,
    request,
)

ANN = who("ann", "engineers")
WHOLE = f'@id("whole") permit (principal, {EXECUTE}, resource in Datastore::"cache");\n'
SESSIONS = f'@id("sessions") permit (principal, {EXECUTE}, resource in Keys::"cache/session:*");\n'
NO_SECRETS = '@id("no-secrets") forbid (principal, action == Action::"execute", resource in Keys::"cache/secret:*");\n'
HOLD = (
    '@id("two") @approvers("dba") '
    'forbid (principal, action == Action::"execute_alone", resource in Keys::"cache/secret:*");\n'
)
GET = call("GET", ("session:42", R))
SET = call("SET", ("session:42", W))
GET_SECRET = call("GET", ("secret:1", R))
FLUSHALL = call("FLUSHALL", anywhere=W)
PING = call("PING")


# --- one pattern


def test_a_key_of_a_permitted_pattern_may_be_used(tmp_path: Path) -> None:
    verdict = decide(engine(tmp_path, SESSIONS), ANN, GET)
    assert (verdict.decision, verdict.policy) == (Decision.ALLOW, "sessions")
    assert verdict.reason == "a policy permits ann to read keys session:* of cache (GET)"


def test_a_key_of_none_is_denied_and_no_key_is_told(tmp_path: Path) -> None:
    verdict = decide(engine(tmp_path, SESSIONS), ANN, call("SET", ("cart:7", W)))
    assert (verdict.decision, verdict.policy) == (Decision.DENY, "default-deny")
    assert verdict.reason == "no policy permits ann to write keys of cache (SET)"


def test_a_pattern_is_of_one_datastore(tmp_path: Path) -> None:
    assert decide(engine(tmp_path, SESSIONS), ANN, GET, datastore="cache.eu").policy == "default-deny"


def test_a_forbid_names_the_pattern(tmp_path: Path) -> None:
    judge = engine(tmp_path, WHOLE + NO_SECRETS)
    verdict = decide(judge, ANN, call("SET", ("secret:1", W)))
    assert (verdict.policy, verdict.reason) == (
        "no-secrets",
        "a policy forbids ann to write keys secret:* of cache (SET)",
    )
    assert decide(judge, ANN, GET).policy == "whole"


def test_a_forbid_wins_over_a_permit_of_another_pattern_that_matches_too(tmp_path: Path) -> None:
    text = (
        f'permit (principal, {EXECUTE}, resource in Keys::"cache/user:*");'
        '@id("no") forbid (principal, action == Action::"execute", resource in Keys::"cache/*:token");'
    )
    judge = engine(tmp_path, text)
    assert decide(judge, ANN, call("GET", ("user:7:name", R))).decision is Decision.ALLOW
    verdict = decide(judge, ANN, call("GET", ("user:7:token", R)))
    assert (verdict.policy, verdict.reason) == ("no", "a policy forbids ann to read keys *:token of cache (GET)")


def test_a_principal_of_whom_no_policy_speaks_may_nothing(tmp_path: Path) -> None:
    text = SESSIONS.replace("principal,", 'principal in Group::"engineers",')
    for one in (GET, PING, FLUSHALL, call("PSUBSCRIBE", channels=(channel("*", R, pattern=True),))):
        assert decide(engine(tmp_path, text), who("mal"), one).policy == "default-deny"


# --- a command of several keys


@pytest.mark.parametrize("order", [1, -1])
def test_one_key_outside_is_enough_to_deny(tmp_path: Path, order: int) -> None:
    keys = (("session:1", R), ("session:2", R), ("cart:1", R))[::order]
    assert decide(engine(tmp_path, SESSIONS), ANN, call("MGET", *keys)).policy == "default-deny"


def test_one_command_of_a_transaction_is_enough_to_deny(tmp_path: Path) -> None:
    text = SESSIONS + f'permit (principal, {EXECUTE}, resource is Datastore in Datastore::"cache");'
    judge = engine(tmp_path, text)
    assert decide(judge, ANN, GET, SET, PING).decision is Decision.ALLOW
    assert decide(judge, ANN, GET, GET_SECRET, PING).decision is Decision.DENY
    assert decide(judge, ANN, GET, FLUSHALL).decision is Decision.DENY


def test_each_key_is_judged_on_what_is_done_to_it(tmp_path: Path) -> None:
    text = """permit (principal, action, resource in Keys::"cache/in:*")
        when { context.effects == ["read"] };
        permit (principal, action, resource in Keys::"cache/out:*") when { context.effects == ["write"] };"""
    judge = engine(tmp_path, text)
    assert decide(judge, ANN, call("SUNIONSTORE", ("out:1", W), ("in:1", R), ("in:2", R))).decision is Decision.ALLOW
    verdict = decide(judge, ANN, call("SUNIONSTORE", ("in:1", W), ("out:1", R)))
    assert verdict.reason == "no policy permits ann to write keys in:* of cache (SUNIONSTORE)"
    assert decide(judge, ANN, call("SMOVE", ("in:1", RW), ("out:1", W))).decision is Decision.DENY


def test_what_a_command_does_beside_its_keys_is_asked_of_each_of_them(tmp_path: Path) -> None:
    """Else a permit to read keys were one to administer, or to run a script that nobody could tell."""
    judge = engine(tmp_path, SESSIONS.replace(";\n", ' when { ["read", "write"].containsAll(context.effects) };\n'))
    assert decide(judge, ANN, GET).decision is Decision.ALLOW
    for beside in (ADMIN, UNKNOWN):
        assert decide(judge, ANN, GET, beside=beside).policy == "default-deny"
    only_read = engine(tmp_path, SESSIONS.replace(";\n", ' when { context.effects == ["read"] };\n'))
    assert decide(only_read, ANN, GET).decision is Decision.ALLOW
    assert decide(only_read, ANN, GET, beside=W).policy == "default-deny"  # it writes, and no key is said to take it


def test_a_key_nothing_is_done_to_is_not_harmless(tmp_path: Path) -> None:
    judge = engine(tmp_path, SESSIONS.replace(";\n", ' unless { context.effects.contains("unknown") };\n'))
    assert decide(judge, ANN, call("HELLO", ("session:1", frozenset()))).policy == "default-deny"
    watch = call("WATCH", ("session:1", frozenset()))
    assert decide(judge, ANN, watch, beside=TRANSACTION).reason == (
        "a policy permits ann to touch keys session:* of cache and control transactions (WATCH)"
    )


def test_many_keys_of_the_same_patterns_are_one_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "DISTINCT_STATEMENTS", 2)
    judge = engine(tmp_path, SESSIONS + WHOLE + NO_SECRETS)
    keys = [(f"session:{n}", R) for n in range(50_000)]
    assert decide(judge, ANN, call("MGET", *keys, ("cart:1", R))).decision is Decision.ALLOW
    assert decide(judge, ANN, call("MGET", *keys, ("cart:1", R), ("secret:1", R))).policy == "lockgate:bound"


def test_what_a_message_touches_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "NAMES", 2)
    judge = engine(tmp_path, WHOLE + NO_SECRETS)
    many = [call("GET", ("session:1", R)), call("TYPE", ("session:1", R)), call("TTL", ("session:1", R))]
    assert decide(judge, ANN, *many[:2], *many[:2], *many[:2]).decision is Decision.ALLOW, "equal ones count once"
    assert decide(judge, ANN, *many).policy == "lockgate:bound"


# --- commands without keys


def test_a_permit_on_keys_is_none_for_commands_without(tmp_path: Path) -> None:
    verdict = decide(engine(tmp_path, SESSIONS), ANN, PING, beside=SESSION)
    assert verdict.reason == "no policy permits ann to change the session in cache (PING)"


@pytest.mark.parametrize(
    ("resource", "allowed"), [('== Datastore::"cache"', PING), ('is Datastore in Datastore::"cache"', PING)]
)
def test_commands_without_keys_are_permitted_alone(tmp_path: Path, resource: str, allowed: Call) -> None:
    judge = engine(tmp_path, SESSIONS + f"permit (principal, {EXECUTE}, resource {resource});")
    assert decide(judge, ANN, allowed).decision is Decision.ALLOW
    for one in (GET_SECRET, FLUSHALL, call("PUBLISH", channels=(channel("news", W),))):
        assert decide(judge, ANN, one).policy == "default-deny"


# --- what could touch anything


def test_anything_needs_a_permit_of_the_datastore_as_a_whole(tmp_path: Path) -> None:
    every = f'permit (principal, {EXECUTE}, resource in Keys::"cache/*");'
    for text in (SESSIONS, every, SESSIONS + every):
        verdict = decide(engine(tmp_path, text), ANN, FLUSHALL)
        assert verdict.reason == "no policy permits ann to write any keys of cache (FLUSHALL)"
    assert decide(engine(tmp_path, WHOLE), ANN, FLUSHALL).policy == "whole"
    assert decide(engine(tmp_path, WHOLE + SESSIONS), ANN, FLUSHALL).decision is Decision.ALLOW


def test_anything_is_stopped_by_a_forbid_on_any_pattern(tmp_path: Path) -> None:
    verdict = decide(engine(tmp_path, WHOLE + SESSIONS + NO_SECRETS), ANN, FLUSHALL)
    assert (verdict.policy, verdict.reason) == (
        "no-secrets",
        "a policy forbids ann to write keys secret:* of cache (FLUSHALL)",
    )


@pytest.mark.parametrize(
    "forbidden",
    [
        'resource) when { resource in Keys::"cache/a:*" && !(resource in Keys::"cache/a:open:*") }',
        'resource in Keys::"cache/a:*") unless { resource in Keys::"cache/a:open:*" }',
        'resource) when { resource in [Keys::"cache/a:*", Keys::"cache/b:*"] }',
        'resource) when { resource in Keys::"cache/a:*" && resource in Keys::"cache/*:b" }',
        'resource in Datastore::"cache") unless { resource in [Keys::"cache/a:*", Keys::"cache/b:*"] }',
        'resource) when { if resource in Keys::"cache/a:*" then !(resource in Keys::"cache/b:*") else false }',
        'resource) when { (resource in Keys::"cache/a:*") != (resource in Keys::"cache/*:b") }',
        'resource) when { resource is Key in Keys::"cache/a:*" }',
        "resource is Key)",
        "resource) unless { resource is Datastore || resource is Channel }",
    ],
)
def test_anything_is_stopped_by_whatever_forbids_some_key(tmp_path: Path, forbidden: str) -> None:
    text = WHOLE + SESSIONS + f'@id("no") forbid (principal, action == Action::"execute", {forbidden};'
    assert decide(engine(tmp_path, text), ANN, FLUSHALL).policy == "no"
    assert decide(engine(tmp_path, text), ANN, PING).policy in ("whole", "no")


@pytest.mark.parametrize(
    "permits",
    [
        ['resource in Datastore::"cache") unless { resource in Keys::"cache/secret:*" }'],
        ['resource) when { !(resource in [Keys::"cache/a", Keys::"cache/b"]) }'],
        ['resource) unless { resource in Keys::"cache/a" }', 'resource) unless { resource in Keys::"cache/b" }'],
        ['resource) when { if resource in Keys::"cache/a" then resource in Keys::"cache/b" else true }'],
        ['resource in Keys::"cache/*")', 'resource is Datastore in Datastore::"cache")'],
    ],
)
def test_what_permits_all_but_some_keys_does_not_permit_anything(tmp_path: Path, permits: list[str]) -> None:
    text = "".join(f"permit (principal, {EXECUTE}, {permit};\n" for permit in permits)
    assert decide(engine(tmp_path, text), ANN, FLUSHALL).policy == "default-deny"


def test_a_permit_of_everything_holds_beside_those_of_some(tmp_path: Path) -> None:
    part = f'permit (principal, {EXECUTE}, resource) unless {{ resource in Keys::"cache/secret:*" }};'
    assert decide(engine(tmp_path, part + WHOLE), ANN, FLUSHALL).decision is Decision.ALLOW
    either = f'permit (principal, {EXECUTE}, resource) when {{ if resource in Keys::"cache/a" then true else true }};'
    assert decide(engine(tmp_path, either), ANN, FLUSHALL).decision is Decision.ALLOW


def test_a_script_that_may_touch_anything_is_not_let_through_by_its_declared_keys(tmp_path: Path) -> None:
    script = call("EVAL", ("session:1", RW), anywhere=RW)
    assert decide(engine(tmp_path, SESSIONS), ANN, script, beside=UNKNOWN).policy == "default-deny"
    judge = engine(tmp_path, WHOLE + NO_SECRETS)
    assert decide(judge, ANN, script, beside=UNKNOWN).policy == "no-secrets"
    reviewed = call("EVALSHA", ("session:1", RW))
    assert decide(judge, ANN, reviewed).decision is Decision.ALLOW
    assert decide(engine(tmp_path, SESSIONS), ANN, reviewed).decision is Decision.ALLOW


def test_a_whole_permit_by_effect_is_asked_for_what_is_done_anywhere(tmp_path: Path) -> None:
    judge = engine(tmp_path, WHOLE.replace(";\n", ' when { context.effects == ["read"] };\n') + SESSIONS)
    assert decide(judge, ANN, call("SCAN", anywhere=R)).decision is Decision.ALLOW
    assert decide(judge, ANN, FLUSHALL).decision is Decision.DENY
    assert decide(judge, ANN, call("SORT", ("session:1", R), ("session:2", W), anywhere=R)).decision is Decision.ALLOW


# --- holds


def test_a_forbid_with_approvers_on_keys_holds(tmp_path: Path) -> None:
    judge = engine(tmp_path, WHOLE + HOLD)
    verdict = decide(judge, ANN, GET_SECRET)
    assert (verdict.decision, verdict.policy, verdict.approvers) == (Decision.HOLD, "two", ("dba",))
    assert verdict.reason.startswith("to read keys secret:* of cache takes a second person: waiting up to 15 minutes")
    assert decide(judge, ANN, GET).decision is Decision.ALLOW
    assert decide(judge, ANN, GET, GET_SECRET).decision is Decision.HOLD


def test_anything_is_held_by_a_hold_on_any_pattern(tmp_path: Path) -> None:
    assert decide(engine(tmp_path, WHOLE + HOLD), ANN, FLUSHALL).decision is Decision.HOLD
    assert decide(engine(tmp_path, WHOLE + HOLD + NO_SECRETS), ANN, FLUSHALL).decision is Decision.DENY


def test_a_hold_does_not_let_pass_what_nothing_permits(tmp_path: Path) -> None:
    execute = 'permit (principal, action == Action::"execute", resource in Datastore::"cache");\n'
    some = 'permit (principal, action == Action::"execute_alone", resource in Keys::"cache/secret:*");\n'
    assert decide(engine(tmp_path, execute + HOLD), ANN, GET_SECRET).policy == "default-deny"
    judge = engine(tmp_path, execute + some + HOLD)
    assert decide(judge, ANN, GET_SECRET).decision is Decision.HOLD
    assert decide(judge, ANN, FLUSHALL).policy == "default-deny"
    every = 'permit (principal, action == Action::"execute_alone", resource in Keys::"cache/*");\n'
    verdict = decide(engine(tmp_path, execute + every + HOLD), ANN, FLUSHALL)
    assert verdict.reason == "no policy permits ann to write any keys of cache (FLUSHALL) alone"


def test_a_held_command_is_approved_like_any_other(tmp_path: Path) -> None:
    approve = 'permit (principal in Group::"dba", action == Action::"approve", resource) when '
    judge = engine(tmp_path, WHOLE + HOLD + approve + '{ context.effects == ["read"] && context.kinds == ["GET"] };')
    asked = judge.resolved("cache", request(GET_SECRET))
    verdict = judge.decide(Asker(ANN, "cache", "0", "default"), asked, ())
    bea = who("bea", "dba")
    assert judge.may_approve(bea, ANN, verdict, "cache", asked).granted
    assert not judge.may_approve(who("ann", "dba"), ANN, verdict, "cache", asked).granted


# --- channels


def test_channels_are_another_place_than_keys(tmp_path: Path) -> None:
    text = f'permit (principal, {EXECUTE}, resource in Channels::"cache/news:*");'
    judge = engine(tmp_path, text)
    assert decide(judge, ANN, call("PUBLISH", channels=(channel("news:eu", W),))).reason == (
        "a policy permits ann to publish to channels news:* of cache (PUBLISH)"
    )
    assert decide(judge, ANN, call("GET", ("news:eu", R))).policy == "default-deny"
    verdict = decide(judge, ANN, call("SUBSCRIBE", channels=(channel("news:eu", R), channel("ops", R))))
    assert verdict.reason == "no policy permits ann to listen to channels of cache (SUBSCRIBE)"


def test_a_pattern_that_is_listened_to_is_all_it_may_match(tmp_path: Path) -> None:
    def listens(judge: Engine, pattern: str) -> str:
        return decide(judge, ANN, call("PSUBSCRIBE", channels=(channel(pattern, R, pattern=True),))).policy

    news = f'@id("news") permit (principal, {EXECUTE}, resource in Channels::"cache/news:*");'
    ops = '@id("no-ops") forbid (principal, action == Action::"execute", resource in Channels::"cache/*:ops");'
    judge = engine(tmp_path, news)
    assert [listens(judge, pattern) for pattern in ("news:*", "news:eu:*", "new*", "*")] == [
        "news",
        "news",
        "default-deny",
        "default-deny",
    ]
    forbidding = engine(tmp_path, news + ops + WHOLE)
    assert [listens(forbidding, pattern) for pattern in ("news:*", "*", "*:ops", "x:ops")] == ["no-ops"] * 4
    assert listens(forbidding, "news:dev") == "news"


@pytest.mark.parametrize("place", ["Keys", "Channels"])
def test_keys_and_channels_of_one_command_are_not_mistaken_for_each_other(tmp_path: Path, place: str) -> None:
    text = "permit (principal, action, resource);\n"
    forbid = f'@id("no") forbid (principal, action == Action::"execute", resource in {place}::"cache/a:*");'
    both = call("EVAL", ("a:1", RW), channels=(channel("a:1", W),))
    anything = call("EVAL", anywhere=RW, channels=(channel("*", W, pattern=True),))
    for one in (both, anything):
        assert decide(engine(tmp_path, text), ANN, one).decision is Decision.ALLOW
        assert decide(engine(tmp_path, text + forbid), ANN, one).policy == "no"
    of_datastore = decide(engine(tmp_path, WHOLE), ANN, anything)
    assert (of_datastore.decision, of_datastore.policy) == (Decision.ALLOW, "whole")


# --- what was decided is remembered


def test_a_verdict_belongs_to_what_was_touched(tmp_path: Path) -> None:
    """Two commands of one shape and two patterns: the shape alone must not tell."""
    judge = engine(tmp_path, WHOLE + NO_SECRETS)
    for _ in range(3):
        assert decide(judge, ANN, GET).decision is Decision.ALLOW
        assert decide(judge, ANN, GET_SECRET).decision is Decision.DENY
    read = Statement("GET", R)
    asker = Asker(ANN, "cache", "0", "default")
    for patterns, decision in (((), Decision.ALLOW), (("secret:*",), Decision.DENY)) * 2:
        touched = Statement("GET", R, touches=(Touch(Place.KEY, patterns, R),))
        assert judge.decide(asker, Request("redis", "GET k", "GET", (touched,)), ()).decision is decision
    assert judge.decide(asker, Request("redis", "GET k", "GET", (read,)), ()).decision is Decision.ALLOW


def test_a_command_whose_keys_were_not_looked_up_is_denied(tmp_path: Path) -> None:
    judge = engine(tmp_path, WHOLE)
    asker = Asker(ANN, "cache", "0", "default")
    for one in (GET, FLUSHALL, call("PUBLISH", channels=(channel("news", W),))):
        assert judge.decide(asker, request(one), ()).policy == "lockgate:unresolved"
        assert judge.decide(asker, request(PING, one), ()).policy == "lockgate:unresolved"
    assert judge.decide(asker, request(PING), ()).decision is Decision.ALLOW


def test_a_policy_that_can_not_be_evaluated_denies(tmp_path: Path) -> None:
    broken = 'forbid (principal, action, resource in Keys::"cache/secret:*") when { 9223372036854775807 + 1 > 0 };'
    judge = engine(tmp_path, WHOLE + broken)
    assert decide(judge, ANN, GET).decision is Decision.ALLOW
    for one in (GET_SECRET, FLUSHALL):
        assert decide(judge, ANN, one).policy == "lockgate:evaluation-error"


# --- whatever the policies are

PATTERNS = ("a", "b", "c")
TERMS = st.recursive(
    st.sampled_from([f'resource in Keys::"cache/{name}"' for name in PATTERNS])
    | st.sampled_from(['resource in [Keys::"cache/a", Keys::"cache/b"]', 'resource is Key in Keys::"cache/c"']),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||", "=="]), inner).map(lambda t: f"(({t[0]}) {t[1]} ({t[2]}))"),
        inner.map(lambda term: f"!({term})"),
        st.tuples(inner, inner, inner).map(lambda t: f"(if {t[0]} then {t[1]} else {t[2]})"),
    ),
    max_leaves=4,
)
POLICIES = st.lists(
    st.tuples(
        st.sampled_from(
            ['permit (principal, action == Action::"execute", resource)', "permit (principal, action, resource)"]
        )
        | st.sampled_from(
            [
                'forbid (principal, action == Action::"execute", resource)',
                '@approvers("dba") forbid (principal, action == Action::"execute_alone", resource)',
            ]
        ),
        st.sampled_from(["when", "unless"]),
        TERMS,
    ).map(lambda t: f"{t[0]} {t[1]} {{ {t[2]} }};"),
    max_size=4,
)
RANK = {Decision.ALLOW: 0, Decision.HOLD: 1, Decision.DENY: 2}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policies=POLICIES, whole=st.booleans())
def test_what_may_touch_anything_is_never_let_through_where_some_key_is_not(
    tmp_path: Path, policies: list[str], whole: bool
) -> None:
    """Held against all 2^n ways in which a key can match, which is what "anything" is."""
    always = (
        "permit (principal, action, resource);"
        if whole
        else 'permit (principal, action == Action::"approve", resource);'
    )
    judge = Engine(bundle(tmp_path, "\n".join([always, *policies])))
    asker = Asker(ANN, "cache", "0", "default")

    def decided(patterns: tuple[str, ...] | None) -> int:
        touched = Statement("GET", R, touches=(Touch(Place.KEY, patterns, R),))
        return RANK[judge.decide(asker, Request("redis", "", repr(patterns), (touched,)), ()).decision]

    every = chain.from_iterable(combinations(PATTERNS, size) for size in range(4))
    assert decided(None) >= max(decided(patterns) for patterns in every)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policies=POLICIES, further=POLICIES, whole=st.booleans())
def test_one_forbid_more_lets_nothing_more_through(
    tmp_path: Path, policies: list[str], further: list[str], whole: bool
) -> None:
    always = "permit (principal, action, resource);" if whole else SESSIONS
    forbids = [policy for policy in further if "forbid" in policy]
    asker = Asker(ANN, "cache", "0", "default")
    before, after = (Engine(bundle(tmp_path, "\n".join([always, *text]))) for text in (policies, [*policies, *forbids]))
    for patterns in (None, (), ("a",), ("a", "b"), ("a", "b", "c")):
        touched = Statement("GET", R, touches=(Touch(Place.KEY, patterns, R),))
        asked = Request("redis", "", repr(patterns), (touched,))
        old, new = (RANK[judge.decide(asker, asked, ()).decision] for judge in (before, after))
        assert new >= old


GLOBS = st.lists(st.sampled_from(["a", "b", "*", "?", "[ab]"]), min_size=1, max_size=4).map("".join)
NAMES = ["".join(name) for size in range(1, 4) for name in product("ab", repeat=size)]
ON_GLOBS = st.lists(st.tuples(st.sampled_from(["permit", "forbid"]), GLOBS), min_size=1, max_size=4)


def on_globs(kind: str, policies: list[tuple[str, str]]) -> str:
    return "\n".join(
        f'{effect} (principal, {EXECUTE if effect == "permit" else "action"}, resource in {kind}::"cache/{glob}");'
        for effect, glob in policies
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policies=ON_GLOBS, keys=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4))
def test_several_keys_may_what_each_of_them_may(
    tmp_path: Path, policies: list[tuple[str, str]], keys: list[str]
) -> None:
    judge = engine(tmp_path, on_globs("Keys", policies))
    one_by_one = [decide(judge, ANN, call("GET", (key, R))).decision for key in keys]
    together = decide(judge, ANN, call("MGET", *((key, R) for key in keys))).decision
    transaction = decide(judge, ANN, *(call("GET", (key, R)) for key in keys)).decision
    assert RANK[together] == RANK[transaction] == max(map(RANK.__getitem__, one_by_one))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policies=ON_GLOBS, pattern=GLOBS, whole=st.booleans())
def test_a_pattern_hears_no_channel_that_may_not_be_heard(
    tmp_path: Path, policies: list[tuple[str, str]], pattern: str, whole: bool
) -> None:
    judge = engine(tmp_path, on_globs("Channels", policies) + "\n" + WHOLE * whole)
    listened = decide(judge, ANN, call("PSUBSCRIBE", channels=(channel(pattern, R, pattern=True),)))
    for name in NAMES:
        if compile_glob(pattern.encode()).fullmatch(name.encode()):
            heard = decide(judge, ANN, call("SUBSCRIBE", channels=(channel(name, R),)))
            assert RANK[listened.decision] >= RANK[heard.decision]


def test_effects_have_the_words_that_policies_use() -> None:
    assert {effect.value for effect in (*RW, *ADMIN, *UNKNOWN, *SESSION, *TRANSACTION)} == set(Effect) - {Effect.DDL}
