"""The protocols there are. One is added by a folder in each of wire, understand and proxy, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lockgate.proxy.postgresql.store import PostgresStore
from lockgate.proxy.redis.store import RedisStore
from lockgate.proxy.store import Store

PROTOCOLS: Final[Mapping[str, type[Store]]] = {"postgresql": PostgresStore, "redis": RedisStore}
"""`protocol` of a datastore in agent.yaml -> what it is to the agent."""
