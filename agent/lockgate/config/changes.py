"""What is different in a configuration that is read again while the agent runs, by key: no value is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from lockgate.config.shapes import AgentFile, Datastore

_TAKEN: Final = frozenset(("mode", "client_tls"))
"""Keys of a datastore that are taken while the agent runs."""


def turned(old: AgentFile, new: AgentFile) -> AgentFile:
    """`old` with what can be taken of `new` while the agent runs: the mode of datastores that both have."""
    found = {store.name: store for store in new.datastores}

    def turn(store: Datastore) -> Datastore:
        other = found.get(store.name)
        if other is None:
            return store
        return msgspec.structs.replace(store, mode=other.mode, client_tls=other.client_tls)

    return msgspec.structs.replace(old, datastores=[turn(store) for store in old.datastores])


def left(old: AgentFile, new: AgentFile) -> tuple[str, ...]:
    """The keys of everything else in which the two differ: it needs a restart."""
    before, after = _by_name(old), _by_name(new)
    return tuple(_different(before, after, ""))


def _by_name(settings: AgentFile) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(settings)
    stores = {store["name"]: store for store in plain["datastores"]}
    kept = {name: {k: v for k, v in store.items() if k not in _TAKEN} for name, store in stores.items()}
    return {**plain, "datastores": kept}


def _different(before: Any, after: Any, key: str) -> Iterator[str]:
    if before == after:
        return
    if not (isinstance(before, dict) and isinstance(after, dict)):
        yield key
        return
    for name in dict.fromkeys((*before, *after)):
        way = f"{key}.{name}" if key else str(name)
        if name in before and name in after:
            yield from _different(before[name], after[name], way)
        else:
            yield way
