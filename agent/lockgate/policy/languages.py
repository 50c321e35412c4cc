"""What reads the statements of `policy test` and `policy explain`: a line for each protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from lockgate import config
from lockgate.policy.commands import CommandLines
from lockgate.policy.trial import Understanding
from lockgate.understand import postgresql

LANGUAGES: Final[Mapping[str, Callable[[config.Datastore], Understanding]]] = {
    "postgresql": lambda _: postgresql.Understanding(),
    "redis": lambda store: CommandLines(store.scripts),
}


def languages(datastores: Iterable[config.Datastore]) -> Callable[[str], Understanding]:
    """What reads the statements of a datastore, by its name. What is said of one that isn't there is read as SQL: it
    is denied whatever it says."""
    found = {store.name: LANGUAGES[store.protocol](store) for store in datastores}
    unknown = postgresql.Understanding()
    return lambda datastore: found.get(datastore, unknown)
