"""What the policy tests start from: the plan's four questions, and short ways to say who asks what."""

from __future__ import annotations

from pathlib import Path

from lockgate.policy.bundle import Bundle, load
from lockgate.policy.decide import Engine
from lockgate.values.identity import Asker, Claims
from lockgate.values.statement import Effect, Request, Statement
from lockgate.values.verdict import Verdict

FOUR_QUESTIONS = """\
permit (principal in Group::"engineers", action == Action::"execute", resource in Datastore::"orders");
permit (principal, action in [Action::"execute_alone", Action::"reveal"], resource);
@approvers("dba") @timeout("15m")
forbid (principal, action == Action::"execute_alone", resource) when { context.effects.contains("write") };
@mask("partial")
forbid (principal, action == Action::"reveal", resource in Tag::"pii") unless { principal in Group::"pii-readers" };
permit (principal in Group::"dba", action == Action::"approve", resource);
"""
"""design.md's policies, word for word, and one for the second key."""

EMAIL, SSN, CITY = "public.customers.email", "public.customers.ssn", "public.customers.city"
CLASSIFICATION = {"orders": {EMAIL: ("pii", "email"), SSN: ("pii",), CITY: ("place",)}}
DATASTORES = {"orders": "postgresql", "billing": "postgresql"}


def bundle(folder: Path, text: str, *, epoch: int = 1, groups: frozenset[str] | None = None) -> Bundle:
    (folder / "a.cedar").write_text(text)
    return load([folder], CLASSIFICATION, DATASTORES, epoch=epoch, groups=groups)


def engine(folder: Path, text: str = FOUR_QUESTIONS, *, epoch: int = 1) -> Engine:
    return Engine(bundle(folder, text, epoch=epoch))


def who(name: str, *groups: str, person: str | None = "") -> Claims:
    """Claims; the person is the principal's name unless told otherwise."""
    return Claims("t-1", name, name if person == "" else person, groups, "host-1", 0, 300)


def statement(kind: str, *effects: str, objects: tuple[str, ...] = ("customers",), has_where: bool = True) -> Statement:
    return Statement(kind, frozenset(map(Effect, effects)), objects, has_where=has_where)


READ = statement("SELECT", "read")
DELETE = statement("DELETE", "read", "write")


def request(*statements: Statement, shape: str | None = None) -> Request:
    text = "; ".join(repr(s) for s in statements)
    return Request("postgresql", text, text if shape is None else shape, statements)


def decide(
    engine: Engine,
    claims: Claims,
    *statements: Statement,
    columns: tuple[str, ...] = (),
    datastore: str = "orders",
    user: str = "app",
) -> Verdict:
    return engine.decide(Asker(claims, datastore, "shop", user), request(*statements), columns)
