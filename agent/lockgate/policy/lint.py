"""What Cedar's validator can't see: words inside strings, and names that nobody defines.

The schema knows that `context.effects` is a set of strings; that "wriet" is not one of them only Lockgate knows. A
forbid on an effect that can't occur never forbids, so that is an error; a group without members yet is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from cedarpy import pst

from lockgate.masking.detectors import KINDS
from lockgate.policy.source import BundleError
from lockgate.values.protocol import by_pattern
from lockgate.values.statement import Effect
from lockgate.values.use import Use

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

WHOLE = "*"
"""Stands for every attribute of `context`, where a policy takes it as a whole."""

ESTIMATE = "estimated_rows"
"""The attribute of `context` that is absent where the datastore can't tell."""

_FIELDS: dict[type, tuple[str, ...]] = {}

_COMPARISONS = frozenset(("eq", "not_eq", "contains", "contains_all", "contains_any"))
_NESTING = frozenset(("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"))
"""Kinds that can stand inside a statement of another kind: in WITH, EXPLAIN ANALYZE, PREPARE, COPY (...) TO. The
statement has both kinds, but for a query inside, which gives it none."""

_WORDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "effects": ("an effect", tuple(Effect)),
    "uses": ("a use", tuple(Use)),
    "weekday": ("a day of the week", WEEKDAYS),
}
"""Attribute of `context` -> what its words are called, and all that there are."""


def check_words(template: pst.Template, where: str, *, sql: bool = True) -> tuple[str, ...]:
    """Warnings about one policy's words. Raises BundleError for an effect, use, day or detector that does not exist.

    `sql` is False where statements have no relations, nor others inside them.
    """
    for kind, name in sorted(named(template)):
        if kind == "Detector" and name not in KINDS:
            raise BundleError(f"{where}: nothing detects {name!r} (there are {', '.join(KINDS)})")
    warnings: list[str] = []
    for attribute, word, exact in sorted(_words(template)):
        if attribute in _WORDS and word not in _WORDS[attribute][1]:
            called, there_are = _WORDS[attribute]
            raise BundleError(f"{where}: {word!r} is not {called} (they are {', '.join(there_are)})")
        if attribute == "categories" and not (word.islower() and word.isalnum()):
            raise BundleError(f"{where}: {word!r} is not a category (they are written as in `dangerous`, without @)")
        if attribute == "kinds" and word != word.upper():
            warnings.append(f"{where}: {word!r} is no statement's kind: kinds are in capitals")
        elif sql and attribute == "kinds" and (word == "SELECT" or (word in _NESTING and exact)):
            warnings.append(
                f"{where}: the kind {word!r} can be walked around: inside WITH, EXPLAIN or PREPARE it is not alone "
                "(contains() finds all kinds but SELECT, context.effects holds whatever it stands in)"
            )
    spellings = _spellings(template, where) if sql else ()
    return (*warnings, *spellings, *_without_estimate(template, where))


def check_stores(template: pst.Template, where: str, datastores: Mapping[str, str]) -> list[str]:
    """Warnings where a policy on statements means less than all that happens in a datastore that has keys."""
    meant = actions(template)
    if meant and meant.isdisjoint(("execute", "execute_alone")):
        return []
    return [
        f'{where}: {name} has keys: `resource == Datastore::"{name}"` is true of commands that touch none of them only '
        f'(PING). `in` means them too; `resource is Datastore in Datastore::"{name}"` says that they are not meant'
        for name in sorted(set(_equalled((template.resource, template.clauses))))
        if by_pattern(datastores.get(name))
    ]


def _equalled(node: object) -> Iterator[str]:
    """The names of the datastores that something is compared with, but for `in`."""
    if isinstance(node, pst.EntityUid):
        if str(node.type) == "Datastore":
            yield node.id
    elif isinstance(node, pst.ScopeIn | pst.ScopeIsIn | pst.Is) or (isinstance(node, pst.BinaryOp) and node.op == "in"):
        return
    else:
        for part in parts(node):
            yield from _equalled(part)


def only_keys(template: pst.Template, datastores: Mapping[str, str]) -> bool:
    """Whether the policy's scope is within a datastore that has keys."""
    if not isinstance(template.resource, pst.ScopeIn | pst.ScopeIsIn | pst.ScopeEq):
        return False
    return any(
        str(uid.type) in ("Keys", "Channels") or (str(uid.type) == "Datastore" and by_pattern(datastores.get(uid.id)))
        for uid in pst.entity_uids(template.resource)
    )


def _spellings(template: pst.Template, where: str) -> list[str]:
    """Warnings about a forbid on a relation by one of its names: statements may use another."""
    if str(template.effect) != "forbid":
        return []
    words = {word for attribute, word, _ in _words(template) if attribute == "objects" and not _is_no_relation(word)}
    bare = {word.rpartition(".")[2] for word in words}
    return [
        f"{where}: statements may also write {name!r} with its schema or without: name both "
        "(and a view over it is another object)"
        for name in sorted(bare)
        if name not in words or not any(word.endswith(f".{name}") for word in words)
    ]


def _is_no_relation(word: str) -> bool:
    return ":" in word or word == "program"  # role:bob, COPY ... PROGRAM


def _without_estimate(template: pst.Template, where: str) -> list[str]:
    """A warning where a statement passes because nobody could estimate its rows."""
    lenient = pst.When if str(template.effect) == "forbid" else pst.Unless
    if any(
        isinstance(clause, lenient) and ESTIMATE in mentioned(clause) and not _asks_for_none(clause)
        for clause in template.clauses
    ):
        return [
            f"{where}: a statement whose rows can't be estimated passes (EXECUTE, EXPLAIN ANALYZE, several at once): "
            f"add !(context has {ESTIMATE})"
        ]
    return []


def _asks_for_none(node: object) -> bool:
    """Whether it says what happens when there is no estimate."""
    if isinstance(node, pst.IfThenElse):
        return True
    if isinstance(node, pst.UnaryOp) and node.op == "not":
        return ESTIMATE in mentioned(node)
    return any(map(_asks_for_none, parts(node)))


def named(template: pst.Template) -> frozenset[tuple[str, str]]:
    """Every (entity type, id) that the policy names, in its scope or its conditions."""
    return frozenset((str(uid.type), uid.id) for uid in pst.entity_uids(template))


def actions(template: pst.Template) -> frozenset[str]:
    """The ids of the actions its scope names; empty for `action` alone, which is all of them."""
    match template.action:
        case pst.ActionEq(entity=entity):
            return frozenset((entity.id,))
        case pst.ActionIn(entities=entities):
            return frozenset(entity.id for entity in entities)
        case _:
            return frozenset()


def attributes(template: pst.Template) -> frozenset[str]:
    """The attributes of `context` that its conditions look at, WHOLE among them where one takes all of it."""
    return frozenset(mentioned(template.clauses))


def mentioned(node: object) -> Iterator[str]:
    """The same of any part of a policy, again where it is looked at again."""
    if node == pst.Var("context"):
        yield WHOLE
    elif isinstance(node, pst.GetAttr) and node.base == pst.Var("context"):
        yield node.attr
    elif isinstance(node, pst.HasAttr) and node.base == pst.Var("context"):
        yield node.attrs[0]
    else:
        for part in parts(node):
            yield from mentioned(part)


def parts(node: object) -> Iterator[object]:
    """What stands directly inside a node of a policy's tree."""
    if isinstance(node, tuple):
        yield from node
    elif isinstance(node, dict):
        yield from node.values()
    elif not isinstance(node, type):
        yield from [getattr(node, name) for name in _names_of_fields(type(node))]


def _names_of_fields(kind: type) -> tuple[str, ...]:
    # told once: a policy's tree has some hundred nodes of a dozen types, and is looked at often
    names = _FIELDS.get(kind)
    if names is None:
        names = _FIELDS[kind] = tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()
    return names


def _words(node: object) -> Iterator[tuple[str, str, bool]]:
    """(attribute, string, whether nothing else may be there) for every comparison of `context.ATTRIBUTE` with strings.

    Cedar bounds the depth to 100.
    """
    if isinstance(node, pst.BinaryOp) and node.op in _COMPARISONS:
        for side, other in ((node.left, node.right), (node.right, node.left)):
            if isinstance(side, pst.GetAttr) and side.base == pst.Var("context"):
                literals = other.elements if isinstance(other, pst.Set) else (other,)
                exact = node.op in ("eq", "not_eq")
                yield from ((side.attr, word.value, exact) for word in literals if isinstance(word, pst.StringLit))
    for part in parts(node):
        yield from _words(part)
