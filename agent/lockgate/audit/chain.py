"""The hash chain of one host, and its verification. Pure: no files, no sockets, no clock.

A record's `prev` is the SHA-256 of the canonical bytes of the record before it; the first record's is `genesis(host)`.
So the hash of the newest record commits to everything before it. Now and then the host adds a *seal*: a record with an
Ed25519 signature over that hash. A seal needs nothing but itself and the host's public key to be checked, so it
survives any number of relays, and whoever rewrites history must rewrite it from before a seal that others hold.

What a chain alone can't show is that its end was cut off. Verification therefore takes `until`: a head known from
elsewhere (the collector's own, an anchor). Records after the last seal are counted as unsealed.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidSignature

from lockgate.audit.record import HASH_BYTES, Envelope, RecordError, Seal, decode, envelope
from lockgate.identity.keys import SIGNATURE_CONTEXT, public_keys

MAX_PROBLEMS = 1000
"""How many problems, and how many gaps, a verification lists; the rest are only counted."""

_SEAL_DOMAIN = b"lockgate audit seal v1\0"
_GENESIS_DOMAIN = b"lockgate audit chain v1\0"


class Signer(Protocol):
    """What a seal needs of the host's key (`lockgate.identity.keys.HostKey`, or one kept in hardware)."""

    @property
    def kid(self) -> str: ...

    def sign(self, message: bytes) -> bytes: ...


class Flaw(StrEnum):
    """What can be wrong with a chain."""

    UNREADABLE = "unreadable"
    OTHER_HOST = "other-host"
    GAP = "gap"
    REPEATED = "repeated"
    BROKEN = "broken"
    SEAL = "seal"
    SIGNATURE = "signature"
    TRUNCATED = "truncated"
    FORKED = "forked"


@dataclass(frozen=True, slots=True)
class Problem:
    """`seq` is the record it was noticed at, or the one expected when that record says nothing usable."""

    seq: int
    flaw: Flaw
    text: str


class Head(msgspec.Struct, frozen=True):
    """How far a chain goes: its newest record's `seq` and `hash`, and the last seq a valid seal covers (0: none).

    `torn`: since that seal records are missing, or a seal was bad, so the next seal need not begin right after it.
    """

    seq: int
    hash: bytes
    sealed: int = 0
    torn: bool = False


@dataclass(frozen=True, slots=True)
class Verification:
    """`first` and `last` are 0 when there were no records. `gaps` are inclusive (from, to) ranges of missing seqs.

    `ok` is True only when nothing at all is wrong. `problems` holds the first MAX_PROBLEMS; `found` counts all.
    """

    ok: bool
    first: int
    last: int
    sealed: int
    records: int
    gaps: tuple[tuple[int, int], ...]
    problems: tuple[Problem, ...]
    found: int

    @property
    def unsealed(self) -> int:
        """How many records at the end no seal covers yet (the newest seal itself is one of them)."""
        return self.last - max(self.sealed, self.first - 1) if self.records else 0


def genesis(host: str) -> bytes:
    """The `prev` of a host's first record."""
    return hashlib.sha256(_GENESIS_DOMAIN + host.encode()).digest()


def step(raw: bytes) -> bytes:
    """The hash of one record, from its canonical bytes: the `prev` of the next."""
    return hashlib.sha256(raw).digest()


def start(host: str) -> Head:
    """The head of a chain that has no record yet."""
    return Head(0, genesis(host), 0)


def seal_message(host: str, first: int, last: int, digest: bytes) -> bytes:
    """What a seal signs. Each part has a fixed length or is preceded by it; the domain makes it nothing but a seal."""
    if len(digest) != HASH_BYTES:
        raise ValueError(f"a hash has {HASH_BYTES} bytes, not {len(digest)}")
    name = host.encode()
    return _SEAL_DOMAIN + struct.pack(f">H{len(name)}sQQ", len(name), name, first, last) + digest


def seal(host: str, head: Head, signer: Signer) -> Seal:
    """The fields of a seal over everything after `head.sealed`, up to and with `head`."""
    first = head.sealed + 1
    return {
        "type": "seal",
        "first": first,
        "last": head.seq,
        "hash": head.hash,
        "kid": signer.kid,
        "signature": signer.sign(seal_message(host, first, head.seq, head.hash)),
    }


class Verifier:
    """Verifies one host's records as they come. Feed them in the order of the chain, each once.

    It goes on after a problem, from the record it has, so that one altered record is not reported as a thousand.
    `head` is all there is to keep between two runs.
    """

    def __init__(self, host: str, jwks: Mapping[str, object], head: Head | None = None) -> None:
        """`head` is where an earlier run ended, None to begin at the first record. Raises InvalidKeySet."""
        self.host = host
        self.head = head or start(host)
        self._keys = public_keys(jwks)

    def feed(self, raw: bytes) -> list[Problem]:
        """What is wrong with this record, given those before it."""
        head = self.head
        try:
            fields = decode(raw)
            found = envelope(raw)
        except RecordError as error:
            # not even its place is known: the next good record will show the gap
            return [Problem(head.seq + 1, Flaw.UNREADABLE, str(error))]
        if found.host != self.host:
            return [Problem(found.seq, Flaw.OTHER_HOST, f"a record of {found.host!r} in the chain of {self.host!r}")]
        if found.seq <= head.seq:
            same = found.seq == head.seq and step(raw) == head.hash
            text = "the same record again" if same else "an earlier seq again: repeated, reordered or a second chain"
            return [Problem(found.seq, Flaw.REPEATED, text)]
        problems: list[Problem] = []
        sealed, torn = head.sealed, head.torn
        if found.seq > head.seq + 1:
            torn = True
            problems.append(Problem(found.seq, Flaw.GAP, f"records {head.seq + 1} to {found.seq - 1} are missing"))
        elif found.prev != head.hash:
            problems.append(
                Problem(found.seq, Flaw.BROKEN, f"does not follow record {head.seq}: one of the two was altered")
            )
        if found.type == "seal":
            wrong = self._check_seal(found, fields, None if torn else sealed + 1)
            problems += wrong
            torn = bool(wrong)
            sealed = sealed if wrong else found.seq - 1
        self.head = Head(found.seq, step(raw), sealed, torn)
        return problems

    def _check_seal(self, found: Envelope, fields: Mapping[str, object], expected: int | None) -> list[Problem]:
        """`expected` is the seq it must begin at, None when that can't be told."""
        first, last = fields.get("first"), fields.get("last")
        digest, kid, signature = fields.get("hash"), fields.get("kid"), fields.get("signature")
        if not (
            type(first) is int
            and type(last) is int
            and isinstance(digest, bytes)
            and isinstance(kid, str)
            and isinstance(signature, bytes)
        ):
            return [Problem(found.seq, Flaw.SEAL, "a seal without first, last, hash, kid and signature")]
        if last != found.seq - 1 or digest != found.prev:
            return [Problem(found.seq, Flaw.SEAL, "a seal of something other than the record before it")]
        if not 1 <= first <= last or (expected is not None and first != expected):
            return [
                Problem(found.seq, Flaw.SEAL, f"seals from {first}, and should from {expected or 'an earlier one'}")
            ]
        key = self._keys.get(kid)
        if key is None:
            return [Problem(found.seq, Flaw.SIGNATURE, f"signed with a key that {self.host!r} does not have")]
        try:
            key.verify(signature, SIGNATURE_CONTEXT + seal_message(self.host, first, last, digest))
        except InvalidSignature:
            return [Problem(found.seq, Flaw.SIGNATURE, f"not signed by the key of {self.host!r}")]
        return []


def verify(
    host: str,
    records: Iterable[bytes],
    jwks: Mapping[str, object],
    *,
    after: Head | None = None,
    until: Head | None = None,
) -> Verification:
    """Verify the canonical bytes of `records`, in order, against the host's published keys.

    `after` is the head the first of them must continue (None: they begin at seq 1). `until` is a head known from
    elsewhere: the chain must reach it and have that very record there. Raises InvalidKeySet, and ValueError for an
    `until` that lies before `after`.
    """
    verifier = Verifier(host, jwks, after)
    problems: list[Problem] = []
    gaps: list[tuple[int, int]] = []
    count = found = first = 0
    if until is not None and after is not None and until.seq <= after.seq:
        raise ValueError(f"record {until.seq} lies before what is verified (after {after.seq})")
    met = until is None or until.seq == 0

    def note(problem: Problem) -> None:
        nonlocal found
        found += 1
        if len(problems) < MAX_PROBLEMS:
            problems.append(problem)

    for raw in records:
        before = verifier.head.seq
        for problem in verifier.feed(raw):
            note(problem)
            if problem.flaw is Flaw.GAP and len(gaps) < MAX_PROBLEMS:
                gaps.append((before + 1, problem.seq - 1))
        count += 1
        head = verifier.head
        if head.seq > before and not first:
            first = head.seq
        if until is not None and before < until.seq == head.seq:
            met = True
            if head.hash != until.hash:
                note(Problem(until.seq, Flaw.FORKED, "not the record that is known from elsewhere"))
    head = verifier.head
    if until is not None and not met:
        if head.seq < until.seq:
            text = f"ends at {head.seq}, but is known to go to {until.seq}"
            gaps.append((head.seq + 1, until.seq))
        else:
            text = f"record {until.seq} is known from elsewhere and not here"
        note(Problem(until.seq, Flaw.TRUNCATED, text))
    return Verification(
        ok=not found,
        first=first,
        last=head.seq if first else 0,
        sealed=head.sealed,
        records=count,
        gaps=tuple(gaps),
        problems=tuple(problems),
        found=found,
    )
