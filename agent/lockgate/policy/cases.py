"""Test cases beside the policies: what each policy is for, in a form that fails when it stops being true.

- name: engineers read
  principal: ann
  groups: [engineers]
  datastore: orders
  statement: SELECT email FROM customers
  expect: allow                                    # or deny, hold
  policy: engineers-use-orders                     # optional, as are the next two
  approvers: [dba]
  masks: {public.customers.email: partial}         # all of them, no more and no less
  detects: {card: redact}                          # likewise
  timeout: 15m                                     # of a hold, as are the next two
  timeout_in_transaction: 1m
  grant: 8h
  at: "2026-01-03T22:30"                           # judged at this time, the host's own; now unless given
  estimated_rows: 5000                             # what the datastore would estimate; not known unless given
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from lockgate import config
from lockgate.policy import trial
from lockgate.policy.annotations import parse_time, written
from lockgate.policy.decide import Engine
from lockgate.values.identity import Asker
from lockgate.values.protocol import NATURES
from lockgate.values.verdict import Verdict

SUFFIX = ".test.yaml"

Text = Annotated[str, msgspec.Meta(min_length=1)]


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One case. What is left out is not compared.

    `user`, the datastore's own, is the principal unless given, `database` the one of whoever names none. A `statement`
    of Redis is a command as redis-cli takes it; several lines are a transaction.
    """

    name: Text
    principal: Text
    datastore: Text
    statement: str
    expect: Literal["allow", "deny", "hold"]
    person: str | None = None
    groups: tuple[str, ...] = ()
    database: str | None = None
    user: str | None = None
    policy: str | None = None
    approvers: tuple[str, ...] | None = None
    masks: dict[str, str] | None = None
    detects: dict[str, str] | None = None
    timeout: str | None = None
    timeout_in_transaction: str | None = None
    grant: str | None = None
    at: str | None = None
    estimated_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    case: Case
    path: Path
    line: int

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`wrong` says what differs, one phrase each; empty when the case holds."""

    placed: Placed
    verdict: Verdict
    wrong: tuple[str, ...]


def find(policy_paths: Sequence[str | Path]) -> tuple[Path, ...]:
    """`*.test.yaml` in the policy folders, and beside policy files that are named one by one."""
    folders = dict.fromkeys(path if path.is_dir() else path.parent for path in map(Path, policy_paths))
    return tuple(
        path for folder in folders for path in sorted(folder.glob(f"*{SUFFIX}")) if not path.name.startswith(".")
    )


def load(paths: Sequence[Path]) -> tuple[Placed, ...]:
    """The cases of these files, in order. Raises ConfigError `FILE:LINE: KEY: what`, for unknown keys too."""
    found: list[Placed] = []
    for path in paths:
        document = config.Document(path)
        cases = document.convert(list[Case])
        for index, case in enumerate(cases):
            _check_times(case, document, index)
        found += (Placed(case, path, document.line((index,))) for index, case in enumerate(cases))
    return tuple(found)


def run(engine: Engine, language: trial.Understanding, placed: Placed) -> Outcome:
    """Judge one case with the real understanding of its language."""
    case = placed.case
    claims = trial.stand_in(case.principal, case.person, case.groups)
    database = case.database
    if database is None:
        # none at all of a datastore that doesn't exist: it is denied as that
        protocol = engine.bundle.datastores.get(case.datastore)
        database = "" if protocol is None else NATURES[protocol].database
    asker = Asker(claims, case.datastore, database, case.principal if case.user is None else case.user)
    now = trial.at(engine, case.at)
    verdict = trial.run(now, language, asker, case.statement, rows=case.estimated_rows).verdict
    masks = {mask.column: mask.masker for mask in verdict.masks}
    wrong: list[str] = []
    if verdict.decision != case.expect:
        wrong.append(f"expected {case.expect}, got {verdict.decision} ({verdict.reason})")
    if case.policy is not None and verdict.policy != case.policy:
        wrong.append(f"expected policy {case.policy}, got {trial.place(engine.bundle, verdict.policy)}")
    if case.approvers is not None and set(verdict.approvers) != set(case.approvers):
        wrong.append(f"expected approvers {_names(case.approvers)}, got {_names(verdict.approvers)}")
    if case.masks is not None and masks != case.masks:
        wrong.append(f"expected masks {_pairs(case.masks)}, got {_pairs(masks)}")
    detects = {detect.kind: detect.masker for detect in verdict.detects}
    if case.detects is not None and detects != case.detects:
        wrong.append(f"expected detects {_pairs(case.detects)}, got {_pairs(detects)}")
    for key, seconds in (
        ("timeout", verdict.timeout),
        ("timeout_in_transaction", verdict.timeout_in_transaction),
        ("grant", verdict.grant),
    ):
        expected = getattr(case, key)
        if expected is not None and written(seconds) != written(parse_time(expected)):
            wrong.append(f"expected {key} {expected}, got {written(seconds)}")
    return Outcome(placed, verdict, tuple(wrong))


def _check_times(case: Case, document: config.Document, index: int) -> None:
    for key in ("timeout", "timeout_in_transaction", "grant"):
        text = getattr(case, key)
        if text is not None and not parse_time(text):
            raise document.error((index, key), f"{text!r} is not a time, as in 90s, 15m or 2h")
    try:
        trial.moment(case.at or "2000-01-01")
    except ValueError:
        raise document.error((index, "at"), f"{case.at!r} is not a time, as in 2026-01-03T22:30") from None


def _names(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _pairs(masks: dict[str, str]) -> str:
    return ", ".join(f"{column}: {masker}" for column, masker in sorted(masks.items())) or "none"
