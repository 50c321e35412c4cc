"""A scratch Redis server, or a cluster of three: its own folder, its own ports, gone when its `with` ends.

    with Redis() as server:                       # 127.0.0.1:server.port, [::1] too; nothing is written to disk
        server.ask("SET", "session:1", "a")       # straight to the server (its unix socket), past whatever is tested
        with server.client() as client: ...       # likewise, as redis-py: bytes, with everything permitted
        async with server.asyncio() as client: ...
        with server.watched() as seen: ...        # MONITOR: `seen.commands` ran meanwhile; not what `ask` did
        assert server.calls("GET") == 0           # how often it ran (INFO commandstats); all commands: `server.stats()`

    Redis(password="s")                           # requirepass: AUTH s; `ask` and the like need none
    Redis(users={"app": "on >pw ~app:* +@read"})  # an ACL user each, in users.acl (ACL SAVE and LOAD work); `default`
                                                  # is as Redis has it unless it is named or there is a password
    Redis({"maxmemory": "10mb", "port": "0"})     # any directive of redis.conf
    Redis(release=VALKEY)                         # not Debian's: one of tests.support.redis_servers
    Redis(tls=signer.certify("db", "127.0.0.1"))  # server.tls_port; `authority=signer.file`: clients show certificates
    with Cluster() as cluster: ...                # three masters that announce 127.0.0.1: cluster.nodes,
                                                  # .ask(..., key=), .client(), .asyncio(), .owner(key), .migrating(key)

`server.stop()`, `.kill()` and `.start()` are for what happens when it goes and comes, `.renew()` for a new one in its
place; `async with` works likewise.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster
from redis.backoff import NoBackoff
from redis.retry import Retry

from lockgate.demo import redis as demo
from tests.support.postgres import free_port
from tests.support.redis_servers import DEBIAN, Laid, Release

STOP_SECONDS: Final = 20.0
CLUSTER_SECONDS: Final = 60.0
SLOTS: Final = 16384

_KEEPER: Final = "lockgate-tests"
"""The ACL user that `ask` and the like are where the default one may not do everything; only there is one."""


class Redis(demo.Redis):
    """`with Redis() as server:` as the module says. `parent` is where its folder is made."""

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        release: Release = DEBIAN,
        password: str | None = None,
        users: Mapping[str, str] | None = None,
        tls: tuple[Path, Path] | None = None,
        authority: Path | None = None,
        parent: Path | None = None,
    ) -> None:
        super().__init__(settings, parent=parent)
        self.release = release
        self._laid: Laid | None = None
        self.tls_port = free_port() if tls else 0
        self.password = password
        self.users = dict(users or {})
        self._keeper = bool(password or users)
        self._tls = tls
        self._authority = authority

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def directives(self) -> dict[str, str]:
        """See `lockgate.demo.redis.Redis`."""
        lines = super().directives()
        if self._tls is not None:
            for name, source in zip(("cert", "key"), self._tls, strict=True):
                (self.folder / f"tls.{name}").write_bytes(source.read_bytes())
                lines[f"tls-{name}-file"] = str(self.folder / f"tls.{name}")
            (self.folder / "tls.key").chmod(0o600)
            lines |= {"tls-port": str(self.tls_port), "tls-auth-clients": "yes" if self._authority else "no"}
            # it wants to know an authority even where it asks nobody for a certificate
            lines["tls-ca-cert-file"] = str(self.folder / "tls.ca")
            (self.folder / "tls.ca").write_bytes((self._authority or self._tls[0]).read_bytes())
        if self._keeper:
            default = "on nopass" if self.password is None else f"on >{self.password}"
            users = {"default": f"{default} ~* &* +@all", _KEEPER: "on nopass ~* &* +@all"} | self.users
            (self.folder / "users.acl").write_text("".join(f"user {name} {rules}\n" for name, rules in users.items()))
            lines["aclfile"] = str(self.folder / "users.acl")
        if self._laid is not None and self._laid.modules:
            lines["include"] = str(self.folder / "modules.conf")
            (self.folder / "modules.conf").write_text("".join(f"loadmodule {path}\n" for path in self._laid.modules))
        return lines

    def configure(self) -> None:
        """See `lockgate.demo.redis.Redis`."""
        if self._laid is None:
            (self.folder / "release").mkdir()
            self._laid = self.release.laid(self.folder / "release")
            self._server = str(self._laid.program)
        super().configure()

    def _answers(self) -> bool:
        try:
            return bool(self.ask("PING") == b"PONG")
        except (redis.ConnectionError, redis.BusyLoadingError):
            return False

    def stop(self) -> None:
        """In order, as a service manager does it."""
        self._end(signal.SIGTERM)

    def renew(self) -> None:
        """A server with nothing in it, set up as in the beginning, whatever became of the one there was."""
        self.kill()
        self.configure()
        self.start()

    def _options(self) -> dict[str, Any]:
        login = {"username": _KEEPER, "password": "-"} if self._keeper else {}
        return {"unix_socket_path": str(self.socket), **login}

    def client(self, **options: Any) -> redis.Redis:
        """redis-py straight to the server, allowed everything. To be closed (it is a context manager)."""
        return redis.Redis(**{**self._options(), "retry": Retry(NoBackoff(), 0), **options})

    def asyncio(self, **options: Any) -> redis.asyncio.Redis:
        """The same of redis-py's asyncio half."""
        return redis.asyncio.Redis(**{**self._options(), **options})

    def ask(self, *command: str | bytes | int | float, database: int = 0) -> Any:
        """The answer of one command, straight from the server, as it came (bytes). Raises redis.ResponseError."""
        with self.client(db=database) as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)

    def stats(self, *, refused: bool = False) -> dict[str, int]:
        """How often each command ran since the last `CONFIG RESETSTAT`: capitals, `CONFIG SET` with its sub-command.

        Those count that a script runs; those that the server refused before they ran only if `refused` is asked for.
        """
        return counted(self.ask("INFO", "commandstats"), refused=refused)

    def calls(self, name: str) -> int:
        """How often this command ran since the server started: `GET`, `CONFIG SET`."""
        return self.stats().get(name, 0)

    @contextmanager
    def watched(self) -> Iterator[Watched]:
        """What others have the server run while the block does, by MONITOR."""
        with self.client() as client, client.monitor() as monitor:
            watched = Watched(self)
            ended = threading.Event()

            def listen() -> None:
                for told in monitor.listen():
                    if told["command"] == f"PING {watched.end}":
                        ended.set()
                        return
                    if told["client_type"] != "unix":
                        watched.commands.append(told["command"])

            listener = threading.Thread(target=listen, daemon=True)
            listener.start()
            try:
                yield watched
            finally:
                self.ask("PING", watched.end)
                if not ended.wait(STOP_SECONDS):
                    raise RuntimeError("MONITOR did not tell the end")
                listener.join()


def counted(told: bytes, *, refused: bool) -> dict[str, int]:
    """What INFO tells of commands, as `Redis.stats` has it."""
    found = {}
    for line in told.decode().splitlines():
        name, _, rest = line.partition(":")
        if name.startswith("cmdstat_"):
            fields = dict(part.split("=", 1) for part in rest.split(","))
            count = int(fields["calls"]) + (int(fields["rejected_calls"]) if refused else 0)
            found[name.removeprefix("cmdstat_").replace("|", " ").upper()] = count
    return found


class Watched:
    """`commands` in the order in which they ran: names as they were sent, arguments separated by a blank."""

    end: Final = "lockgate-tests-end"

    def __init__(self, server: Redis) -> None:
        self.commands: list[str] = []


class Cluster:
    """`with Cluster() as cluster:` gives masters that share all slots among them. `settings` go to each."""

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        nodes: int = 3,
        release: Release = DEBIAN,
        password: str | None = None,
        users: Mapping[str, str] | None = None,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self._buses = [free_port() for _ in range(nodes)]
        self._password = password
        self.nodes = [
            Redis(
                {
                    "cluster-enabled": "yes",
                    "cluster-port": str(bus),
                    "cluster-announce-ip": "127.0.0.1",
                    "cluster-node-timeout": "5000",
                    **({"tls-cluster": "no"} if tls else {}),
                    **(settings or {}),
                },
                release=release,
                password=password,
                users=users,
                tls=tls,
            )
            for bus in self._buses
        ]
        self._stack = ExitStack()

    def __enter__(self) -> Cluster:
        with ExitStack() as stack:
            for node in self.nodes:
                stack.callback(shutil.rmtree, node.folder, ignore_errors=True)
            for node in self.nodes:
                stack.enter_context(node)
            self._meet()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    async def __aenter__(self) -> Cluster:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def _meet(self) -> None:
        edges = [SLOTS * number // len(self.nodes) for number in range(len(self.nodes) + 1)]
        first = self.nodes[0]
        for number, node in enumerate(self.nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.ask("CLUSTER", "ADDSLOTSRANGE", edges[number], edges[number + 1] - 1)
            node.ask("CLUSTER", "MEET", "127.0.0.1", first.port, self._buses[0])
        deadline = time.monotonic() + CLUSTER_SECONDS
        while not all(self._knows_all(node) for node in self.nodes):
            if time.monotonic() > deadline:
                raise RuntimeError("\n".join(node.ask("CLUSTER", "NODES").decode() for node in self.nodes))
            time.sleep(0.05)

    def _knows_all(self, node: Redis) -> bool:
        told = node.ask("CLUSTER", "INFO").decode()
        return "cluster_state:ok" in told and f"cluster_known_nodes:{len(self.nodes)}\r" in told

    def client(self, **options: Any) -> redis.cluster.RedisCluster:
        """redis-py's cluster client by TCP, past the agent as long as its process is not an intercepted one."""
        return redis.cluster.RedisCluster(
            host="127.0.0.1", port=self.nodes[0].port, **{"password": self._password, **options}
        )

    def asyncio(self, **options: Any) -> redis.asyncio.cluster.RedisCluster:
        """The same of redis-py's asyncio half."""
        return redis.asyncio.cluster.RedisCluster(
            host="127.0.0.1", port=self.nodes[0].port, **{"password": self._password, **options}
        )

    def slot(self, key: str | bytes) -> int:
        return int(self.nodes[0].ask("CLUSTER", "KEYSLOT", key))

    def owner(self, key: str | bytes) -> Redis:
        """The node that has the key: all others answer MOVED."""
        slot = self.slot(key)
        for low, high, told, *_ in self.nodes[0].ask("CLUSTER", "SLOTS"):
            if low <= slot <= high:
                return next(node for node in self.nodes if node.port == told[1])
        raise LookupError(f"nobody has slot {slot}")

    def ask(self, *command: str | bytes | int | float, key: str | bytes) -> Any:
        """The answer of one command straight from the node that has `key`."""
        return self.owner(key).ask(*command)

    @contextmanager
    def migrating(self, key: str | bytes) -> Iterator[tuple[Redis, Redis]]:
        """The slot of `key` on its way: (from, to). Until it ends, `from` answers ASK for keys that it doesn't have."""
        slot, source = self.slot(key), self.owner(key)
        target = next(node for node in self.nodes if node is not source)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID"))
        try:
            yield source, target
        finally:
            for node in (source, target):
                node.ask("CLUSTER", "SETSLOT", slot, "STABLE")
