"""A host that writes records: what the spool puts into the chain, without the spool."""

from __future__ import annotations

import itertools
import time
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lockgate.approval.hold import Hold
from lockgate.audit import chain
from lockgate.audit.record import encoder
from lockgate.identity.keys import HostKey
from lockgate.identity.tokens import Approval, TokenIssuer
from lockgate.values.identity import Principal, Workload

START = 1_800_000_000_000_000_000


class Host:
    """`records` are the canonical bytes of everything written, seals included."""

    def __init__(self, name: str = "host-1") -> None:
        self.name = name
        self.key = HostKey(Ed25519PrivateKey.generate())
        self.issuer = TokenIssuer(self.key, name)
        self.head = chain.start(name)
        self.records: list[bytes] = []
        self._time = itertools.count(START, 1_000_000_000)

    def agent(self) -> str:
        """The text of the agent's own token."""
        return self.issuer.issue_service().text

    def person(self, name: str, *groups: str, person: str | None = "", operator: bool = False) -> str:
        """A token of somebody on this host."""
        who = Principal(name, name if person == "" else person, groups)
        return self.issuer.issue(who, workload(0 if operator else 1000), operator=operator).text

    def decision(
        self, name: str, *groups: str, hold: Hold, decision: Literal["approve", "deny"] = "approve", person: str = ""
    ) -> str:
        """A token that decides `hold`."""
        approval = Approval(hold.id, hold.digest, decision)
        return self.issuer.issue_approval(Principal(name, person or name, groups), workload(), approval).text

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


def hold(host: str = "host-1", identifier: str = "hold-0001", **more: Any) -> Hold:
    """Ann's bulk delete, waiting for somebody of group dba."""
    now = time.time()
    fields: dict[str, Any] = {
        "id": identifier,
        "host": host,
        "digest": "d" * 64,
        "principal": "ann",
        "person": "ann",
        "groups": ("engineers",),
        "datastore": "orders",
        "database": "shop",
        "user": "app",
        "statement": "DELETE FROM orders",
        "effects": ("write",),
        "objects": ("orders",),
        "policy": "bulk-writes",
        "reason": "a bulk write needs a second person",
        "approvers": ("dba",),
        "created": now,
        "expires": now + 60,
        "workload": {"pid": 7, "exe": "/usr/bin/psql"},
    }
    return Hold(**{**fields, **more})


def workload(uid: int = 1000) -> Workload:
    return Workload(7, 1, 1, "/usr/bin/lockgate", (), uid, "somebody", "/")
