"""A bundle: every policy of the configuration, validated as one, with the names they are judged against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

import cedarpy
from cedarpy import pst

from lockgate import config
from lockgate.policy import databases, lint, patterns, source
from lockgate.policy.annotations import Policy, describe
from lockgate.policy.patterns import Named, Whole
from lockgate.policy.source import BundleError, Piece
from lockgate.values.statement import Place

__all__ = ["Bundle", "BundleError", "column_id", "configured", "load", "schema"]

UNLESS_FORBIDDEN = frozenset(("infer", "infer_equal", "reveal_detected"))
"""The actions that need no permit: so a set written before they were thought of means what it meant."""

Classification = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Datastore -> `schema.table.column`, or what it is called of Redis -> tags: as `config.load_classification` has it."""

_WHOLE = Whole()


@dataclass(frozen=True, slots=True)
class Rules:
    """`policies` is in the order of Cedar's positional ids: the policy that Cedar calls `policy7` is `policies[7]`."""

    policies: tuple[Policy, ...]
    policy_set: cedarpy.PolicySet


@dataclass(frozen=True, slots=True)
class Bundle:
    """`rules` are all policies, `permits` the permits alone: what would be said if nothing were forbidden.

    `mentioned` are the attributes of `context` that a policy looks at. `datastores` maps a name to its protocol.
    `databases` stand for all of a server's, where they have numbers: see `lockgate.policy.databases`.
    `warnings` are for `lockgate policy check`: what is probably a mistake. `named` has the patterns of a policy, by id.
    """

    epoch: int
    rules: Rules
    permits: Rules
    mentioned: frozenset[str]
    schema: cedarpy.Schema
    datastores: Mapping[str, str]
    classification: Classification
    warnings: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()
    named: Mapping[str, tuple[Named, ...]] = field(default_factory=dict)
    _patterns: Mapping[tuple[str, Place], tuple[str, ...]] = field(default_factory=dict)
    _wholes: Mapping[tuple[str, Place], Whole] = field(default_factory=dict)

    @property
    def policies(self) -> tuple[Policy, ...]:
        return self.rules.policies

    def mentions(self, *attributes: str) -> bool:
        """Whether a decision may depend on one of these attributes of `context`."""
        return not self.mentioned.isdisjoint((*attributes, lint.WHOLE))

    def forbids(self, *actions: str) -> bool:
        """Whether there is a forbid that may answer one of these questions."""
        return any(p.effect == "forbid" and (not p.actions or p.actions & set(actions)) for p in self.policies)

    def patterns(self, datastore: str, place: Place) -> tuple[str, ...]:
        """The patterns by which policies name keys (or channels) of a datastore, sorted."""
        return self._patterns.get((datastore, place), ())

    def whole(self, datastore: str, place: Place) -> Whole:
        """How to ask about what could be any key (or channel) of a datastore."""
        return self._wholes.get((datastore, place), _WHOLE)

    def policy(self, name: str) -> Policy | None:
        """The policy a verdict names, None for the built-in ones (`default-deny`, `lockgate:...`)."""
        return next((p for p in self.policies if p.id == name), None)


@cache
def schema() -> cedarpy.Schema:
    """The schema that every policy is validated against."""
    text = files("lockgate.policy").joinpath("schema.cedarschema").read_text(encoding="utf-8")
    return cedarpy.Schema.from_str(text)


def column_id(datastore: str, column: str) -> str:
    """The Cedar id of a classified column: `orders.public.customers.email`."""
    return f"{datastore}.{column}"


def load(
    paths: Sequence[str | Path],
    classification: Classification,
    datastores: Mapping[str, str],
    *,
    epoch: int,
    groups: Collection[str] | None = None,
) -> Bundle:
    """Read, parse and validate `*.cedar` in `paths` (files or folders). Raises BundleError `FILE:LINE: what`.

    `groups` are those that identities.yaml defines, for warnings; None when they are not known here.
    """
    _distinct_columns(classification)
    found = source.find(paths)
    pieces = source.read(found)
    if not pieces:
        places = ", ".join(map(str, paths)) or "(no path is configured)"
        raise BundleError(f"{places}:1: there is no policy, so everything would be denied")
    rules = schema()
    policies: list[Policy] = []
    mentioned: set[str] = set()
    warnings: list[str] = _places(paths, found)
    taken: dict[str, Policy] = {}
    named: dict[str, tuple[Named, ...]] = {}
    numbers: set[str] = set()
    for piece in pieces:
        template = _parse(piece, rules)
        policy = describe(piece, template.effect, lint.actions(template), template.annotations)
        if policy.id in taken:
            raise BundleError(
                f"{policy.where}: the id {policy.id!r} is taken by {taken[policy.id].where}: give it an @id of its own"
            )
        taken[policy.id] = policy
        policies.append(policy)
        mentioned |= lint.attributes(template)
        warnings += lint.check_words(template, policy.where, sql=not lint.only_keys(template, datastores))
        named[policy.id] = patterns.named(template, policy, datastores)
        numbers |= databases.named(template)
        warnings += lint.check_stores(template, policy.where, datastores)
        warnings += _undefined(template, policy, classification, datastores, groups)
    warnings += _whole(policies, pieces[0].path)
    together = list(zip(policies, pieces, strict=True))
    naming = [(policy, named[policy.id]) for policy in policies]
    collected = patterns.collected(naming)
    return Bundle(
        epoch,
        _rules(together),
        _rules([(policy, piece) for policy, piece in together if policy.effect == "permit"]),
        frozenset(mentioned),
        rules,
        dict(datastores),
        classification,
        tuple(warnings),
        databases.everywhere(numbers, f"{pieces[0].path}:1"),
        named,
        collected,
        {(store, kind): patterns.whole(naming, store, kind, every) for (store, kind), every in collected.items()},
    )


def configured(settings: config.AgentFile, *, epoch: int, shadow: bool = False) -> Bundle:
    """The bundle that agent.yaml asks for, or with `shadow` the one that it has tried beside it.

    Raises BundleError, and ConfigError for classification and identities.
    """
    datastores = {store.name: store.protocol for store in settings.datastores}
    classification = config.load_classification(settings.classify, datastores)
    identities = config.load_identities(settings.identities)
    # where nobody is named yet, nor are groups: then those of a policy are no mistake
    groups = {group for identity in identities for group in identity.groups} if identities else None
    paths = settings.shadow if shadow else settings.policies
    return load(paths, classification, datastores, epoch=epoch, groups=groups)


def _rules(together: Sequence[tuple[Policy, Piece]]) -> Rules:
    text = "\n".join(piece.text for _, piece in together)
    return Rules(tuple(policy for policy, _ in together), cedarpy.PolicySet.from_str(text))


def _parse(piece: Piece, rules: cedarpy.Schema) -> pst.Template:
    """One piece as one validated policy. Raises BundleError."""
    try:
        parsed = cedarpy.policies_to_pst(piece.text)
    except ValueError as error:
        raise BundleError(f"{piece.where}: {error}") from None
    if parsed.templates:
        raise BundleError(f"{piece.where}: a template (?principal, ?resource) decides nothing: write the policy out")
    if list(parsed.static_policies) != ["policy0"]:
        raise BundleError(f"{piece.where}: not one policy up to its `;`")
    result = cedarpy.validate_policies(piece.text, rules)
    if not result.validation_passed:
        messages = dict.fromkeys(e.error.removeprefix("for policy `policy0`, ") for e in result.errors)
        raise BundleError(f"{piece.where}: {'; '.join(messages)}")
    return parsed.static_policies["policy0"]


def _distinct_columns(classification: Classification) -> None:
    """A datastore named `a.b` and one named `a` could name the same column id: two columns with one set of tags."""
    count = Counter(column_id(store, column) for store, columns in classification.items() for column in columns)
    for name, times in count.items():
        if times > 1:
            raise BundleError(f"classification:1: {name!r} names columns of two datastores: rename a datastore")


def _places(paths: Sequence[str | Path], found: Sequence[Path]) -> list[str]:
    """Warnings about files: policies in sub-folders are not read, and a file anyone may write is anyone's policy."""
    warnings: list[str] = []
    for path in map(Path, paths):
        if path.is_dir():
            deeper = sorted(p for p in path.glob("*/*.cedar") if not p.parent.name.startswith("."))
            warnings += [f"{p}:1: not read: sub-folders have to be named in `policies` themselves" for p in deeper]
    warnings += [f"{p}:1: every user of this host may write this file" for p in found if p.stat().st_mode & 0o002]
    return warnings


def _undefined(
    template: pst.Template,
    policy: Policy,
    classification: Classification,
    datastores: Mapping[str, str],
    groups: Collection[str] | None,
) -> list[str]:
    """Warnings for names that nobody defines: the policy is valid and never matches."""
    defined: dict[str, Collection[str]] = {
        "Datastore": datastores,
        "Tag": {tag for columns in classification.values() for tags in columns.values() for tag in tags},
        "Column": {column_id(store, column) for store, columns in classification.items() for column in columns},
    }
    if groups is not None:
        defined["Group"] = groups
    names = lint.named(template) | {("Group", group) for group in policy.approvers}
    return [
        f'{policy.where}: nothing defines {kind}::"{name}"'
        for kind, name in sorted(names)
        if kind in defined and name not in defined[kind]
    ]


def _whole(policies: Sequence[Policy], first: Path) -> list[str]:
    """Warnings about the set as a whole: a question that is never answered yes, or never asked."""

    def permits(action: str) -> bool:
        return any(p.effect == "permit" and (not p.actions or action in p.actions) for p in policies)

    def forbidding(*actions: str) -> list[Policy]:
        return [p for p in policies if p.effect == "forbid" and p.actions & set(actions)]

    warnings = [
        f"{first}:1: no policy permits {action}: every statement will be denied"
        for action in ("execute", "execute_alone")
        if not permits(action)
    ]
    if any(p.approvers for p in policies) and not permits("approve"):
        warnings.append(f"{first}:1: statements are held and no policy permits approve: every hold will time out")
    if permits("reveal") and not any(
        p.effect == "forbid" and (not p.actions or "reveal" in p.actions) for p in policies
    ):
        warnings += [
            f"{p.where}: only columns that are masked are asked about, and no policy masks any"
            for p in forbidding("infer", "infer_equal")
        ]
    warnings += [
        f"{p.where}: this permit changes nothing: {', '.join(sorted(p.actions))} is permitted unless a forbid says no"
        for p in policies
        if p.effect == "permit" and p.actions and p.actions <= UNLESS_FORBIDDEN
    ]
    return warnings
