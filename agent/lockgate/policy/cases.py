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
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from lockgate import config
from lockgate.policy import trial
from lockgate.policy.decide import Engine
from lockgate.values.identity import Asker
from lockgate.values.verdict import Verdict

SUFFIX = ".test.yaml"

Text = Annotated[str, msgspec.Meta(min_length=1)]


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One case. What is left out is not compared. `user`, the datastore's own, is the principal unless given."""

    name: Text
    principal: Text
    datastore: Text
    statement: str
    expect: Literal["allow", "deny", "hold"]
    person: str | None = None
    groups: tuple[str, ...] = ()
    database: str = "postgres"
    user: str | None = None
    policy: str | None = None
    approvers: tuple[str, ...] | None = None
    masks: dict[str, str] | None = None


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
        found += (Placed(case, path, document.line((index,))) for index, case in enumerate(cases))
    return tuple(found)


def run(engine: Engine, language: trial.Understanding, placed: Placed) -> Outcome:
    """Judge one case with the real understanding of its language."""
    case = placed.case
    claims = trial.stand_in(case.principal, case.person, case.groups)
    asker = Asker(claims, case.datastore, case.database, case.principal if case.user is None else case.user)
    verdict = trial.run(engine, language, asker, case.statement).verdict
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
    return Outcome(placed, verdict, tuple(wrong))


def _names(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _pairs(masks: dict[str, str]) -> str:
    return ", ".join(f"{column}: {masker}" for column, masker in sorted(masks.items())) or "none"
