"""One typed, validated configuration. Every error names the file, the line and the key.

The shapes are `AgentFile` (agent.yaml) and `CollectorFile` (collector.yaml); unknown keys are errors, so that a
misspelt `mode: enforced` never means "observe".
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import yaml

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]

T = TypeVar("T")


class ConfigError(Exception):
    """A configuration that can't be used. The message reads `FILE:LINE: KEY: what is wrong`."""


class Agent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: Name
    state_dir: str = "/var/lib/lockgate"
    run_dir: str = "/run/lockgate"
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


class CatalogReader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    user: str
    password_file: str | None = None


class Datastore(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: Name
    protocol: Literal["postgresql"]
    addresses: Annotated[list[str], msgspec.Meta(min_length=1)]
    catalog: CatalogReader | None = None
    mode: Literal["enforce", "observe"] = "enforce"
    upstream_tls: Literal["prefer", "disable"] = "prefer"


class CollectorClient(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    address: str
    api: str


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every bound of the data path. Sizes in bytes, times in seconds."""

    message_bytes: int = 16 * 1024 * 1024
    """A client message (a statement, a row of COPY in). PostgreSQL itself takes 1 GiB."""
    row_bytes: int = 64 * 1024 * 1024
    """A row that has to be held in memory because a column in it is masked."""
    pipeline_bytes: int = 1024 * 1024
    """What a client may send behind a held statement before it is no longer read from."""
    held_statements: int = 1000
    connections: int = 10000
    statement_cache: int = 4096
    verdict_cache: int = 16384
    workload_cache: int = 4096
    connect_seconds: float = 10.0
    startup_seconds: float = 60.0
    drain_seconds: float = 10.0


class SpoolSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`fsync`: `always` before a statement leaves, `interval` every `fsync_seconds`, `never`: when the kernel does."""

    max_bytes: int = 1024 * 1024 * 1024
    segment_bytes: int = 16 * 1024 * 1024
    fsync: Literal["always", "interval", "never"] = "interval"
    fsync_seconds: float = 1.0


class AgentFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    agent: Agent
    intercept: Intercept
    datastores: Annotated[list[Datastore], msgspec.Meta(min_length=1)]
    collector: CollectorClient
    identities: list[str] = []
    classify: list[str] = []
    policies: list[str] = []
    limits: Limits = Limits()
    spool: SpoolSettings = SpoolSettings()


class Collector(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    listen: str
    http: str
    state_dir: str = "/var/lib/lockgate-collector"
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

    def problem(self) -> tuple[str, str] | None:
        """(key, what is wrong) of a selector that would never match or always, None when it may stand.

        Nothing here is a pattern: a selector that quietly matches nothing is a rule that quietly isn't there.
        """
        given = [key for key in self.__struct_fields__ if getattr(self, key) is not None]
        if not given:
            return "", f"selects nothing: name at least one of {', '.join(self.__struct_fields__)}"
        for key in given:
            if getattr(self, key) == "":
                return key, "is empty"
        if self.unit is not None and not _UNIT.fullmatch(self.unit):
            return (
                "unit",
                f"{self.unit!r} is not a unit's full name, such as billing.service or user@1000.service/a.service",
            )
        if self.container is not None and not _CONTAINER.fullmatch(self.container):
            return "container", f"{self.container!r} is not a container's full id (64 hexadecimal digits)"
        if self.exe is not None and not _PATH.fullmatch(self.exe):
            return "exe", f"{self.exe!r} is not an absolute path"
        if self.cgroup is not None and not _PATH.fullmatch(self.cgroup.removesuffix("/**") or "/"):
            return "cgroup", f"{self.cgroup!r} is not an absolute path below the cgroup v2 mount"
        return None


RESERVED = ("host:", "lockgate:")
"""How names that only Lockgate itself gives begin: no principal, person or group of identities.yaml may."""

UNMATCHED = "unmatched"
"""The principal of every process that no entry selects."""

_UNIT = re.compile(r"(?:[^/\s]+/)?[^/\s]+\.(?:service|scope|socket|mount|swap)|user@\d+\.service")
_CONTAINER = re.compile(r"(?:[^/\s]+/)?[0-9a-f]{64}")
_PATH = re.compile(r"/|(?:/(?!\.{1,2}(?:/|$))[^/*]+)+/?")


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    principal: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    when: Selector
    person: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    groups: Annotated[list[Annotated[str, msgspec.Meta(max_length=128)]], msgspec.Meta(max_length=64)] = []

    def problem(self) -> tuple[str, str] | None:
        """(key, what is wrong) of an entry that can't stand, None when it may."""
        if self.principal == UNMATCHED:
            return "principal", f"{UNMATCHED!r} is what a process is called that no entry selects"
        names = [("principal", self.principal), ("person", self.person)]
        for key, name in (*names, *((f"groups[{n}]", group) for n, group in enumerate(self.groups))):
            if name == "":
                return key, "is empty"
            if name is not None and name.startswith(RESERVED):
                return key, f"{name!r}: names beginning with {' or '.join(RESERVED)} are Lockgate's own"
        wrong = self.when.problem()
        return wrong and (f"when.{wrong[0]}".rstrip("."), wrong[1])


def load_agent(path: str | Path) -> AgentFile:
    """Read agent.yaml. Raises ConfigError. Relative paths inside are taken from the file's own folder."""
    path = Path(path)
    settings, node = _load(path, AgentFile)
    names: set[str] = set()
    for index, store in enumerate(settings.datastores):
        if store.name in names:
            raise ConfigError(
                _at(path, node, f"$.datastores[{index}].name", f"datastore {store.name!r} is named twice")
            )
        names.add(store.name)
        for place, address in enumerate(store.addresses):
            try:
                split_address(address)
            except ValueError as error:
                raise ConfigError(_at(path, node, f"$.datastores[{index}].addresses[{place}]", str(error))) from None
        if store.catalog is None and settings.classify:
            raise ConfigError(
                _at(
                    path,
                    node,
                    f"$.datastores[{index}]",
                    "`classify` is set, so this datastore needs `catalog`: else no column is told from another",
                )
            )
    for key, value in (("collector.address", settings.collector.address), ("agent.metrics", settings.agent.metrics)):
        if value is not None:
            _listen_address(path, node, f"$.{key}", value)
    base = path.resolve().parent

    def absolute(entry: str) -> str:
        return str(base / entry)

    return msgspec.structs.replace(
        settings,
        identities=[absolute(p) for p in settings.identities],
        classify=[absolute(p) for p in settings.classify],
        policies=[absolute(p) for p in settings.policies],
        agent=msgspec.structs.replace(
            settings.agent,
            state_dir=absolute(settings.agent.state_dir),
            run_dir=absolute(settings.agent.run_dir),
        ),
        datastores=[
            store
            if store.catalog is None or store.catalog.password_file is None
            else msgspec.structs.replace(
                store,
                catalog=msgspec.structs.replace(store.catalog, password_file=absolute(store.catalog.password_file)),
            )
            for store in settings.datastores
        ],
    )


def load_collector(path: str | Path) -> CollectorFile:
    """Read collector.yaml. Raises ConfigError."""
    path = Path(path)
    settings, node = _load(path, CollectorFile)
    _listen_address(path, node, "$.collector.listen", settings.collector.listen)
    _listen_address(path, node, "$.collector.http", settings.collector.http)
    state = str(path.resolve().parent / settings.collector.state_dir)
    return CollectorFile(collector=msgspec.structs.replace(settings.collector, state_dir=state))


def load_identities(paths: list[str]) -> list[Identity]:
    """Read identities.yaml files, in order. Raises ConfigError: also for a selector that selects nothing."""
    found: list[Identity] = []
    for name in paths:
        path = Path(name)
        entries, node = _load(path, list[Identity])
        for index, entry in enumerate(entries):
            if not any(getattr(entry.when, key) is not None for key in entry.when.__struct_fields__):
                raise ConfigError(
                    _at(
                        path,
                        node,
                        f"$[{index}].when",
                        "selects nothing: name at least one of unit, container, image, pod, user, exe, cgroup",
                    )
                )
        found += entries
    return found


def load_classification(paths: list[str], datastores: set[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Read classification.yaml files: datastore -> `schema.table.column` -> tags. Raises ConfigError.

    Both spellings are taken: nested (`orders: {public.customers.email: [pii]}`) and flat
    (`orders.public.customers.email: [pii]`).
    """
    result: dict[str, dict[str, tuple[str, ...]]] = {}
    tag = re.compile(r"^[a-z0-9][a-z0-9_-]*$")
    for name in paths:
        path = Path(name)
        entries, node = _load(path, dict[str, dict[str, list[str]] | list[str]])
        flat: list[tuple[str, str, list[str], str]] = []
        for key, value in entries.items():
            if isinstance(value, dict):
                flat += [(key, column, tags, f"$.{key}.{column}") for column, tags in value.items()]
            else:
                store = next((s for s in sorted(datastores, key=len, reverse=True) if key.startswith(s + ".")), "")
                flat.append((store or key, key[len(store) + 1 :] if store else "", value, f"$.{key}"))
        for store, column, tags, where in flat:
            if store not in datastores:
                raise ConfigError(_at(path, node, where, f"there is no datastore {store!r} in the configuration"))
            if column.count(".") < 2 or not all(column.split(".")):
                raise ConfigError(_at(path, node, where, f"{column!r} is not schema.table.column"))
            for word in tags:
                if not tag.match(word):
                    raise ConfigError(
                        _at(path, node, where, f"{word!r} is not a tag (lower-case letters, digits, - and _)")
                    )
            merged = result.setdefault(store, {})
            merged[column] = tuple(dict.fromkeys((*merged.get(column, ()), *tags)))
    return result


def split_address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `CIDR:PORT`, `*:PORT`, `[V6]:PORT` -> (host part without brackets, port). Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError(f"{text!r} is not HOST:PORT, CIDR:PORT or *:PORT")
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{text!r}: {port!r} is not a port (1 to 65535)")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address is written [ADDRESS]:PORT")
    if "/" in host:
        try:
            ipaddress.ip_network(host)
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from None
    elif host != "*" and not re.fullmatch(r"[0-9a-fA-F:.]+|[A-Za-z0-9]([A-Za-z0-9_.-]{0,252})", host):
        raise ValueError(f"{text!r}: {host!r} is neither an address nor a host name")
    return host, int(port)


def _listen_address(path: Path, node: yaml.Node | None, key: str, value: str) -> None:
    try:
        split_address(value)
    except ValueError as error:
        raise ConfigError(_at(path, node, key, str(error))) from None


class _Loader(yaml.SafeLoader):
    """A SafeLoader that refuses a key given twice: YAML keeps the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[object, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                continue
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key}: given twice (first on line {seen[key]})", key_node.start_mark
                )
            seen[key] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep)


def _load(path: Path, kind: type[T]) -> tuple[T, yaml.Node | None]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start})") from None
    try:
        data = yaml.load(text, Loader=_Loader)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {error}") from None
    if data is None:
        raise ConfigError(f"{path}:1: the file is empty")
    try:
        return msgspec.convert(data, kind), node
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `")
        raise ConfigError(_at(path, node, where.rstrip("`") or "$", message)) from None


def _at(path: Path, node: yaml.Node | None, where: str, message: str) -> str:
    """`FILE:LINE: KEY: message`, the line found by walking `where` (msgspec's `$.a[0].b`) through the YAML nodes."""
    line = node.start_mark.line + 1 if node else 1
    unknown = re.search(r"unknown field `([^`]+)`", message)
    rest = where[2:]
    current = node
    while current is not None and rest:
        found: yaml.Node | None = None
        if isinstance(current, yaml.MappingNode):
            # keys may hold dots (classification), so the longest key that fits is taken
            for key, value in sorted(current.value, key=lambda pair: -len(str(pair[0].value))):
                name = str(key.value)
                if rest == name or rest.startswith((name + ".", name + "[")):
                    found, line, rest = value, key.start_mark.line + 1, rest[len(name) :].removeprefix(".")
                    break
        elif isinstance(current, yaml.SequenceNode):
            match = re.match(r"\[(\d+)\]\.?", rest)
            if match and int(match[1]) < len(current.value):
                found = current.value[int(match[1])]
                line, rest = found.start_mark.line + 1, rest[match.end() :]
        if found is None:
            break
        current = found
    if unknown and isinstance(current, yaml.MappingNode):
        for key, _ in current.value:
            if key.value == unknown[1]:
                line = key.start_mark.line + 1
    key_name = where.removeprefix("$").removeprefix(".")
    return f"{path}:{line}: {key_name + ': ' if key_name else ''}{message}"
