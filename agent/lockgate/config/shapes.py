"""The shapes of the configuration files. What a shape alone can't say, `problem` and lockgate.config.files do."""

from __future__ import annotations

import re
import socket
from typing import Annotated, Final, Literal

import msgspec

from lockgate.config.credentials import Credential, Problem, Role
from lockgate.values.protocol import NATURES, Nature, Protocol

RESERVED: Final = ("host:", "lockgate:")
"""How names that only Lockgate itself gives begin: no principal, person or group of identities.yaml may."""

UNMATCHED: Final = "unmatched"
"""The principal of every process that no entry selects."""

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")]
Path = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
Group = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{40}\Z")]
"""A SHA-1, as SCRIPT LOAD answers it."""

ABSOLUTE: Final = r"/|(?:/(?!\.{1,2}(?:/|\Z))[^/]+)+/?"
"""A path from the root, as a pattern: no empty component, no `.` and no `..`."""
_OWNER: Final = r"(?:[^/\s]+/)?"
_FORMS: Final = {
    "unit": (
        re.compile(rf"{_OWNER}[A-Za-z0-9:_.\\@-]+\.(?:service|scope|socket|mount|swap)"),
        "a unit's full name, such as billing.service or user@1000.service/a.service",
    ),
    "container": (re.compile(rf"{_OWNER}[0-9a-f]{{64}}"), "a container's full id (64 hexadecimal digits)"),
    "image": (re.compile(r"\S+"), "the name of an image"),
    "pod": (re.compile(rf"{_OWNER}[0-9a-f]+(?:[-_][0-9a-f]+)*"), "a pod's uid"),
    "user": (re.compile(r"[^\s:]+"), "the name or number of a user"),
    "exe": (re.compile(ABSOLUTE), "an absolute path"),
    "cgroup": (
        re.compile(r"/|(?:/(?!\.{1,2}(?:/|\Z))[^/*]+)+(?:/|/\*\*)?|/\*\*"),
        "an absolute cgroup v2 path, with or without /** behind it",
    ),
}


def host_name(called: str | None = None) -> str:
    """What this host calls itself (or `called`), made to fit `Name`: what doesn't is `-`."""
    fitting = re.sub("[^A-Za-z0-9_.-]", "-", socket.gethostname() if called is None else called)
    return fitting.lstrip("_.-")[:63] or "host"


class Agent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: Name = msgspec.field(default_factory=host_name)
    """What records call this host; its own name unless given."""
    state_dir: Path = "/var/lib/lockgate"
    run_dir: Path = "/run/lockgate"
    metrics: str | None = None


class Intercept(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`cgroup` is a cgroup v2 path whose processes are intercepted; the agent itself lives in `agent_cgroup`.

    `agent_cgroup` defaults to a sibling of `cgroup` named `agent` (`/lockgate-agent` when `cgroup` is the root).
    """

    cgroup: str = "/"
    mechanism: Literal["ebpf"] = "ebpf"
    agent_cgroup: str | None = None

    @property
    def own_cgroup(self) -> str:
        if self.agent_cgroup is not None:
            return self.agent_cgroup
        path = self.cgroup.rstrip("/")
        return f"{path.rpartition('/')[0]}/agent" if path else "/lockgate-agent"


class CatalogReader(Credential, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The credential of the agent's own reader: of PostgreSQL's catalog, of the commands that a Redis server has."""


SCRIPTS: Final = 10_000
"""Reviewed scripts of one datastore: 400 kB of configuration."""


class Datastore(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: Name
    protocol: Protocol
    addresses: Annotated[list[str], msgspec.Meta(min_length=1)]
    catalog: CatalogReader | None = None
    """Whom the agent reads the datastore's own description as. Of PostgreSQL: relations, needed to tell columns. Of
    Redis: what commands it has (COMMAND), asked for where one isn't built in, and the code of functions that are held
    (FUNCTION LIST); may be left out (`credential` is then asked as, or nobody)."""
    mode: Literal["enforce", "observe"] = "enforce"
    client_tls: Literal["offer", "disable", "pass"] | None = None
    """Whether clients that ask for TLS get it. Their hop doesn't leave the host. See `tls_of_clients`."""
    upstream_tls: Literal["disable", "prefer", "require", "verify-full"] = "prefer"
    """libpq's words; `require` with `upstream_ca` is its verify-ca. `prefer` asks a PostgreSQL server. A Redis server
    can't be asked, so it is spoken to in TLS if and only if the client came in TLS."""
    upstream_ca: Path | None = None
    """Whom certificates of the datastore may be signed by; None: the system's store (`verify-full`), or anybody."""
    upstream_certificate: Path | None = None
    upstream_key: Path | None = None
    credential: Credential | None = None
    """Whom the agent is upstream, whoever the client says it is; None: clients authenticate themselves."""
    roles: list[Role] = []
    """The same by group of the principal: the first that fits, before `credential`."""
    channel_binding: Literal["prefer", "require", "disable"] = "prefer"
    """libpq's words, for the agent's own authentication with SCRAM inside TLS. Of PostgreSQL only."""
    scripts: Annotated[list[Digest], msgspec.Meta(max_length=SCRIPTS)] = []
    """Scripts that somebody read: they touch the keys that are declared for them, and no others. Of Redis only."""

    @property
    def tls_of_clients(self) -> Literal["offer", "disable", "pass"]:
        """`client_tls`, or what it is unless given: in mode observe the datastore's own TLS (`pass`), which no client
        can tell from what it had without Lockgate, unless the agent is to log in; else the agent's."""
        if self.client_tls is not None:
            return self.client_tls
        return "pass" if self.mode == "observe" and not self.logs_in else "offer"

    @property
    def nature(self) -> Nature:
        """What there is to know of its protocol."""
        return NATURES[self.protocol]

    @property
    def logs_in(self) -> bool:
        """Whether the agent authenticates in its clients' place."""
        return self.holds_credential and (self.mode == "enforce" or self.nature.stands_in)

    @property
    def holds_credential(self) -> bool:
        """Whether the agent could."""
        return self.credential is not None or bool(self.roles)

    @property
    def caution(self) -> str | None:
        """What to know of clients where the agent has a credential and only observes; None where there is nothing."""
        if self.mode == "enforce" or not self.holds_credential:
            return None
        if self.logs_in:
            return (
                "whoever has a role there is let in with the agent's credential, and nothing that it may do is denied"
            )
        return (
            "the agent logs nobody in while it only observes: new connections of clients that have no password of "
            "their own are refused by the datastore"
        )

    @property
    def verified(self) -> bool:
        """Whether a server has to show a certificate that is checked, so that nobody else can stand in for it."""
        return self.upstream_tls == "verify-full" or self.upstream_ca is not None

    def credentials(self) -> list[tuple[tuple[str | int, ...], Credential]]:
        """Every credential of this datastore's, with the way to it."""
        named: list[tuple[tuple[str | int, ...], Credential | None]] = [
            (("catalog",), self.catalog),
            (("credential",), self.credential),
        ]
        named += [(("roles", index, "credential"), role.credential) for index, role in enumerate(self.roles)]
        return [(where, credential) for where, credential in named if credential is not None]


class CollectorClient(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    address: str
    api: str


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every bound of the data path. Sizes in bytes, times in seconds."""

    message_bytes: Count = 16 * 1024 * 1024
    """A client message (a statement, a row of COPY in). PostgreSQL itself takes 1 GiB."""
    row_bytes: Count = 64 * 1024 * 1024
    """A row that has to be held in memory because a column in it is masked."""
    pipeline_bytes: Count = 1024 * 1024
    """What a client may send behind a held statement before it is no longer read from."""
    held_statements: Count = 1000
    connections: Count = 10000
    statement_cache: Count = 4096
    verdict_cache: Annotated[int, msgspec.Meta(ge=2)] = 16384
    workload_cache: Count = 4096
    connect_seconds: Seconds = 10.0
    startup_seconds: Seconds = 60.0
    drain_seconds: Seconds = 10.0


class SpoolSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`fsync`: `always` before a statement leaves, `interval` every `fsync_seconds`, `never`: when the kernel does."""

    max_bytes: Count = 1024 * 1024 * 1024
    segment_bytes: Count = 16 * 1024 * 1024
    fsync: Literal["always", "interval", "never"] = "interval"
    fsync_seconds: Seconds = 1.0


class Masking(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`key_file` holds the root key of the keyed maskers: the same file on several hosts gives the same tokens.

    None: a key of this host's own, made in its state_dir.
    """

    key_file: Path | None = None


class AgentFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    agent: Agent = msgspec.field(default_factory=Agent)
    intercept: Intercept
    datastores: Annotated[list[Datastore], msgspec.Meta(min_length=1)]
    collector: CollectorClient
    identities: list[Path] = []
    classify: list[Path] = []
    policies: list[Path] = []
    shadow: list[Path] = []
    """Policies that are tried beside those in force: what they would do differently stands in the records."""
    limits: Limits = Limits()
    spool: SpoolSettings = SpoolSettings()
    masking: Masking = Masking()


class Collector(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    listen: str
    http: str
    state_dir: Path = "/var/lib/lockgate-collector"
    auditors: list[str] = msgspec.field(default_factory=lambda: ["security"])
    """Groups whose members may search and read records through the API."""
    hosts: dict[str, str] = {}
    """Host name -> the thumbprint (RFC 7638, base64url) its key must have. A host not named is pinned on first use."""


class CollectorFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    collector: Collector


class Selector(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    unit: str | None = None
    container: str | None = None
    image: str | None = None
    pod: str | None = None
    user: str | Annotated[int, msgspec.Meta(ge=0)] | None = None
    exe: str | None = None
    cgroup: str | None = None

    def problem(self) -> Problem | None:
        """Why this selector would never match, or None when it may stand.

        Nothing here is a pattern: a selector that quietly matches nothing is a rule that quietly isn't there.
        """
        given = {key: str(value) for key in self.__struct_fields__ if (value := getattr(self, key)) is not None}
        if not given:
            return (), f"selects nothing: name at least one of {', '.join(self.__struct_fields__)}"
        for key, value in given.items():
            form, what = _FORMS[key]
            if not form.fullmatch(value):
                return (key,), f"{value!r} is not {what}"
        return None


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    principal: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    when: Selector
    person: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    groups: Annotated[list[Group], msgspec.Meta(max_length=64)] = []

    def problem(self) -> Problem | None:
        """Why this entry can't stand, or None when it may."""
        if self.principal == UNMATCHED:
            return ("principal",), f"{UNMATCHED!r} is what a process is called that no entry selects"
        names = (("principal",), self.principal), (("person",), self.person)
        groups = ((("groups", index), group) for index, group in enumerate(self.groups))
        for where, name in (*names, *groups):
            if name is not None and name.startswith(RESERVED):
                return where, f"{name!r}: names beginning with {' or '.join(RESERVED)} are Lockgate's own"
        if wrong := self.when.problem():
            return ("when", *wrong[0]), wrong[1]
        return None
