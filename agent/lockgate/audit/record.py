"""What an audit record says, and its one encoding.

A record is a msgpack map in *canonical form*: keys sorted, every number and length in its shortest form, no key twice.
So `canonical(raw)` gives back the same bytes whatever a relay did to the order of the keys on the way, and no two
readers can see two different records in the same bytes.

Every record carries the envelope (`Envelope`), which the spool adds; the `TypedDict`s below are what callers say. A
statement has two records with the same `id`: phase `begin`, written before the statement leaves the host, and phase
`end`. Absent and None mean the same: leave out what does not apply.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec

from lockgate.values.identity import Claims, Workload

VERSION = 1

HASH_BYTES = 32
"""SHA-256."""

MAX_RECORD_BYTES = 24 * 1024 * 1024
"""Half as much again as the largest client message taken by default (16 MiB), and within the 32 MiB of a message that
the collector takes: a record that no collector takes would stop all those behind it."""

MAX_SEQ = 2**63 - 1
"""The largest integer that SQLite, PostgreSQL's bigint and msgpack's signed 64-bit form all hold."""


class RecordError(ValueError):
    """Bytes that are not an audit record, or not in canonical form. The message never says what they hold."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """The fields every record has. `prev` is the hash of the record before it, `time` nanoseconds since the epoch."""

    v: Literal[1]
    type: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    seq: Annotated[int, msgspec.Meta(ge=1, le=MAX_SEQ)]
    prev: Annotated[bytes, msgspec.Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
    time: Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)]
    phase: Literal["begin", "end"] | None = None
    id: Annotated[str, msgspec.Meta(max_length=255)] | None = None


class WorkloadFacts(TypedDict):
    """`Workload` without its command line: people put passwords there (law 5). None fields are left out."""

    pid: int
    exe: str
    uid: int
    user: str
    cgroup: str
    unit: NotRequired[str]
    container: NotRequired[str]
    runtime: NotRequired[str]
    image: NotRequired[str]
    pod: NotRequired[str]


class ConnectionFacts(TypedDict):
    """Who and where to, the same for all records of a connection. `token` is the token's id (`jti`).

    `user` is the role upstream; `claimed_user` what the client called itself, where that is another.
    """

    id: str
    principal: str
    person: str | None
    groups: list[str]
    token: str
    workload: WorkloadFacts
    datastore: str
    protocol: str
    database: str
    user: str
    claimed_user: NotRequired[str]
    upstream: str
    application: str


class Failure(TypedDict):
    """The datastore's or our own error code (SQLSTATE for PostgreSQL); never its message, which may hold values."""

    code: str


class Shadow(TypedDict):
    """What the bundle with this `epoch`, which is only tried, would do with the statement."""

    would: str
    policy: str
    reason: str
    epoch: int
    masks: NotRequired[list[list[str]]]
    detects: NotRequired[list[list[str]]]


class Begin(TypedDict):
    """Before anything is forwarded. `statement` is redacted by the caller.

    `parameters` is how many were bound, `commands` how many there are of a key-value datastore's that came together: a
    line of `statement` each. `would` is, in mode observe, the verdict that was not enforced (`policy` and
    `reason` are then its own), `masks` the [column, masker] pairs that would be, `detects` what would be looked for
    elsewhere ([kind, masker]). `shadow` is there where a bundle that is only tried comes to another end. `approval` is
    the id of the hold that let it through. `epoch` numbers the policy bundle.
    """

    type: Literal["statement", "prepare"]
    phase: Literal["begin"]
    id: str
    connection: msgspec.Raw | ConnectionFacts
    statement: str
    effects: list[str]
    objects: list[str]
    kinds: list[str]
    verdict: str
    policy: str
    reason: str
    mode: str
    epoch: int
    truncated: NotRequired[bool]
    parameters: NotRequired[int]
    commands: NotRequired[int]
    would: NotRequired[str | None]
    masks: NotRequired[list[list[str]]]
    detects: NotRequired[list[list[str]]]
    shadow: NotRequired[Shadow]
    approval: NotRequired[str | None]


class End(TypedDict):
    """The outcome. `rows` and `bytes` as sent to the client; `duration_us` from forwarding to the last byte.

    `failed` is how many of several commands ended with an error, of which `error` is the first. `unread`: it was sent,
    and nobody saw what became of it. `withheld` is why enforcing would have withheld the result.
    """

    type: Literal["statement", "prepare"]
    phase: Literal["end"]
    id: str
    outcome: Literal[
        "completed", "error", "denied", "cancelled", "disconnected", "timeout", "skipped", "closed", "broken", "unread"
    ]
    duration_us: int
    rows: NotRequired[int]
    bytes: NotRequired[int]
    masked_cells: NotRequired[int]
    withheld: NotRequired[str]
    tag: NotRequired[str]
    error: NotRequired[Failure]
    failed: NotRequired[int]


class Approval(TypedDict):
    """What became of a hold. `id` is the statement's, `hold` the hold's, `digest` what the approver was shown.

    `grant` is the one that let it run without anybody being asked again, `granted` the one that the approver made with
    this decision; both are the id (`jti`) of the grant's token.
    """

    type: Literal["approval"]
    id: str
    hold: str
    digest: str
    outcome: Literal["approved", "denied", "expired", "cancelled"]
    waited_us: int
    approver: NotRequired[str]
    person: NotRequired[str | None]
    token: NotRequired[str]
    comment: NotRequired[str]
    grant: NotRequired[str]
    granted: NotRequired[str]


class ConnectionBegin(TypedDict):
    """A connection was let in, or (with `error`) refused before it had a statement to refuse.

    `unread` says why nothing of it is read, not even the names in its facts. Who it is, is left out where the host
    can't tell.
    """

    type: Literal["connection"]
    phase: Literal["begin"]
    id: str
    connection: msgspec.Raw | ConnectionFacts
    error: NotRequired[Failure]
    unread: NotRequired[str]


class ConnectionUnread(TypedDict):
    """In mode observe: from here on the connection is passed on without being read; `unread` says why."""

    type: Literal["connection"]
    id: str
    connection: msgspec.Raw | ConnectionFacts
    unread: str


class ConnectionEnd(TypedDict):
    type: Literal["connection"]
    phase: Literal["end"]
    id: str
    duration_us: int
    statements: int
    outcome: Literal["closed", "disconnected", "error", "timeout", "drained"]
    error: NotRequired[Failure]


class Agent(TypedDict):
    """Something the agent itself did: `start`, `stop`, `reload` (a policy bundle), `reload-refused`, `shadow` (a bundle
    to be tried), `shadow-refused`, `mode` (a datastore's, `from` and `to`), `restart-needed`, `unrecorded` (`count`
    statements that were observed without a record)..."""

    type: Literal["agent"]
    event: str
    datastore: NotRequired[str]
    count: NotRequired[int]
    version: NotRequired[str]
    epoch: NotRequired[int]
    detail: NotRequired[str]


class Seal(TypedDict):
    """Signs the chain up to `last`, whose record's hash is `hash`. Written by the spool; see `chain.seal_message`."""

    type: Literal["seal"]
    first: int
    last: int
    hash: bytes
    kid: str
    signature: bytes


Fields = Begin | End | Approval | ConnectionBegin | ConnectionUnread | ConnectionEnd | Agent | Seal

encoder = msgspec.msgpack.Encoder(order="deterministic")
"""The canonical encoding. Raises TypeError, OverflowError or UnicodeEncodeError for what msgpack can't say."""

_envelopes = msgspec.msgpack.Decoder(Envelope)
_maps = msgspec.msgpack.Decoder(dict[str, Any])


def connection(
    identifier: str,
    claims: Claims,
    workload: Workload,
    *,
    datastore: str,
    protocol: str,
    database: str,
    user: str,
    upstream: str,
    application: str,
    claimed_user: str | None = None,
) -> msgspec.Raw:
    """The facts of a connection, encoded once and spliced into each of its records (they are most of its bytes)."""
    facts: ConnectionFacts = {
        "id": identifier,
        "principal": claims.principal,
        "person": claims.person,
        "groups": list(claims.groups),
        "token": claims.token,
        "workload": _workload(workload),
        "datastore": datastore,
        "protocol": protocol,
        "database": database,
        "user": user,
        "upstream": upstream,
        "application": application,
    }
    if claimed_user is not None and claimed_user != user:
        facts["claimed_user"] = claimed_user
    return msgspec.Raw(encoder.encode(facts))


def envelope(raw: bytes) -> Envelope:
    """The envelope of one record. Raises RecordError."""
    try:
        return _envelopes.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"not a record: {error}") from None


def decode(raw: bytes) -> dict[str, Any]:
    """All fields of one record as plain values. Raises RecordError, also when `raw` is not in canonical form."""
    fields = _decode(raw)
    if _encode(fields) != raw:
        raise RecordError("not in canonical form")
    return fields


def canonical(raw: bytes) -> bytes:
    """The canonical form of a record that a relay may have re-encoded. Raises RecordError.

    What it returns is what was hashed if, and only if, the relay changed no field.
    """
    return _encode(_decode(raw))


def _decode(raw: bytes) -> dict[str, Any]:
    try:
        return _maps.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"not a record: {error}") from None


def _encode(fields: dict[str, Any]) -> bytes:
    try:
        return encoder.encode(fields)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        # it decoded, so it is msgpack, but of a shape no record has: keys that can't be sorted, too deep a nesting
        raise RecordError(f"not a record: {error}") from None


def _workload(workload: Workload) -> WorkloadFacts:
    facts: WorkloadFacts = {
        "pid": workload.pid,
        "exe": workload.exe,
        "uid": workload.uid,
        "user": workload.user,
        "cgroup": workload.cgroup,
    }
    if workload.unit is not None:
        facts["unit"] = workload.unit
    if workload.container is not None:
        facts["container"] = workload.container
    if workload.runtime is not None:
        facts["runtime"] = workload.runtime
    if workload.image is not None:
        facts["image"] = workload.image
    if workload.pod is not None:
        facts["pod"] = workload.pod
    return facts
