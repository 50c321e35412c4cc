"""What becomes of a request: by whom, of what, with which catalog; and what is kept of it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from lockgate.config import Datastore
from lockgate.masking import RootKey, resolve
from lockgate.policy.bundle import load
from lockgate.policy.decide import Engine
from lockgate.policy.reload import Policies
from lockgate.policy.shadow import Shadow
from lockgate.proxy.postgresql import judge as module
from lockgate.proxy.postgresql.catalog import Snapshot
from lockgate.proxy.postgresql.judge import Judge, StatementJudgement
from lockgate.proxy.postgresql.result_masking import PLANNED_COLUMNS, PLANS, ResultMasking
from lockgate.understand.postgresql import Understanding
from lockgate.values.catalog import Catalog, Relation, Routine
from lockgate.values.identity import Asker, Claims
from lockgate.values.statement import Request
from lockgate.values.verdict import Decision, Verdict
from lockgate.wire.gate import MaskingError
from lockgate.wire.postgresql.frames import Field
from tests.proxy.house import CLASSIFICATION, EMAIL, POLICIES, SHOP, TEXT, catalog, relation

ANN = Claims("t", "ann", "ann", ("engineers",), "host-1", 0, 300)
understand = Understanding().request


def snapshot(found: Catalog = SHOP, names: tuple[str, ...] = (EMAIL,)) -> Snapshot:
    return Snapshot(found, resolve(names, found, {}, {}, {}), frozenset())


class Bench:
    def __init__(
        self, folder: Path, policies: str = POLICIES, *, classified: Mapping[str, tuple[str, ...]] = CLASSIFICATION
    ) -> None:
        self.folder = folder
        (folder / "p").mkdir(exist_ok=True)
        self.write(policies)
        self.policies = Policies(
            lambda epoch: load([folder / "p"], {"orders": classified}, {"orders": "postgresql"}, epoch=epoch),
            [folder / "p"],
        )
        settings = Datastore(name="orders", protocol="postgresql", addresses=["127.0.0.1:5432"])
        self.judge = Judge(settings, classified, self.policies, cache=64)

    def write(self, policies: str) -> None:
        (self.folder / "p" / "a.cedar").write_text(policies)

    def __call__(
        self,
        text: str | Request,
        *candidates: str,
        claims: Claims = ANN,
        of: Snapshot | None = None,
        altered: bool = False,
        database: str = "shop",
        user: str = "app",
    ) -> StatementJudgement:
        request = understand(text) if isinstance(text, str) else text
        others = tuple(map(understand, candidates))
        return self.judge.judge(Asker(claims, "orders", database, user), request, others, of, altered=altered)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


KEYS = RootKey(bytes(32)).keys("orders")


@pytest.fixture
def shop() -> Snapshot:
    return snapshot()


def columns(*names: str) -> list[Field]:
    return [Field(name, 0, 0, TEXT, 0) for name in names]


def plan(judgement: StatementJudgement, of: Snapshot, *names: str, statement: int = 0) -> bytes | None:
    masking = ResultMasking.of(
        judgement.verdict, judgement.lineage, judgement.copied, of, lambda: None, KEYS, judgement.plans
    )
    assert masking is not None
    found = masking.plan(statement, columns(*names), utf8=True)
    return None if found is None else bytes(cell.action for cell in found.cells)


# --- by which catalog


def test_what_touches_nothing_classified_is_not_masked(bench: Bench, shop: Snapshot) -> None:
    found = bench("SELECT body FROM scratch", of=shop)
    assert (found.verdict.decision, found.refusal, found.lineage, found.secrets) == (Decision.ALLOW, None, None, None)


def test_an_expression_over_a_classified_column_is_masked_by_lineage(bench: Bench, shop: Snapshot) -> None:
    found = bench("SELECT upper(email), id + 1 FROM customers", of=shop)
    assert plan(found, shop, "upper", "?column?") == b"\2\0"


def test_without_a_catalog_nothing_with_rows_passes(bench: Bench) -> None:
    found = bench("SELECT id FROM scratch")
    assert found.refusal is not None
    assert "without the catalog" in found.refusal.message
    assert bench("BEGIN").refusal is None


def test_what_the_catalog_does_not_have_may_be_known_to_a_newer_one(bench: Bench, shop: Snapshot) -> None:
    assert bench("SELECT a FROM newcomer", of=shop).unknown
    assert not bench("SELECT id FROM scratch", of=shop).unknown


def test_in_a_transaction_that_changed_the_catalog_names_tell_nothing(bench: Bench, shop: Snapshot) -> None:
    found = bench("SELECT upper(note) FROM customers", of=shop, altered=True)
    with pytest.raises(MaskingError):
        plan(found, shop, "upper")


@pytest.mark.parametrize("change", ["ALTER TABLE customers RENAME email TO x", "DO $$ BEGIN END $$"])
def test_what_stands_behind_a_change_in_one_text_is_read_with_the_changed_catalog(
    bench: Bench, shop: Snapshot, change: str
) -> None:
    assert bench(change, of=shop).alters
    found = bench(f"{change}; SELECT upper(note) FROM customers", of=shop)
    with pytest.raises(MaskingError):
        plan(found, shop, "upper", statement=1)


def test_a_result_of_a_relation_that_is_new_says_that_the_catalog_is_stale(bench: Bench, shop: Snapshot) -> None:
    told: list[bool] = []
    found = bench("SELECT email FROM customers", of=shop)
    masking = ResultMasking.of(found.verdict, found.lineage, found.copied, shop, lambda: told.append(True), KEYS)
    assert masking is not None
    with pytest.raises(MaskingError, match="try again"):
        masking.plan(0, [Field("email", 999, 1, TEXT, 0)], utf8=True)
    assert told


def test_a_plan_is_made_once_for_each_form_of_a_result(bench: Bench, shop: Snapshot) -> None:
    found = bench("SELECT email FROM customers", of=shop)

    def made(fields: list[Field], *, utf8: bool = True) -> object:
        masking = ResultMasking.of(
            found.verdict,
            found.lineage,
            found.copied,
            shop,
            lambda: None,
            KEYS,
            bench("SELECT email FROM customers", of=shop).plans,
        )
        assert masking is not None
        return masking.plan(0, fields, utf8=utf8)

    text, binary = [Field("email", 0, 0, TEXT, 0)], [Field("email", 0, 0, TEXT, 1)]
    assert made(text) is made(list(text))
    assert made(binary) is not made(text)
    assert made(text, utf8=False) is not made(text)
    assert len(found.plans) == PLANS
    for number in range(2 * PLANS):
        made([Field(f"c{number}", 0, 0, TEXT, 0)])
    assert len(found.plans) == PLANS
    assert made([Field("c99", 0, 0, TEXT, 0)]) is not None


def test_a_wide_result_is_planned_each_time(bench: Bench, shop: Snapshot) -> None:
    names = [f"c{number}" for number in range(PLANNED_COLUMNS + 1)]
    found = bench(f"SELECT {', '.join(f'lower(email) AS {name}' for name in names)} FROM customers", of=shop)
    assert plan(found, shop, *names) is not None
    assert not found.plans


# --- what a request goes on with


@pytest.mark.parametrize(
    "made",
    [
        "PREPARE p AS SELECT upper(email) FROM customers",
        # the first statement of the text that made it is another one
        "SELECT 'x'; PREPARE p AS SELECT upper(email) FROM customers",
        "PREPARE q AS SELECT 'x'; PREPARE p AS SELECT upper(email) FROM customers",
    ],
)
def test_execute_is_masked_by_the_statement_of_that_name(bench: Bench, shop: Snapshot, made: str) -> None:
    assert plan(bench("EXECUTE p", made, of=shop), shop, "upper") == b"\2"


def test_execute_of_what_the_protocol_named_is_masked(bench: Bench, shop: Snapshot) -> None:
    assert plan(bench("EXECUTE p", "SELECT upper(email) FROM customers", of=shop), shop, "upper") == b"\2"


@pytest.mark.parametrize(
    "candidates",
    [
        ("PREPARE p AS SELECT 'x'; DEALLOCATE p; PREPARE p AS SELECT upper(email) FROM customers",),
        ("SELECT 'x'", "SELECT upper(email) FROM customers"),
        # named by the protocol, it can't have two statements; whatever says so is not believed
        ("SELECT 'x'; SELECT upper(email) FROM customers",),
    ],
)
def test_where_it_cannot_be_told_which_is_meant_nothing_leaves(
    bench: Bench, shop: Snapshot, candidates: tuple[str, ...]
) -> None:
    found = bench("EXECUTE p", *candidates, of=shop)
    with pytest.raises(MaskingError):
        plan(found, shop, "upper")


def test_execute_counts_as_what_it_executes(bench: Bench, shop: Snapshot) -> None:
    assert bench("EXECUTE p", "DELETE FROM scratch", of=shop).verdict.decision is Decision.HOLD
    assert bench("EXECUTE p", "SELECT id FROM scratch", of=shop).verdict.decision is Decision.ALLOW


@pytest.mark.parametrize(
    "text",
    [
        "COPY customers TO '/tmp/f'",
        "COPY (SELECT email FROM customers) TO PROGRAM 'cat'",
        "COPY customers TO STDOUT (ENCODING 'LATIN1')",
        "INSERT INTO scratch SELECT id, email FROM customers",
        "CREATE TABLE mine AS SELECT email FROM customers",
        "UPDATE customers SET note = email",
    ],
)
def test_masked_columns_do_not_leave_by_another_way(bench: Bench, shop: Snapshot, text: str) -> None:
    refusal = bench(text, of=shop).refusal
    assert refusal is not None
    assert EMAIL in refusal.message


def test_what_a_trigger_may_say_is_masked_and_withheld(bench: Bench) -> None:
    """It has masks: its errors and notices are then withheld, and rows that a rule returns are masked."""
    firing = snapshot(catalog(*SHOP.by_oid.values(), replace(relation(103, "orders", "id"), fires=True)))
    found = bench("INSERT INTO orders VALUES (1)", of=firing)
    assert found.refusal is None
    assert [mask.column for mask in found.verdict.masks] == [EMAIL]
    assert found.lineage == (None,)
    assert bench("SELECT id FROM orders", of=firing).lineage is None
    silent = snapshot(catalog(*SHOP.by_oid.values(), relation(103, "orders", "id")))
    assert bench("INSERT INTO orders VALUES (1)", of=silent).verdict.masks == ()


def test_who_has_masks_hears_no_payloads(bench: Bench, shop: Snapshot) -> None:
    """What triggers and others notify of can't be told: with the catalog or without."""
    for of in (shop, None):
        found = bench("LISTEN changes", of=of)
        assert found.deaf
        assert found.barrier
        assert found.refusal is None
    assert not bench("SELECT 1", of=shop).deaf
    assert not bench("SELECT email FROM customers", of=shop).deaf
    assert not bench("NOTIFY changes, 'x'", of=shop).deaf


def test_nor_by_what_was_prepared_when_nobody_looked(bench: Bench, shop: Snapshot) -> None:
    found = bench("EXECUTE p", "INSERT INTO scratch SELECT id, email FROM customers", of=shop)
    assert found.refusal is not None


# --- what a masked column may be used for

NO_INFERENCE = POLICIES + '@id("no-guessing") forbid (principal, action == Action::"infer", resource);\n'


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id FROM customers ORDER BY email",
        "SELECT id FROM customers WHERE email < 'm'",
        "SELECT id FROM customers WHERE email LIKE 'a%'",
        "SELECT count(*) FROM customers GROUP BY email",
        "SELECT c.id FROM customers c JOIN scratch s ON s.body = c.email",
        "SELECT 1 FROM scratch WHERE EXISTS (SELECT FROM customers WHERE left(email, 1) = 'a')",
        "UPDATE scratch SET body = 'x' WHERE id IN (SELECT id FROM customers WHERE length(email) = 7)",
        "SELECT max(id) FILTER (WHERE email > 'm') FROM customers",
    ],
)
def test_policy_may_forbid_to_learn_a_masked_column_without_seeing_it(
    tmp_path: Path, shop: Snapshot, text: str
) -> None:
    assert Bench(tmp_path)(text, of=shop).refusal is None
    found = Bench(tmp_path, NO_INFERENCE)(text, of=shop)
    assert (found.verdict.decision, found.verdict.policy) == (Decision.DENY, "no-guessing")
    assert found.refusal is not None
    assert found.refusal.message.startswith(f"lockgate: {EMAIL} is masked for you, and you may not ")
    assert (found.facts["verdict"], found.facts["policy"]) == ("allow", "no-guessing")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT email FROM customers",
        "SELECT * FROM customers ORDER BY id LIMIT 5",
        "SELECT id FROM customers WHERE email = 'a@b.example'",
        "SELECT id, note FROM customers WHERE id > 5 ORDER BY note",
        "BEGIN",
        "SELECT body FROM scratch ORDER BY body",
    ],
)
def test_and_forbids_nothing_else(tmp_path: Path, shop: Snapshot, text: str) -> None:
    assert Bench(tmp_path, NO_INFERENCE)(text, of=shop).refusal is None


def test_what_was_prepared_is_asked_about_with_what_executes_it(tmp_path: Path, shop: Snapshot) -> None:
    found = Bench(tmp_path, NO_INFERENCE)("EXECUTE p", "PREPARE p AS SELECT id FROM customers ORDER BY email", of=shop)
    assert found.verdict.policy == "no-guessing"


def test_what_a_newer_catalog_could_tell_is_not_denied_for_good(tmp_path: Path, shop: Snapshot) -> None:
    found = Bench(tmp_path, NO_INFERENCE)("SELECT c.id FROM customers c, newcomer ORDER BY c.email", of=shop)
    assert found.verdict.decision is Decision.ALLOW
    assert found.unknown
    assert found.refusal is not None
    assert "it can't be told that this does not" in found.refusal.message


def test_in_a_transaction_that_changed_the_catalog_any_use_may_be_meant(tmp_path: Path, shop: Snapshot) -> None:
    bench = Bench(tmp_path, NO_INFERENCE)
    assert bench("SELECT id FROM customers", of=shop).refusal is None
    assert bench("SELECT id FROM customers", of=shop, altered=True).refusal is not None
    assert bench("ROLLBACK", of=shop, altered=True).refusal is None


# --- what is kept


def test_time_and_estimates_are_part_of_the_situation_where_policies_look_at_them(
    tmp_path: Path, shop: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = 'forbid (principal, action, resource) when { context.now >= datetime("2100-01-01") };\n'
    many = 'forbid (principal, action == Action::"execute", resource) when '
    many += "{ context has estimated_rows && context.estimated_rows > 10 };"
    bench = Bench(tmp_path, POLICIES + late + many)
    request = understand("SELECT id FROM scratch")

    def ask(rows: int | None) -> StatementJudgement:
        return bench.judge.judge(Asker(ANN, "orders", "shop", "app"), request, (), shop, altered=False, rows=rows)

    assert ask(None) is ask(None)
    assert ask(10).verdict.decision is Decision.ALLOW
    assert ask(11).verdict.decision is Decision.DENY
    monkeypatch.setattr(bench.policies.engine, "_clock", lambda: 4_102_444_800.0)
    assert ask(None).verdict.decision is Decision.DENY


def test_two_situations_never_share_a_judgement(bench: Bench, shop: Snapshot) -> None:
    first = bench("SELECT email FROM customers", of=shop)
    assert bench("SELECT email FROM customers", of=shop) is first
    others = [
        bench("SELECT email FROM customers", of=shop, claims=Claims("t", "ann", "ann", (), "host-1", 0, 300)),
        bench(
            "SELECT email FROM customers", of=shop, claims=Claims("t", "ann", None, ("engineers",), "host-1", 0, 300)
        ),
        bench("SELECT email FROM customers", of=shop, database="other"),
        bench("SELECT email FROM customers", of=shop, user="other"),
        bench("SELECT email FROM customers", of=shop, altered=True),
        bench("SELECT email FROM customers", of=snapshot()),
        bench("SELECT email FROM customers"),
    ]
    assert all(other is not first for other in others)
    # the renewal of a token is the same situation
    again = Claims("t2", "ann", "ann", ("engineers",), "host-1", 200, 500)
    assert bench("SELECT email FROM customers", of=shop, claims=again) is first


def test_names_that_run_together_are_not_the_same_name(bench: Bench) -> None:
    one = bench("SELECT 1", database="a", user="bc")
    assert bench("SELECT 1", database="ab", user="c") is not one
    assert bench("EXECUTE p", "SELECT 1", "SELECT 2") is not bench("EXECUTE p", "SELECT 1")


def test_a_new_policy_judges_anew(bench: Bench, shop: Snapshot) -> None:
    assert bench("SELECT 1", of=shop).verdict.decision is Decision.ALLOW
    bench.write('@id("nothing") forbid (principal, action, resource);')
    bench.policies.reload()
    assert bench("SELECT 1", of=shop).verdict.decision is Decision.DENY


def test_a_literal_does_not_make_another_situation(bench: Bench, shop: Snapshot) -> None:
    assert bench("SELECT id FROM scratch WHERE id = 1", of=shop) is bench(
        "SELECT id FROM scratch WHERE id = 2", of=shop
    )


def test_long_texts_are_judged_every_time(bench: Bench, shop: Snapshot) -> None:
    long = understand(f"SELECT id AS {'a' * 40} " + f", id AS {'b' * 40}" * module.CACHED_CHARACTERS)
    before = len(bench.judge._kept)
    assert bench(long, of=shop) is not bench(long, of=shop)
    assert len(bench.judge._kept) == before


def test_no_kept_judgement_keeps_a_catalog_alive(bench: Bench) -> None:
    marker = _Marked(SHOP.by_oid)
    held = weakref.ref(marker)
    of = snapshot(Catalog("shop", marker, SHOP.by_name))
    bench("SELECT upper(email) FROM customers", of=of)
    del of, marker
    bench("SELECT id FROM scratch", of=snapshot())  # lineage keeps the last one it read with
    gc.collect()
    assert held() is None


class _Marked(dict[int, Relation]):
    """A mapping that can be referred to weakly."""


# --- what is recorded


def test_the_facts_of_a_record_are_made_once(bench: Bench, shop: Snapshot) -> None:
    found = bench("SELECT email FROM customers", of=shop)
    assert found.facts == {
        "verdict": "allow",
        "policy": "work",
        "reason": found.verdict.reason,
        "mode": "enforce",
        "epoch": 1,
        "effects": ["read"],
        "objects": ["customers"],
        "kinds": ["SELECT"],
        "masks": [[EMAIL, "redact"]],
    }
    assert found.secrets == frozenset({EMAIL})


@pytest.mark.parametrize(
    ("text", "would"),
    [("SELECT 1", "allow"), ("DROP TABLE scratch", "deny"), ("DELETE FROM scratch", "hold")],
)
def test_observing_it_says_what_would_have_been(bench: Bench, shop: Snapshot, text: str, would: str) -> None:
    settings = Datastore(name="orders", protocol="postgresql", addresses=["127.0.0.1:5432"], mode="observe")
    judge = Judge(settings, CLASSIFICATION, bench.policies, cache=64)
    facts = judge.judge(Asker(ANN, "orders", "shop", "app"), understand(text), (), shop, altered=False).facts
    assert (facts["mode"], facts["verdict"], facts["would"]) == ("observe", "allow", would)


def test_what_may_hold_a_password_is_never_recorded_as_it_is(bench: Bench, shop: Snapshot) -> None:
    assert bench("SET application_name = 'x'", of=shop).secrets is not None
    assert bench("INSERT INTO scratch VALUES (1, 'x')", of=shop).secrets is None


# --- what a result is watched for


def test_a_result_is_watched_by_what_it_was_judged_by(bench: Bench, shop: Snapshot) -> None:
    assert bench("SELECT body FROM scratch", of=shop).watched == frozenset()
    assert bench("SELECT email FROM customers", of=shop).watched is None, "policy was asked about all there is"
    assert bench("SELECT body FROM scratch", of=shop, altered=True).watched is None


# --- what functions of the database's own count as


def test_a_function_is_known_only_by_a_catalog_that_still_holds(bench: Bench) -> None:
    reads = Routine("public", "reads", "s", False, "sql", body="SELECT id FROM scratch")
    of = snapshot(Catalog("shop", SHOP.by_oid, SHOP.by_name, routines={"reads": (reads,)}))
    assert bench("SELECT reads(1)", of=of).facts["effects"] == ["read"]
    assert bench("SELECT reads(1)", of=of, altered=True).facts["effects"] == ["read", "unknown", "write"]
    made = "CREATE OR REPLACE FUNCTION reads(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT reads(1)"
    assert "unknown" in bench(made, of=of).facts["effects"]
    assert bench("EXECUTE p", "PREPARE p AS SELECT reads(1)", of=of).facts["effects"] == ["read"]


@pytest.mark.parametrize("text", ["CALL p()", "COMMIT PREPARED 'x'", "DO 'x'", "DROP TABLE scratch"])
def test_what_may_change_the_catalog_is_told(bench: Bench, shop: Snapshot, text: str) -> None:
    assert bench(text, of=shop).alters


# --- a bundle that is only tried


class Tried:
    """A judge with a second bundle beside the one of `Bench`."""

    def __init__(self, bench: Bench, policies: str, mode: Literal["enforce", "observe"] = "enforce") -> None:
        self.folder = bench.folder / "next"
        self.folder.mkdir()
        self.write(policies)
        self.shadow = Shadow(
            lambda epoch: load([self.folder], {"orders": CLASSIFICATION}, {"orders": "postgresql"}, epoch=epoch),
            [self.folder],
        )
        settings = Datastore(name="orders", protocol="postgresql", addresses=["127.0.0.1:5432"], mode=mode)
        self.judge = Judge(settings, CLASSIFICATION, bench.policies, self.shadow, cache=64)

    def write(self, policies: str) -> None:
        (self.folder / "a.cedar").write_text(policies)

    def __call__(self, text: str, of: Snapshot | None = None, rows: int | None = None) -> dict[str, Any] | None:
        asker = Asker(ANN, "orders", "shop", "app")
        facts = self.judge.judge(asker, understand(text), (), of, altered=False, rows=rows).facts
        found: dict[str, Any] | None = facts.get("shadow")
        return found


STRICTER = (
    POLICIES
    + """
@id("no-writes") @reason("read only from May on")
forbid (principal, action == Action::"execute", resource) when { context.effects.contains("write") };
@id("pii-null") @mask("null")
forbid (principal, action == Action::"reveal", resource in Tag::"pii");
"""
)


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_what_is_tried_is_told_where_it_comes_to_another_end(
    bench: Bench, shop: Snapshot, mode: Literal["enforce", "observe"]
) -> None:
    tried = Tried(bench, STRICTER, mode)
    assert tried("SELECT id FROM scratch", shop) is None
    assert tried("DROP TABLE scratch", shop) is None, "by the same policy as the one in force"
    assert tried("DELETE FROM scratch", shop) == {
        "would": "deny", "policy": "no-writes", "reason": "read only from May on", "epoch": 1,
    }  # fmt: skip
    masked = tried("SELECT email FROM customers", shop)
    assert masked is not None
    assert (masked["would"], masked["policy"], masked["masks"]) == ("allow", "work", [[EMAIL, "null"]])


def test_it_decides_nothing(bench: Bench, shop: Snapshot) -> None:
    tried = Tried(bench, STRICTER)
    judged = tried.judge.judge(Asker(ANN, "orders", "shop", "app"), understand("INSERT INTO scratch VALUES (1)"), (),
                               shop, altered=False)  # fmt: skip
    assert judged.refusal is None
    assert judged.verdict.decision is Decision.ALLOW
    assert judged.facts["policy"] == "work"
    assert judged.facts["shadow"]["would"] == "deny"


def test_it_sees_what_the_one_in_force_sees(bench: Bench, shop: Snapshot) -> None:
    many = (
        POLICIES
        + """
@id("many") forbid (principal, action == Action::"execute", resource)
  when { context has estimated_rows && context.estimated_rows > 10 };
@id("infer") forbid (principal, action == Action::"infer", resource);
"""
    )
    tried = Tried(bench, many)
    assert tried("SELECT id FROM scratch", shop, 11) is not None
    assert tried("SELECT id FROM scratch", shop, 10) is None
    inferring = tried("SELECT id FROM customers ORDER BY email", shop)
    assert inferring is not None
    assert (inferring["would"], inferring["policy"]) == ("deny", "infer")


def test_what_cant_be_carried_out_is_told_of_it_too(bench: Bench, shop: Snapshot) -> None:
    open_to_all = """
@id("all") permit (principal, action, resource);
"""
    looser = Tried(bench, open_to_all)
    assert bench("SELECT email INTO x FROM customers", of=shop).refusal is not None
    found = looser("SELECT email INTO x FROM customers", shop)
    assert found is not None
    assert (found["would"], found["policy"]) == ("allow", "all")


def test_a_newer_one_is_tried_at_once_and_a_broken_one_not(bench: Bench, shop: Snapshot) -> None:
    tried = Tried(bench, POLICIES)
    assert tried("INSERT INTO scratch VALUES (1)", shop) is None
    tried.write(STRICTER)
    assert tried.shadow.reload()
    found = tried("INSERT INTO scratch VALUES (1)", shop)
    assert found is not None
    assert found["epoch"] == 2
    tried.write("permit (nobody);")
    assert not tried.shadow.reload()
    assert tried("INSERT INTO scratch VALUES (1)", shop) == found


def test_what_is_tried_is_asked_once_for_each_shape(
    bench: Bench, shop: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, asked = Tried(bench, STRICTER), list[int]()
    decide = Engine.decide

    def counted(self: Engine, *given: Any, **more: Any) -> Verdict:
        asked.append(self.epoch)
        return decide(self, *given, **more)

    monkeypatch.setattr(Engine, "decide", counted)
    for number in range(5):
        tried(f"SELECT {number} FROM scratch", shop)
    assert len(asked) == 2
