"""What TLS, maskers, detectors, credentials, grants, schema changes and judging cost: further workloads.

What is compared with itself under another setting stands beside it in the table: `connections` and `tls connections`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tests.bench import database
from tests.bench.peers import Peer
from tests.bench.workloads import WORKLOADS as RELAYING
from tests.bench.workloads import Failed, Way, Workload, bulk, connect, latency, run_client, select
from tests.support.postgres import BINARIES
from tests.support.stack import Stack, environment

BOTH: Final = frozenset(("direct", "lockgate"))
WITH_HAPROXY: Final = BOTH | {"haproxy"}
SUBJECT: Final = frozenset(("lockgate",))

INSIDE_SECONDS: Final = 60.0
MIGRATION_SECONDS: Final = 60.0
GRANT_SECONDS: Final = 30.0

TLS: Final = Way(tls=True)
UPSTREAM_TLS: Final = Way(database.ENCRYPTED, upstream_tls=True)
LOOKED_AT: Final = Way(database.LOOKED_AT)
KEPT: Final = Way(database.CREDENTIAL, user=database.KEPT_ROLE, password=database.PASSWORD)

GRANTED: Final = "DELETE FROM scratch WHERE id = 0"
"""Held for deletes, unless granted; there is no such row."""
UNHELD: Final = "UPDATE scratch SET body = '' WHERE id = 0"


def tls() -> list[Workload]:
    """Of the client's side, and of the server's."""
    found: list[Workload] = []
    for prefix, way in (("tls ", TLS), ("upstream tls ", UPSTREAM_TLS)):
        found += [
            select(mode, clients, way=way, name=f"{prefix}select {mode} x{clients}", peers=BOTH, group="tls")
            for mode in ("simple", "prepared")
            for clients in (1, 8)
        ]
        everybody = WITH_HAPROXY if way.tls else BOTH
        found += [
            bulk(f"{prefix}bulk plain", database.PLAIN_ROWS, None, everybody, way=way, group="tls"),
            bulk(f"{prefix}copy", f"COPY ({database.PLAIN_ROWS}) TO STDOUT", None, everybody, way=way, group="tls"),
            latency(prefix, everybody, way, "tls"),
            connect(f"{prefix}connections", everybody, way, "tls"),
        ]
    return [connect("connections", WITH_HAPROXY, Way(), "tls"), *found]


def masker(name: str) -> list[Workload]:
    """One column masked, in every form that rows leave in."""
    sql = f"SELECT id, m_{name} FROM masked"
    hidden = None if name == "date_shift" else "user1@example.org"
    rows = database.PART
    forms = {
        "text": (sql, "bulk"),
        "binary": (sql, "binary"),
        "copy text": (f"COPY ({sql}) TO STDOUT", "bulk"),
        "copy csv": (f"COPY ({sql}) TO STDOUT (FORMAT csv)", "bulk"),
        "copy binary": (f"COPY ({sql}) TO STDOUT (FORMAT binary)", "bulk"),
    }
    return [
        bulk(f"mask {name} {form}", text, hidden, BOTH, rows=rows, form=how, group="maskers")
        for form, (text, how) in forms.items()
    ]


def migration(name: str, changes: int, before: str, after: str) -> Workload:
    """So many changes of the schema by one psql; statements a second."""
    # temporary, so that nothing is left when it ends
    tables = "".join(
        f"CREATE TEMP TABLE moved{n} (id int);\nALTER TABLE moved{n} ADD COLUMN note text;\n"
        for n in range(changes // 2)
    )

    def run(peer: Peer, seconds: int) -> Mapping[str, float]:
        host, port, _ = Way().to(peer)
        argv = [str(BINARIES / "psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", str(port), "-U", "app",
                "postgres"]  # fmt: skip
        began = time.perf_counter()
        run_client(peer, argv, MIGRATION_SECONDS, before + tables + after)
        return {name: changes / (time.perf_counter() - began)}

    return Workload(name, run, BOTH, "catalog")


def inside(what: str) -> Workload:
    """What `tests.bench.inside` measures of the agent's own code, in a process of its own."""

    def run(peer: Peer, seconds: int) -> Mapping[str, float]:
        argv = [sys.executable, "-m", "tests.bench.inside", what, str(peer.port)]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=INSIDE_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"not finished after {INSIDE_SECONDS:g} s") from None
        if done.returncode:
            raise Failed((done.stderr.strip().splitlines() or ["it said nothing"])[-1])
        answer: dict[str, float] = json.loads(done.stdout)
        return answer

    return Workload(f"inside {what}", run, SUBJECT, what)


def grant(stack: Stack) -> None:
    """Bob lets Ann's GRANTED run for an hour, as an approver does: when it waits for him. Raises RuntimeError."""
    config = ("--config", str(stack.agent_yaml))
    waiting = subprocess.Popen(
        stack.psql_command("ann", "-c", GRANTED), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=environment(),
    )  # fmt: skip
    deadline = time.monotonic() + GRANT_SECONDS
    while not (held := stack.json("approvals", "list", *config, person="bob")):
        if time.monotonic() > deadline or waiting.poll() is not None:
            raise RuntimeError(f"nothing was held: {waiting.communicate()[1]}")
        time.sleep(0.1)
    done = stack.lockgate("approvals", "approve", held[0]["hold"]["id"], "--grant", "1h", *config, person="bob")
    _, told = waiting.communicate(timeout=GRANT_SECONDS)
    if done.returncode or waiting.returncode:
        raise RuntimeError(f"it was not granted: {done.stderr}{told}")


ROUNDS: Final = 2
"""Of each of these, so that a whole run stays below 12 minutes: they are many."""
_WORKLOADS: Final = (
    *tls(),
    *(workload for name in database.MASKERS for workload in masker(name)),
    *(
        bulk(f"detect {column}", f"SELECT id, {column} FROM notes", None, BOTH, rows=database.PART,
             way=LOOKED_AT, group="detectors")
        for column in ("clean", "found")
    ),
    inside("detectors"),
    select("simple", 1, way=Way(), name="granted x1", peers=SUBJECT, group="grants", script=GRANTED),
    select("simple", 1, way=Way(), name="unheld x1", peers=SUBJECT, group="grants", script=UNHELD),
    select("simple", 1, "-C", way=KEPT, name="scram connections", peers=BOTH, group="credentials"),
    select("simple", 1, "-C", way=Way(), name="trusted connections", peers=BOTH, group="credentials"),
    migration("migration in one transaction", 200, "BEGIN;\n", "COMMIT;\n"),
    migration("migration, each by itself", 20, "", ""),
    inside("catalog"),
    inside("judge"),
)  # fmt: skip
WORKLOADS: Final = tuple(replace(workload, rounds=ROUNDS) for workload in _WORKLOADS)
GROUPS: Final = frozenset(workload.group for workload in (*RELAYING, *WORKLOADS))
