"""Reading the files of the configuration, and what can only be told from more than one place in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from lockgate.config.addresses import check_endpoint, check_url, split_address
from lockgate.config.credentials import Credential
from lockgate.config.document import Document, Where
from lockgate.config.shapes import ABSOLUTE, AgentFile, CollectorFile, Datastore, Identity
from lockgate.values.protocol import NATURES, by_pattern
from lockgate.values.selector import parse_name

_TAG: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")

AGENT_YAML: Final = "/etc/lockgate/agent.yaml"
COLLECTOR_YAML: Final = "/etc/lockgate/collector.yaml"
"""Where a package puts them, and where commands look when they aren't told."""

C = TypeVar("C", bound=Credential)
Classification = dict[str, dict[str, tuple[str, ...]]]


def load_agent(path: str | Path) -> AgentFile:
    """Read agent.yaml. Raises ConfigError. Relative paths inside are taken from the file's own folder."""
    document = Document(path)
    settings = document.convert(AgentFile)
    _check_datastores(document, settings)
    _check(document, ("collector", "address"), check_endpoint, settings.collector.address)
    _check(document, ("collector", "api"), check_url, settings.collector.api)
    _check(document, ("agent", "metrics"), check_endpoint, settings.agent.metrics)
    for key, cgroup in (("cgroup", settings.intercept.cgroup), ("agent_cgroup", settings.intercept.agent_cgroup)):
        _check(document, ("intercept", key), _check_cgroup, cgroup)
    if settings.intercept.own_cgroup.rstrip("/") == settings.intercept.cgroup.rstrip("/"):
        raise document.error(
            ("intercept", "agent_cgroup"), "the agent can't live where it intercepts: it would be its own client"
        )
    if settings.spool.segment_bytes > settings.spool.max_bytes:
        raise document.error(("spool", "segment_bytes"), "larger than max_bytes: the spool would hold no segment")
    return _absolute(settings, document.path.resolve().parent)


def load_collector(path: str | Path) -> CollectorFile:
    """Read collector.yaml. Raises ConfigError. A relative state_dir is taken from the file's own folder."""
    document = Document(path)
    collector = document.convert(CollectorFile).collector
    _check(document, ("collector", "listen"), check_endpoint, collector.listen)
    _check(document, ("collector", "http"), check_endpoint, collector.http)
    if collector.listen == collector.http:
        raise document.error(("collector", "http"), "is the address of `listen`: each needs its own")
    for host, thumbprint in collector.hosts.items():
        if not _THUMBPRINT.fullmatch(thumbprint):
            raise document.error(
                ("collector", "hosts", host), "is not an RFC 7638 thumbprint (43 characters of base64url)"
            )
    state = str(document.path.resolve().parent / collector.state_dir)
    return CollectorFile(collector=msgspec.structs.replace(collector, state_dir=state))


def load_identities(paths: Iterable[str | Path]) -> list[Identity]:
    """Read identities.yaml files, in order. Raises ConfigError: also for an entry that would never select anything."""
    found: list[Identity] = []
    for path in paths:
        document = Document(path)
        entries = document.convert(list[Identity])
        for index, entry in enumerate(entries):
            if wrong := entry.problem():
                raise document.error((index, *wrong[0]), wrong[1])
        found += entries
    return found


def load_classification(paths: Iterable[str | Path], datastores: Mapping[str, str]) -> Classification:
    """Read classification.yaml files: datastore -> what is sensitive in it -> tags. Raises ConfigError.

    `datastores` maps a name to its protocol. Of PostgreSQL `schema.table.column` is classified, of Redis what
    `lockgate.values.selector` reads: `secret:*`, `profile:*#email`, `doc:*#$.user.email`, `&news:*`. Both spellings
    are taken: nested (`orders: {public.customers.email: [pii]}`) and flat (`orders.public.customers.email: [pii]`).
    What several places say of one column adds up.
    """
    result: Classification = {}
    for path in paths:
        document = Document(path)
        if not isinstance(document.data, dict):
            raise document.error(
                (), "a mapping is needed: datastore to columns, or datastore.schema.table.column to tags"
            )
        for key, value in document.data.items():
            entries: list[tuple[str, str, object, Where]]
            if isinstance(value, dict):
                entries = [(key, column, tags, (key, column)) for column, tags in value.items()]
                if key not in datastores:
                    raise document.error((key,), _no_datastore(key))
            else:
                # a datastore's name may hold dots too: the longest that fits is meant
                store = max((s for s in datastores if key.startswith(f"{s}.")), key=len, default=None)
                if store is None:
                    raise document.error((key,), _no_datastore(key.partition(".")[0]))
                entries = [(store, key[len(store) + 1 :], value, (key,))]
            for store, column, tags, where in entries:
                columns = result.setdefault(store, {})
                before = columns.get(column, ())
                _check_classified(document, where, column, datastores[store])
                columns[column] = tuple(dict.fromkeys((*before, *_tags(document, where, tags))))
    return result


def _check_classified(document: Document, where: Where, name: str, protocol: str) -> None:
    if by_pattern(protocol):
        _check(document, where, parse_name, name)
    elif name.count(".") < 2 or not all(name.split(".")):
        raise document.error(where, f"{name!r} is not schema.table.column")


def _tags(document: Document, where: Where, tags: object) -> list[str]:
    if not isinstance(tags, list) or not tags:
        raise document.error(where, "a list of tags is needed, such as [pii, email]")
    for index, word in enumerate(tags):
        if not isinstance(word, str) or not _TAG.fullmatch(word):
            raise document.error((*where, index), f"{word!r} is not a tag (lower-case letters, digits, - and _)")
    return tags


def _no_datastore(name: str) -> str:
    return f"there is no datastore {name!r} in the configuration"


def _check_datastores(document: Document, settings: AgentFile) -> None:
    names: set[str] = set()
    places: dict[tuple[str, int], str] = {}
    for index, store in enumerate(settings.datastores):
        here = ("datastores", index)
        if store.name in names:
            raise document.error((*here, "name"), f"datastore {store.name!r} is named twice")
        names.add(store.name)
        for number, address in enumerate(store.addresses):
            where = (*here, "addresses", number)
            _check(document, where, split_address, address)
            place = split_address(address)
            if place in places:
                raise document.error(where, f"{address} is given twice (first for datastore {places[place]!r})")
            places[place] = store.name
        for way, credential in store.credentials():
            if problem := credential.problem(store.protocol):
                raise document.error((*here, *way, *problem[0]), problem[1])
        for number, address in enumerate(store.addresses):
            if store.holds_credential and _is_wide(address) and not _names_its_servers(store):
                raise document.error(
                    (*here, "addresses", number),
                    f"{address} has hosts that are not the datastore's, and whoever dials them would have the "
                    f"credential: name its hosts, or say upstream_tls: verify-full and upstream_ca",
                )
        if store.channel_binding == "require" and store.upstream_tls == "disable":
            raise document.error((*here, "channel_binding"), "upstream_tls: disable has nothing to bind to")
        if store.client_tls == "pass" and (why := _not_passed(store)):
            raise document.error((*here, "client_tls"), f"pass leaves clients' TLS unread: {why}")
        if wrong := _tls_problem(store):
            raise document.error((*here, wrong[0]), wrong[1])
        if wrong := _foreign(store):
            raise document.error((*here, wrong[0]), wrong[1])
        if store.catalog is None and settings.classify and not store.nature.patterns:
            raise document.error(
                here, "`classify` is set, so this datastore needs `catalog`: else no column is told from another"
            )


def _foreign(store: Datastore) -> tuple[str, str] | None:
    """The key that means nothing in this datastore's protocol, and why: it would be taken for protection."""
    unsaid = Datastore(name=store.name, protocol=store.protocol, addresses=store.addresses)
    for protocol, nature in NATURES.items():
        for key in sorted(nature.own - store.nature.own):
            if getattr(store, key) != getattr(unsaid, key):
                return key, f"is of {protocol}, and {store.name} speaks {store.protocol}: leave it out"
    return None


def _is_wide(address: str) -> bool:
    host, _ = split_address(address)
    return host == "*" or "/" in host


def _names_its_servers(store: Datastore) -> bool:
    """Whether only the datastore's own servers can have a certificate for the address they are dialled at.

    An authority that is asked for no address certifies any server of the company's, and those of the system's store
    whoever has a public address.
    """
    return store.upstream_tls == "verify-full" and store.upstream_ca is not None


def _not_passed(store: Datastore) -> str | None:
    """Why a datastore's clients can't have their TLS with it, None when they may."""
    if store.mode != "observe":
        return f"that is for mode: observe, and mode is {store.mode}. Leave client_tls out, or say offer or disable"
    if store.logs_in:
        return "with a credential of the agent's own it has to be the agent's. Say offer or disable"
    return None


def _tls_problem(store: Datastore) -> tuple[str, str] | None:
    """The key that would have no effect, and why: what looks like protection has to be some."""
    verified = store.upstream_tls in ("require", "verify-full")
    if store.upstream_ca is not None and not verified:
        return "upstream_ca", f"upstream_tls: {store.upstream_tls} verifies nothing: say require or verify-full"
    if store.upstream_certificate is not None and not verified:
        return (
            "upstream_certificate",
            f"upstream_tls: {store.upstream_tls} may go without TLS: say require or verify-full",
        )
    if (store.upstream_certificate is None) is not (store.upstream_key is None):
        return (
            ("upstream_key", "has no upstream_certificate beside it")
            if store.upstream_certificate is None
            else ("upstream_certificate", "has no upstream_key beside it")
        )
    return None


def _check(document: Document, where: Where, check: Callable[[str], object], value: str | None) -> None:
    if value is None:
        return
    try:
        check(value)
    except ValueError as error:
        raise document.error(where, str(error)) from None


def _check_cgroup(path: str) -> None:
    if not re.fullmatch(ABSOLUTE, path):
        raise ValueError(f"{path!r} is not an absolute cgroup v2 path")


def _absolute(settings: AgentFile, base: Path) -> AgentFile:
    def absolute(entry: str) -> str:
        return str(base / entry)

    def each(entries: Sequence[str]) -> list[str]:
        return [absolute(entry) for entry in entries]

    def credential(one: C) -> C:
        if one.password_file is None:
            return one
        return msgspec.structs.replace(one, password_file=absolute(one.password_file))

    def store(one: Datastore) -> Datastore:
        files = {key: getattr(one, key) for key in ("upstream_ca", "upstream_certificate", "upstream_key")}
        given = {key: absolute(file) for key, file in files.items() if file is not None}
        one = msgspec.structs.replace(one, **given)
        return msgspec.structs.replace(
            one,
            catalog=None if one.catalog is None else credential(one.catalog),
            credential=None if one.credential is None else credential(one.credential),
            roles=[msgspec.structs.replace(role, credential=credential(role.credential)) for role in one.roles],
        )

    agent = settings.agent
    return msgspec.structs.replace(
        settings,
        agent=msgspec.structs.replace(agent, state_dir=absolute(agent.state_dir), run_dir=absolute(agent.run_dir)),
        datastores=[store(one) for one in settings.datastores],
        identities=each(settings.identities),
        classify=each(settings.classify),
        policies=each(settings.policies),
        shadow=each(settings.shadow),
        masking=msgspec.structs.replace(
            settings.masking, key_file=None if (key := settings.masking.key_file) is None else absolute(key)
        ),
    )
