"""Who is asking: what the kernel saw, what the host knows of it, and whom the company calls it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An IP address in text (never a host name) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Origin:
    """What the kernel recorded of the process that called connect().

    `start_ns` is the thread group leader's `start_boottime` in nanoseconds since boot and `exec_id` its
    `self_exec_id`: together with `pid` (in the initial pid namespace) they name one program image, so a reused pid
    or an exec is a different origin. `destination` is the address the application dialled.
    """

    pid: int
    start_ns: int
    exec_id: int
    uid: int
    gid: int
    cgroup_id: int
    socket_cgroup_id: int
    netns_cookie: int
    comm: str
    destination: Endpoint


@dataclass(frozen=True, slots=True)
class Workload:
    """What the host knows of an origin. `cgroup` is its cgroup v2 path below the mount, `start_ns` as in Origin.

    `unit`, `container` and `pod` are qualified (`user@1000.service/foo.service`) where a user's own manager or a
    delegated unit named them: such a name is the user's choice and proves nothing about the host.
    `exe_is_local` is True when `exe` names the same file for the agent: in a container any file can have any path.
    """

    pid: int
    start_ns: int
    exec_id: int
    exe: str
    cmdline: tuple[str, ...]
    uid: int
    user: str
    cgroup: str
    unit: str | None = None
    container: str | None = None
    runtime: str | None = None
    image: str | None = None
    pod: str | None = None
    exe_is_local: bool = False


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom policy speaks of. `person` is the same for all accounts of one human, None for a service."""

    name: str
    person: str | None
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claims:
    """The verified claims of a token: a decision is taken on these alone. Times in seconds since the epoch."""

    token: str
    """The token's id (`jti`), never the token itself."""
    principal: str
    person: str | None
    groups: tuple[str, ...]
    host: str
    issued_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and where: what everything a connection asks is judged on, besides the statement.

    `datastore` is the name in agent.yaml, `database` and `user` are the datastore's own. `key` tells two askers apart
    for a cache; a renewed token is the same asker.
    """

    claims: Claims
    datastore: str
    database: str
    user: str
    key: tuple[object, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        claims = self.claims
        key = (claims.principal, claims.person, claims.groups, self.datastore, self.database, self.user)
        object.__setattr__(self, "key", key)
