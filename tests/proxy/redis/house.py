"""The house with a real Redis behind it: clients are redis-py over the listener's port, or bytes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar, Protocol

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from lockgate.config import Datastore
from lockgate.masking import RootKey
from lockgate.proxy.listener import Listener
from lockgate.proxy.redis.commands import Commands
from lockgate.proxy.redis.store import RedisStore
from lockgate.values.identity import Endpoint
from tests.proxy.house import House

POLICIES = """
@id("work")
permit (principal in Group::"engineers", action == Action::"execute", resource in Datastore::"orders");
@id("no-flush")
@reason("nobody empties a store")
forbid (principal, action == Action::"execute", resource) when {
    context.kinds.contains("FLUSHALL") || context.kinds.contains("FLUSHDB") };
@id("frozen")
forbid (principal, action == Action::"execute", resource in Keys::"orders/frozen:*")
when { context.effects.contains("write") };
@id("alone")
permit (principal, action in [Action::"execute_alone", Action::"reveal"], resource);
@id("two-for-money") @approvers("dba") @timeout("20s")
forbid (principal, action == Action::"execute_alone", resource in Keys::"orders/money:*")
when { context.effects.contains("write") };
@id("pii") @mask("redact")
forbid (principal, action == Action::"reveal", resource in Tag::"pii");
@id("dbas-approve")
permit (principal in Group::"dba", action == Action::"approve", resource);
"""
CLASSIFICATION = {"secret:*": ("pii",), "profile:*#email": ("pii",)}
MARKER = "s3cret"


class Server(Protocol):
    """What listens on a port of 127.0.0.1."""

    port: int


def password_file(folder: Path, text: str) -> str:
    """A file as `password_file` of a credential wants it."""
    path = folder / "password"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


class RedisHouse(House):
    """`async with RedisHouse(folder, server) as house:` listens for clients of one datastore, `orders`."""

    protocol: ClassVar = "redis"

    def __init__(self, folder: Path, server: Server, *, policies: str = POLICIES, **more: Any) -> None:
        more.setdefault("classification", CLASSIFICATION)
        super().__init__(folder, policies=policies, upstream=Endpoint("127.0.0.1", server.port), **more)
        self.redis = server
        self.led: set[tuple[str, int]] = set()
        """Where connections would come to the agent."""

    def store(self, name: str = "orders") -> RedisStore:
        settings = Datastore(
            name=name, protocol="redis", addresses=["127.0.0.1:6379"], **{"upstream_tls": "disable", **self.datastore}
        )
        store = RedisStore(
            settings, self.policies, self.limits, keys=RootKey(bytes(32)).keys(settings.name), shadow=self.shadow,
            leads=lambda host, port: (host, port) in self.led,
        )  # fmt: skip
        store.reclassify(self.classification.get(name, {}))
        return store

    @property
    def told(self) -> list[str]:
        """The texts of all that was let pass or refused, in order."""
        return [r["statement"] for r in self.records(type="statement", phase="begin")]

    @property
    def commands(self) -> Commands:
        """What is known of its servers' commands."""
        store = self.listener.store
        assert isinstance(store, RedisStore)
        return store.commands

    def connect(self, listener: Listener | None = None, **options: Any) -> Any:
        """An ordinary client."""
        client = redis.asyncio.Redis(
            host="127.0.0.1", port=(listener or self.listener).port, single_connection_client=True,
            retry=Retry(NoBackoff(), 0), **{"decode_responses": True, "socket_timeout": 20, **options},
        )  # fmt: skip
        self.stack.push_async_callback(client.aclose)
        return client

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client that speaks bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.listener.port)
        self.stack.callback(writer.close)
        return reader, writer
