"""A host that writes records: what the spool puts into the chain, without the spool."""

from __future__ import annotations

import itertools
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lockgate.audit import chain
from lockgate.audit.record import encoder
from lockgate.identity.keys import HostKey

START = 1_800_000_000_000_000_000


class Host:
    """`records` are the canonical bytes of everything written, seals included."""

    def __init__(self, name: str = "host-1") -> None:
        self.name = name
        self.key = HostKey(Ed25519PrivateKey.generate())
        self.head = chain.start(name)
        self.records: list[bytes] = []
        self._time = itertools.count(START, 1_000_000_000)

    def write(self, **fields: Any) -> bytes:
        raw = encoder.encode(
            {
                "v": 1,
                "host": self.name,
                "seq": self.head.seq + 1,
                "prev": self.head.hash,
                "time": next(self._time),
                **fields,
            }
        )
        self.head = chain.Head(self.head.seq + 1, chain.step(raw), self.head.sealed)
        self.records.append(raw)
        return raw

    def seal(self) -> bytes:
        raw = self.write(**chain.seal(self.name, self.head, self.key))
        self.head = chain.Head(self.head.seq, self.head.hash, self.head.seq - 1)
        return raw

    def statement(self, text: str, number: int = 1, connection: str = "c1", **more: Any) -> str:
        """Both records of a statement; returns its id."""
        identifier = f"{connection}-{number}"
        facts = {"id": connection, "principal": "ann", "person": "ann", "datastore": "orders", "database": "shop"}
        facts |= more.pop("facts", {})
        self.write(
            **{
                "type": "statement",
                "phase": "begin",
                "id": identifier,
                "connection": facts,
                "statement": text,
                "objects": ["public.orders"],
                "effects": ["read"],
                "verdict": "allow",
                "policy": "engineers",
                **more,
            }
        )
        self.write(type="statement", phase="end", id=identifier, outcome="completed", rows=3)
        return identifier
