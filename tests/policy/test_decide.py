from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockgate.policy import decide as room
from lockgate.policy.decide import Engine
from lockgate.values.identity import Asker
from lockgate.values.statement import Effect, Request, Statement
from lockgate.values.verdict import Decision, Mask
from tests.policy.given import (
    CITY,
    DELETE,
    EMAIL,
    FOUR_QUESTIONS,
    READ,
    SSN,
    bundle,
    decide,
    engine,
    request,
    statement,
    who,
)

ANN = who("ann", "engineers")
BEA = who("bea", "dba")
OPEN = "permit (principal, action, resource);\n"
OVERFLOW = "9223372036854775807 + 1 > 0"


# --- the four questions of the plan


def test_a_read_by_an_engineer_is_allowed(tmp_path: Path) -> None:
    verdict = decide(engine(tmp_path, epoch=7), ANN, READ)
    assert (verdict.decision, verdict.policy, verdict.epoch) == (Decision.ALLOW, "a.cedar:1", 7)
    assert verdict.masks == ()


def test_a_permit_with_a_reason_gives_it(tmp_path: Path) -> None:
    text = OPEN.replace("permit", '@id("break-glass") @reason("on call") permit')
    verdict = decide(engine(tmp_path, text), ANN, DELETE)
    assert (verdict.decision, verdict.policy, verdict.reason) == (Decision.ALLOW, "break-glass", "on call")


def test_who_is_in_no_group_is_denied_and_told_what_was_missing(tmp_path: Path) -> None:
    verdict = decide(engine(tmp_path), who("mal"), DELETE)
    assert (verdict.decision, verdict.policy) == (Decision.DENY, "default-deny")
    assert verdict.reason == "no policy permits mal to read and write in orders (DELETE customers)"


def test_another_datastore_is_another_resource(tmp_path: Path) -> None:
    assert decide(engine(tmp_path), ANN, READ, datastore="billing").policy == "default-deny"


def test_a_write_is_held_for_a_group_and_a_time(tmp_path: Path) -> None:
    verdict = decide(engine(tmp_path), ANN, DELETE, columns=(EMAIL,))
    assert (verdict.decision, verdict.policy) == (Decision.HOLD, "a.cedar:3")
    assert (verdict.approvers, verdict.timeout) == (("dba",), 900.0)
    assert verdict.reason == "to read and write takes a second person: waiting up to 15 minutes for someone in dba"
    assert [mask.column for mask in verdict.masks] == [EMAIL]


def test_classified_columns_are_masked_unless_the_principal_may_see_them(tmp_path: Path) -> None:
    judge = engine(tmp_path)
    verdict = decide(judge, ANN, READ, columns=(EMAIL, CITY, SSN, EMAIL))
    assert verdict.decision is Decision.ALLOW
    assert verdict.masks == (
        Mask(EMAIL, "partial", "a.cedar:5", ("pii", "email")),
        Mask(SSN, "partial", "a.cedar:5", ("pii",)),
    )
    assert decide(judge, who("rae", "engineers", "pii-readers"), READ, columns=(EMAIL, SSN)).masks == ()


# --- a message of several statements


def test_one_statement_that_may_not_run_stops_them_all(tmp_path: Path) -> None:
    judge = engine(
        tmp_path,
        OPEN
        + '@id("no-ddl") @reason("the schema changes in reviews") '
        + 'forbid (principal, action == Action::"execute", resource) when { context.effects.contains("ddl") };',
    )
    verdict = decide(judge, ANN, READ, READ, statement("DROP TABLE", "ddl"), READ)
    assert (verdict.decision, verdict.policy, verdict.reason) == (
        Decision.DENY,
        "no-ddl",
        "the schema changes in reviews",
    )


def test_a_write_behind_a_read_is_held(tmp_path: Path) -> None:
    assert decide(engine(tmp_path), ANN, READ, DELETE).decision is Decision.HOLD


def test_a_statement_that_cannot_be_judged_stops_them_all(tmp_path: Path) -> None:
    refused = Statement("?", frozenset((Effect.UNKNOWN,)), refusal="syntax error at or near \x1b]0;")
    verdict = decide(engine(tmp_path, OPEN), ANN, READ, refused)
    assert (verdict.decision, verdict.policy) == (Decision.DENY, "lockgate:refusal")
    assert verdict.reason == "syntax error at or near ?]0;"


def test_no_statement_is_nothing_to_judge(tmp_path: Path) -> None:
    verdict = decide(engine(tmp_path), who("mal"), columns=(EMAIL,))
    assert (verdict.decision, verdict.policy) == (Decision.ALLOW, "lockgate:nothing")


def test_statements_are_judged_one_by_one(tmp_path: Path) -> None:
    # merged into one context, the DELETE without WHERE would borrow the UPDATE's predicate and the SELECT's kind
    judge = engine(
        tmp_path,
        OPEN + '@id("bulk") forbid (principal, action == Action::"execute", resource) '
        'when { context.kinds == ["DELETE"] && !context.has_where };',
    )
    where = statement("DELETE", "write")
    bulk = statement("DELETE", "write", has_where=False)
    assert decide(judge, ANN, where, statement("UPDATE", "write", has_where=False)).decision is Decision.ALLOW
    assert decide(judge, ANN, where, READ, bulk).policy == "bulk"


def test_many_equal_statements_are_one_question_and_many_different_ones_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "DISTINCT_STATEMENTS", 3)
    judge = engine(tmp_path, OPEN)
    different = [statement("SELECT", "read", objects=(f"t{n}",)) for n in range(4)]
    assert decide(judge, ANN, *different[:3] * 500).decision is Decision.ALLOW
    assert decide(judge, ANN, *different).policy == "lockgate:bound"


def test_names_in_a_message_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "NAMES", 9)
    judge = engine(tmp_path, OPEN)
    assert decide(judge, ANN, statement("SELECT", "read", objects=tuple("abcdefghi"))).decision is Decision.ALLOW
    many = Statement("SELECT", READ.effects, tuple("abcd"), tuple("efgh"), tuple("ij"))
    assert decide(judge, ANN, many).policy == "lockgate:bound"


# --- forbids that disagree


def alone(name: str, annotations: str, when: str = "true") -> str:
    return (
        f'@id("{name}") {annotations} '
        f'forbid (principal, action == Action::"execute_alone", resource) when {{ {when} }};\n'
    )


def test_a_forbid_without_approvers_is_a_denial_whatever_others_say(tmp_path: Path) -> None:
    text = OPEN + alone("hold", '@approvers("dba")') + alone("never", '@reason("not at all")')
    verdict = decide(engine(tmp_path, text), ANN, DELETE)
    assert (verdict.decision, verdict.policy, verdict.reason) == (Decision.DENY, "never", "not at all")


def test_what_no_policy_permits_alone_is_denied_not_held(tmp_path: Path) -> None:
    verdict = decide(engine(tmp_path, 'permit (principal, action == Action::"execute", resource);'), ANN, READ)
    assert (verdict.decision, verdict.policy) == (Decision.DENY, "default-deny")
    assert verdict.reason.endswith("in orders (SELECT customers) alone")


def test_a_hold_lets_nothing_wait_that_no_policy_permits(tmp_path: Path) -> None:
    text = 'permit (principal, action == Action::"execute", resource);' + alone("hold", '@approvers("dba")')
    verdict = decide(engine(tmp_path, text), ANN, READ, DELETE)
    assert (verdict.decision, verdict.policy) == (Decision.DENY, "default-deny")


def test_several_holds_are_one_that_satisfies_all(tmp_path: Path) -> None:
    text = (
        OPEN
        + alone("a", '@approvers("dba,security,leads") @timeout("2h") @timeout_in_transaction("20s") @grant("8h")')
        + alone("b", '@approvers("leads,security") @timeout("5m") @grant("1h")')
    )
    verdict = decide(engine(tmp_path, text), ANN, DELETE)
    assert (verdict.decision, verdict.policy) == (Decision.HOLD, "a")
    assert (verdict.approvers, verdict.timeout) == (("security", "leads"), 300.0)
    assert (verdict.timeout_in_transaction, verdict.grant) == (20.0, 3600.0)
    without = alone("c", '@approvers("security")')
    assert decide(engine(tmp_path, text + without), ANN, DELETE).grant == 0


def test_holds_of_different_statements_have_to_agree_too(tmp_path: Path) -> None:
    text = (
        OPEN
        + alone("writes", '@approvers("dba")', 'context.effects.contains("write")')
        + alone("schema", '@approvers("security")', 'context.effects.contains("ddl")')
    )
    judge = engine(tmp_path, text)
    ddl = statement("DROP TABLE", "ddl")
    assert decide(judge, ANN, DELETE).approvers == ("dba",)
    assert decide(judge, ANN, ddl).approvers == ("security",)
    verdict = decide(judge, ANN, DELETE, ddl)
    assert (verdict.decision, verdict.reason) == (
        Decision.DENY,
        "no group may approve under all of writes and schema",
    )


def test_the_strictest_mask_wins(tmp_path: Path) -> None:
    partial, null, plain = (
        f'@id("{name}") {mask} forbid (principal, action == Action::"reveal", resource);\n'
        for name, mask in (("p", '@mask("partial")'), ("n", '@mask("null")'), ("r", ""))
    )
    for text, masker, policy in (
        (partial, "partial", "p"),
        (partial + plain, "redact", "r"),
        (partial + plain + null, "null", "n"),
    ):
        (mask,) = decide(engine(tmp_path, OPEN + text), ANN, READ, columns=(SSN,)).masks
        assert (mask.masker, mask.policy) == (masker, policy)


def test_a_column_that_no_policy_reveals_is_redacted(tmp_path: Path) -> None:
    text = 'permit (principal, action in [Action::"execute", Action::"execute_alone"], resource);'
    (mask,) = decide(engine(tmp_path, text), ANN, READ, columns=(SSN,)).masks
    assert (mask.masker, mask.policy) == ("redact", "default-deny")


def test_a_column_this_bundle_does_not_know_is_redacted_although_no_policy_speaks_of_it(tmp_path: Path) -> None:
    gone = "public.customers.iban"
    verdict = decide(engine(tmp_path, OPEN), ANN, READ, columns=(gone, CITY))
    assert verdict.masks == (Mask(gone, "redact", "lockgate:unclassified"),)


def test_reveal_can_be_scoped_to_a_datastore_or_a_column(tmp_path: Path) -> None:
    text = f"""
        permit (principal, action in [Action::"execute", Action::"execute_alone"], resource);
        permit (principal, action == Action::"reveal", resource in Datastore::"orders");
        forbid (principal, action == Action::"reveal", resource == Column::"orders.{SSN}");
    """
    assert [m.column for m in decide(engine(tmp_path, text), ANN, READ, columns=(EMAIL, SSN)).masks] == [SSN]


def test_a_column_is_revealed_to_one_user_of_a_datastore_and_not_to_the_next(tmp_path: Path) -> None:
    text = (
        OPEN
        + """forbid (principal, action == Action::"reveal", resource)
        unless { context.user == "support" && context.database == "shop" && context.protocol == "postgresql" };"""
    )
    judge = engine(tmp_path, text)
    for user, database, masks in (("support", "shop", 0), ("app", "shop", 1), ("support", "shop2", 1)):
        verdict = judge.decide(Asker(ANN, "orders", database, user), request(READ), (SSN,))
        assert len(verdict.masks) == masks


# --- what can't be evaluated


@pytest.mark.parametrize("action", ["execute", "execute_alone", "reveal"])
@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_an_evaluation_error_in_any_question_is_a_denial(tmp_path: Path, action: str, effect: str) -> None:
    text = OPEN + f'@id("x") {effect} (principal, action == Action::"{action}", resource) when {{ {OVERFLOW} }};'
    verdict = decide(engine(tmp_path, text), ANN, READ, columns=(EMAIL,))
    assert (verdict.decision, verdict.policy) == (Decision.DENY, "lockgate:evaluation-error")
    assert "policy x:" in verdict.reason


def test_an_error_in_a_hold_is_not_a_hold(tmp_path: Path) -> None:
    text = OPEN + alone("hold", '@approvers("dba")') + alone("broken", '@approvers("dba")', OVERFLOW)
    assert decide(engine(tmp_path, text), ANN, DELETE).decision is Decision.DENY


def test_a_datastore_that_is_not_configured_is_denied(tmp_path: Path) -> None:
    assert decide(engine(tmp_path, OPEN), ANN, READ, datastore="order").policy == "lockgate:unknown-datastore"


def test_names_without_unicode_are_denied_not_raised(tmp_path: Path) -> None:
    judge = engine(tmp_path, OPEN)
    for verdict in (
        decide(judge, who("\ud800"), READ),
        decide(judge, ANN, statement("SELECT", "read", objects=("\udcff",))),
        decide(judge, ANN, READ, user="\udcff"),
    ):
        assert (verdict.decision, verdict.policy) == (Decision.DENY, "lockgate:evaluation-error")


# --- the cache


def test_a_repeated_request_is_the_same_verdict(tmp_path: Path) -> None:
    judge = engine(tmp_path)
    assert decide(judge, ANN, READ) is decide(judge, ANN, READ)


def test_everything_a_verdict_was_taken_on_is_in_its_key(tmp_path: Path) -> None:
    judge = engine(tmp_path, OPEN)
    asked, here = request(READ, shape="s"), Asker(ANN, "orders", "shop", "app")
    first = judge.decide(here, asked, (EMAIL,))
    for claims in (who("ann2", "engineers"), replace(ANN, person="x"), who("ann", "x"), who("ann")):
        assert judge.decide(replace(here, claims=claims), asked, (EMAIL,)) is not first
    for there in (
        replace(here, datastore="billing"),
        replace(here, database="shop2"),
        replace(here, user="app2"),
        replace(here, database="app", user="shop"),
    ):
        assert judge.decide(there, asked, (EMAIL,)) is not first
    for columns in ((SSN,), ()):
        assert judge.decide(here, asked, columns) is not first
    assert judge.decide(here, request(DELETE, shape="s"), (EMAIL,)) is not first
    # a renewed token and another text of the same meaning are not other questions
    assert judge.decide(replace(here, claims=replace(ANN, token="t-2", issued_at=9)), asked, (EMAIL,)) is first
    assert judge.decide(here, request(READ, shape="t"), (EMAIL,)) is first


def test_one_shape_for_two_meanings_is_two_verdicts(tmp_path: Path) -> None:
    # EXECUTE p, where p was deallocated and prepared again in between
    judge = engine(tmp_path)
    shape = "EXECUTE p"
    for _ in range(2):
        for meant, decision in ((READ, Decision.ALLOW), (DELETE, Decision.HOLD)):
            asked = Request("postgresql", shape, shape, (meant,))
            assert judge.decide(Asker(ANN, "orders", "shop", "app"), asked, ()).decision is decision


def test_what_is_too_long_to_keep_is_judged_again_and_the_same(tmp_path: Path) -> None:
    judge = engine(tmp_path)
    long = "x" * (room.CACHED_LENGTH + 1)
    here = Asker(ANN, "orders", "shop", "app")
    for asked, there in (
        (request(READ, shape=long), here),
        (request(statement("SELECT", "read", objects=(long,)), shape="EXECUTE p"), here),
        (request(replace(READ, refusal=long), shape="s"), here),
        (request(READ), replace(here, user=long)),
        (request(READ), replace(here, database=long)),
    ):
        first, second = (judge.decide(there, asked, (EMAIL,)) for _ in range(2))
        assert first == second
        assert first is not second
    assert len(judge._shapes) == len(judge._verdicts) == 0


def test_a_flood_of_shapes_stays_within_the_bound(tmp_path: Path) -> None:
    judge = Engine(bundle(tmp_path, OPEN), cache=8)
    for n in range(50):
        judge.decide(Asker(ANN, "orders", f"d{n}", "app"), request(READ, shape=str(n)), (EMAIL,))
    assert len(judge._shapes) <= 8
    assert len(judge._verdicts) <= 8
    assert len(judge._sight._reveals) <= 8


EFFECTS = st.frozensets(st.sampled_from(Effect), max_size=4)
STATEMENTS = st.lists(
    st.builds(
        Statement,
        st.sampled_from(("SELECT", "DELETE", "x")),
        EFFECTS,
        st.lists(st.text(max_size=5), max_size=3).map(tuple),
        has_where=st.booleans(),
        refusal=st.sampled_from((None, None, None, "no")),
    ),
    max_size=4,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return engine(tmp_path_factory.mktemp("policies"))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(((), ("engineers",), ("dba",))), STATEMENTS, st.sampled_from(("s", "t")))
def test_no_mix_of_statements_gets_past_the_strictest_of_them(
    shared: Engine, groups: tuple[str, ...], statements: list[Statement], shape: str
) -> None:
    # two shapes only, so that the cache is asked for other statements under the same key all the time
    asked = request(*statements, shape=shape)
    verdict = shared.decide(Asker(who("ann", *groups), "orders", "shop", "app"), asked, (EMAIL,))
    if not statements:
        expected = Decision.ALLOW
    elif "engineers" not in groups or asked.refusal:
        expected = Decision.DENY
    else:
        expected = Decision.HOLD if Effect.WRITE in asked.effects else Decision.ALLOW
    assert verdict.decision is expected
    if verdict.decision is not Decision.DENY and statements:
        assert [m.column for m in verdict.masks] == [EMAIL]
    assert bool(verdict.approvers) == (verdict.decision is Decision.HOLD) == (verdict.timeout > 0)


# --- time, and estimates


MONDAY_NOON = 1_763_380_800.0
"""2025-11-17T12:00:00Z."""


def test_a_verdict_is_taken_anew_when_the_time_has_changed_that_a_policy_looks_at(tmp_path: Path) -> None:
    now = MONDAY_NOON
    text = OPEN + 'forbid (principal, action, resource) when { context.now >= datetime("2025-11-17T12:01:00Z") };'
    judge = Engine(bundle(tmp_path, text), clock=lambda: now)
    first = decide(judge, ANN, READ, columns=(EMAIL,))
    now += 59
    assert decide(judge, ANN, READ, columns=(EMAIL,)) is first
    now += 1
    assert decide(judge, ANN, READ, columns=(EMAIL,)).decision is Decision.DENY


def test_hours_and_days_are_those_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = OPEN + 'forbid (principal, action, resource) unless { context.hour == 23 && context.weekday == "sun" };'
    judge = Engine(bundle(tmp_path, text), clock=lambda: MONDAY_NOON)
    try:
        for zone, decision in (("UTC", Decision.DENY), ("XXX13", Decision.ALLOW)):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            judge = Engine(judge.bundle, clock=lambda: MONDAY_NOON)
            assert decide(judge, ANN, READ).decision is decision
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("condition", "timed"),
    [
        ('context.user == "context.hour now weekday"', False),
        ("context.has_where // context.hour", False),
        ("context.has_where && true", False),
        ("context.hour > 3", True),
        ('context["weekday"] == "mon"', True),
        ("context has now", True),
        ("(if context.has_where then context else context).has_where", True),
    ],
)
def test_time_costs_nothing_where_no_policy_looks_at_it(tmp_path: Path, condition: str, timed: bool) -> None:
    text = OPEN + f'forbid (principal, action == Action::"execute", resource) when {{ {condition}\n }};'
    judge = Engine(bundle(tmp_path, text), clock=lambda: MONDAY_NOON)
    assert (judge.minute != 0) == timed


def test_approvals_may_depend_on_the_time(tmp_path: Path) -> None:
    text = OPEN + alone("hold", '@approvers("dba")')
    text += 'forbid (principal, action == Action::"approve", resource) when { context.now > datetime("2025-11-17") };'
    for moment, granted in ((MONDAY_NOON, False), (MONDAY_NOON - 86400, True)):
        judge = Engine(bundle(tmp_path, text), clock=iter([moment] * 9).__next__)
        assert judge.may_approve(BEA, ANN, decide(judge, ANN, DELETE), "orders", request(DELETE)).granted is granted


def test_an_estimate_is_what_the_verdict_was_taken_on(tmp_path: Path) -> None:
    text = OPEN + alone("many", '@approvers("dba")', "context has estimated_rows && context.estimated_rows > 100")
    judge = engine(tmp_path, text)
    assert judge.estimates
    here, asked = Asker(ANN, "orders", "shop", "app"), request(DELETE)
    for rows, decision in ((None, Decision.ALLOW), (100, Decision.ALLOW), (101, Decision.HOLD), (5, Decision.ALLOW)):
        assert judge.decide(here, asked, (), rows=rows).decision is decision
    # of two statements in one message it is not told whose rows they are
    assert judge.decide(here, request(DELETE, READ), (), rows=101).decision is Decision.ALLOW
    assert not engine(tmp_path, FOUR_QUESTIONS).estimates


# --- the second key


def test_a_person_of_the_group_that_policy_permits_may_approve(tmp_path: Path) -> None:
    judge = engine(tmp_path)
    verdict = decide(judge, ANN, DELETE)
    approval = judge.may_approve(BEA, ANN, verdict, "orders", request(DELETE))
    assert (approval.granted, approval.policy) == (True, "a.cedar:7")


def test_no_policy_lets_anybody_approve_their_own(tmp_path: Path) -> None:
    judge = engine(tmp_path, OPEN + alone("hold", '@approvers("dba")'))
    requester = who("ann", "dba")
    verdict = decide(judge, requester, DELETE)
    assert verdict.decision is Decision.HOLD
    for approver in (requester, who("ann-admin", "dba", person="ann")):
        approval = judge.may_approve(approver, requester, verdict, "orders", request(DELETE))
        assert (approval.granted, approval.policy) == (False, "lockgate:second-key")


def test_a_group_alone_is_not_enough_where_no_policy_permits_approving(tmp_path: Path) -> None:
    text = 'permit (principal, action in [Action::"execute", Action::"execute_alone"], resource);'
    judge = engine(tmp_path, text + alone("hold", '@approvers("dba")'))
    approval = judge.may_approve(BEA, ANN, decide(judge, ANN, DELETE), "orders", request(DELETE))
    assert (approval.granted, approval.reason) == (False, "no policy permits bea to approve in orders")


def test_a_permit_alone_is_not_enough_outside_the_approvers(tmp_path: Path) -> None:
    judge = engine(tmp_path, OPEN + alone("hold", '@approvers("security")'))
    assert not judge.may_approve(BEA, ANN, decide(judge, ANN, DELETE), "orders", request(DELETE)).granted


def test_policy_sees_what_is_being_approved(tmp_path: Path) -> None:
    text = (
        OPEN
        + alone("hold", '@approvers("dba")')
        + """
        @id("not for eve") @reason("eve's work is reviewed by security")
        forbid (principal, action == Action::"approve", resource == Datastore::"orders") when {
            context.requester == "eve-laptop" && context has requester_person && context.requester_person == "eve" &&
            context.effects == ["read", "write"] && context.objects == ["customers"] && context.kinds == ["DELETE"] &&
            context.policy == "hold" && principal.person == "bea"
        };"""
    )
    # `principal.person` needs `principal has person`: the schema insists
    with pytest.raises(Exception, match="person"):
        engine(tmp_path, text)
    judge = engine(tmp_path, text.replace("principal.person ==", "principal has person && principal.person =="))
    eve = who("eve-laptop", person="eve")
    verdict = decide(judge, eve, DELETE)
    refused = judge.may_approve(BEA, eve, verdict, "orders", request(DELETE))
    assert (refused.granted, refused.reason) == (False, "eve's work is reviewed by security")
    assert judge.may_approve(BEA, who("eve-laptop", person=None), verdict, "orders", request(DELETE)).granted


def test_an_error_while_asking_who_may_approve_is_a_no(tmp_path: Path) -> None:
    text = OPEN + alone("hold", '@approvers("dba")')
    text += f'forbid (principal, action == Action::"approve", resource) when {{ {OVERFLOW} }};'
    judge = engine(tmp_path, text)
    approval = judge.may_approve(BEA, ANN, decide(judge, ANN, DELETE), "orders", request(DELETE))
    assert (approval.granted, approval.policy) == (False, "lockgate:evaluation-error")


@pytest.mark.parametrize("name", ["mal", "ann"])
def test_only_what_is_held_can_be_approved(tmp_path: Path, name: str) -> None:
    judge = engine(tmp_path, FOUR_QUESTIONS)
    requester = who(name, *(("engineers",) if name == "ann" else ()))
    verdict = decide(judge, requester, READ)
    approval = judge.may_approve(BEA, requester, verdict, "orders", request(READ))
    assert (approval.granted, approval.policy) == (False, "lockgate:not-held")
