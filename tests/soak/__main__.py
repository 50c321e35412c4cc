"""Hours of ordinary work and ordinary accidents: what must hold afterwards is that nothing was lost and nothing grew.

    python -m tests.soak [SECONDS]

Clients read, write, are refused and disconnect in the middle, while the agent is reloaded and killed, the collector is
killed and the datastore restarts. At the end every statement that reached the server has its record in the collector,
the chain verifies, and the agent's memory and descriptors are what they were after the first minute.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from tests.support.postgres import BINARIES
from tests.support.stack import Stack, environment

WORK = """
\\set i random(1, 100)
SELECT total FROM orders WHERE id = :i;
INSERT INTO scratch VALUES (:i, 'soak');
SELECT email, upper(email) FROM customers WHERE id = :i;
"""
ACCIDENT_SECONDS = 15.0
GROWTH_MIB = 15.0


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    chance = random.Random(20)
    with Stack(postgres={"log_statement": "'mod'"}) as stack:
        script = stack.folder / "work.sql"
        script.write_text(WORK)
        script.chmod(0o644)
        deadline = time.monotonic() + seconds
        clients: list[subprocess.Popen[bytes]] = []
        begun: dict[str, float] = {}
        accidents = {"reload": 0, "agent": 0, "collector": 0, "datastore": 0, "client": 0}
        while time.monotonic() < deadline:
            clients = [c for c in clients if c.poll() is None]
            while len(clients) < 6:
                clients.append(work(stack, script))
            time.sleep(min(ACCIDENT_SECONDS, max(0.1, deadline - time.monotonic())))
            if not begun:
                begun = footprint(stack)
            accident = chance.choice(list(accidents))
            accidents[accident] += 1
            if accident == "reload":
                stack.processes["agent"].send_signal(signal.SIGHUP)
            elif accident == "agent":
                stack.stop("agent", signal.SIGKILL)
                stack.start("agent")
                stack.wait_ready()
                begun = {}
            elif accident == "collector":
                stack.stop("collector", signal.SIGKILL)
                stack.start("collector")
            elif accident == "datastore":
                stack.server.stop()
                stack.server.start()
            else:
                chance.choice(clients).kill()
        for client in clients:
            client.kill()
            client.wait()
        now = footprint(stack)
        missing = unrecorded(stack)
        verified = stack.lockgate("audit", "verify", "--config", str(stack.collector_yaml), timeout=600)
        inserted = stack.server.psql("SELECT count(*) FROM scratch").strip()
    grown = now["mib"] - begun.get("mib", now["mib"])
    print(f"{seconds:g} s, accidents {accidents}, {inserted} rows inserted, {missing} statements without a record")
    print(f"memory {now['mib']:.1f} MiB ({grown:+.1f}), {now['descriptors']:.0f} descriptors")
    print(f"audit verify: {verified.returncode}")
    failed = missing or verified.returncode or grown > GROWTH_MIB
    if failed:
        print(verified.stdout, verified.stderr, sep="\n")
    return 1 if failed else 0


def work(stack: Stack, script: Path) -> subprocess.Popen[bytes]:
    """A client that works for a while."""
    argv = [str(BINARIES / "pgbench"), "-n", "-f", str(script), "-M", random.choice(["simple", "extended", "prepared"]),
            "-c", "2", "-T", str(random.randint(2, 20)), "-R", "50", "-h", "127.0.0.1", "-p", str(stack.server.port),
            "-U", "app", "postgres"]  # fmt: skip
    return subprocess.Popen(
        stack.command("ann", argv), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
    )


def footprint(stack: Stack) -> dict[str, float]:
    """The agent's memory (RSS) and open descriptors."""
    process = Path("/proc") / str(stack.processes["agent"].pid)
    pages = int((process / "statm").read_text().split()[1])
    return {"mib": pages * 4096 / 2**20, "descriptors": float(len(list((process / "fd").iterdir())))}


def unrecorded(stack: Stack) -> int:
    """How many INSERTs the server logged for which the collector has no record, once it has everything."""
    logged = (stack.server.folder / "log").read_text().count("INSERT INTO scratch")
    deadline = time.monotonic() + 120
    while True:
        with closing(sqlite3.connect(f"file:{stack.folder}/collector/collector.sqlite?mode=ro", uri=True)) as store:
            (found,) = store.execute(
                "SELECT count(*) FROM records WHERE type = 'statement' AND phase = 'begin' AND conflict = 0"
                " AND instr(raw, CAST('INSERT INTO scratch' AS BLOB))"
            ).fetchone()
        if found >= logged or time.monotonic() > deadline:
            return max(0, logged - int(found))
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
