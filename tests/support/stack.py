"""The whole product on one machine: a real PostgreSQL, a collector, an agent, and a cgroup whose processes it sees."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from lockgate.demo.cgroup import in_cgroup
from tests.support.cgroup import CgroupTree
from tests.support.postgres import Postgres, free_port

PROGRAM = str(Path(sys.executable).with_name("lockgate"))

SCHEMA = """
CREATE TABLE customers (id int PRIMARY KEY, name text, email text, ssn text, born date, note text);
INSERT INTO customers
  SELECT i, 'name' || i, 'user' || i || '@example.org', '900-00-' || lpad(i::text, 4, '0'), date '1980-01-01' + i, 'n'
  FROM generate_series(1, 100) i;
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, total numeric);
INSERT INTO orders SELECT i, i, i * 10 FROM generate_series(1, 100) i;
CREATE TABLE scratch (id int, body text);
CREATE VIEW contacts AS SELECT id, email AS address, upper(name) AS shout FROM customers;
CREATE ROLE app LOGIN; CREATE ROLE lockgate LOGIN;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app; GRANT CREATE ON SCHEMA public TO app;
"""

POLICIES = """
@id("engineers-work")
permit (principal in Group::"engineers", action == Action::"execute", resource in Datastore::"orders")
unless { context.effects.containsAny(["ddl", "admin", "unknown"]) };

@id("no-drop")
@reason("schema changes go through migrations")
forbid (principal, action == Action::"execute", resource) when { context.effects.contains("ddl") };

@id("alone")
permit (principal, action in [Action::"execute_alone", Action::"reveal"], resource);

@id("two-for-deletes")
@approvers("dba")
@timeout("30s")
forbid (principal, action == Action::"execute_alone", resource) when { context.kinds.contains("DELETE") };

@id("pii-email")
@mask("partial")
forbid (principal, action == Action::"reveal", resource in Tag::"email") unless { principal in Group::"pii-readers" };

@id("pii-rest")
@mask("redact")
forbid (principal, action == Action::"reveal", resource in Tag::"pii") unless { principal in Group::"pii-readers" };

@id("dbas-approve")
permit (principal in Group::"dba", action == Action::"approve", resource in Datastore::"orders");
"""

CLASSIFICATION = {
    "orders": {"public.customers.email": ["email"], "public.customers.ssn": ["pii"], "public.customers.born": ["pii"]}
}

PEOPLE = {"ann": 64001, "bob": 64002, "cyd": 64003, "eve": 64004, "ann-laptop": 64005}
"""Numeric accounts that need not exist: engineers ann and cyd, bob of the dba group, eve whom nobody knows."""


class Stack:
    """`with Stack() as stack:` starts everything and waits until `lockgate status` says so.

    `agent` and `datastore` are merged into agent.yaml; `policies` replaces the policy text; `schema` the SQL the
    database starts with; `server` stands for the PostgreSQL of `postgres` settings. `people` run commands as who they
    are: `stack.psql("ann", "SELECT 1")`. With an `account` the agent is no root: it is prepared for that one, and has
    the capabilities that its unit in packaging/systemd gives it.
    """

    def __init__(
        self,
        *,
        policies: str = POLICIES,
        schema: str = SCHEMA,
        classification: dict[str, Any] | None = None,
        agent: dict[str, Any] | None = None,
        datastore: dict[str, Any] | None = None,
        postgres: dict[str, str] | None = None,
        server: Postgres | None = None,
        addresses: Iterable[str] | None = None,
        account: str | None = None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lockgate-test-"))
        self.folder.chmod(0o755)
        self.tree = CgroupTree()
        self.server = server or Postgres(postgres)
        self._policies = policies
        self._schema = schema
        self._classification = CLASSIFICATION if classification is None else classification
        self._agent = agent or {}
        self._datastore = datastore or {}
        self._account = account
        self._addresses = list(addresses) if addresses is not None else None
        self._stack = ExitStack()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.agent_yaml = self.folder / "agent.yaml"
        self.collector_yaml = self.folder / "collector.yaml"
        self.metrics_port = free_port()

    def __enter__(self) -> Stack:
        with ExitStack() as stack:
            self._stack = stack
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            stack.enter_context(self.server)
            stack.enter_context(self.tree)
            self.server.psql(self._schema)
            self.configure()
            stack.callback(self._stop_everything)
            self.start("collector")
            self.start("agent")
            self.wait_ready()
            self._stack = stack.pop_all()
        return self

    def configure(self) -> None:
        """Write every configuration file."""
        listen, http = free_port(), free_port()
        (self.folder / "policies").mkdir(exist_ok=True)
        (self.folder / "policies" / "all.cedar").write_text(self._policies)
        entries = [
            {"principal": "ann", "person": "ann", "groups": ["engineers"], "when": {"user": str(PEOPLE["ann"])}},
            {
                "principal": "ann-laptop",
                "person": "ann",
                "groups": ["dba"],
                "when": {"user": str(PEOPLE["ann-laptop"])},
            },
            {"principal": "bob", "person": "bob", "groups": ["engineers", "dba"], "when": {"user": str(PEOPLE["bob"])}},
            {
                "principal": "cyd",
                "person": "cyd",
                "groups": ["engineers", "pii-readers"],
                "when": {"user": str(PEOPLE["cyd"])},
            },
        ]
        (self.folder / "identities.yaml").write_text(yaml.safe_dump(entries))
        (self.folder / "classification.yaml").write_text(yaml.safe_dump(self._classification))
        settings: dict[str, Any] = {
            "agent": {
                "name": "host-1",
                "state_dir": str(self.folder / "state"),
                "run_dir": str(self.folder / "run"),
                "metrics": f"127.0.0.1:{self.metrics_port}",
            },
            "intercept": {"mechanism": "ebpf", "cgroup": self.tree.apps, "agent_cgroup": self.tree.agent},
            "datastores": [
                {
                    "name": "orders",
                    "protocol": "postgresql",
                    "addresses": self._addresses or [f"127.0.0.1:{self.server.port}", f"[::1]:{self.server.port}"],
                    "catalog": {"user": "lockgate"},
                    **self._datastore,
                }
            ],
            "identities": ["identities.yaml"],
            "classify": ["classification.yaml"] if self._classification else [],
            "policies": ["policies"],
            "collector": {"address": f"127.0.0.1:{listen}", "api": f"http://127.0.0.1:{http}"},
            **self._agent,
        }
        self.agent_yaml.write_text(yaml.safe_dump(settings))
        self.collector_yaml.write_text(
            yaml.safe_dump(
                {
                    "collector": {
                        "listen": f"127.0.0.1:{listen}",
                        "http": f"127.0.0.1:{http}",
                        "state_dir": str(self.folder / "collector"),
                    }
                }
            )
        )

    def config_of(self, name: str) -> str:
        return str(self.agent_yaml if name == "agent" else self.collector_yaml)

    def start(self, name: str) -> None:
        """Start `agent` or `collector`."""
        argv = [PROGRAM, name, "--config", self.config_of(name)]
        if name == "agent" and self._account is not None:
            argv = self._prepared(self._account, argv)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(argv, stderr=log, stdout=log, cwd="/")

    def _prepared(self, account: str, argv: Sequence[str]) -> list[str]:
        """As lockgate-agent.service does it: the hooks by root, the agent by `account` in a cgroup of its own."""
        for folder in ("state", "run"):
            (self.folder / folder).mkdir(exist_ok=True)
            shutil.chown(self.folder / folder, account)
        prepared = self.lockgate("prepare", "--user", account, "--config", str(self.agent_yaml))
        if prepared.returncode:
            raise RuntimeError(prepared.stderr)
        return in_cgroup(self.tree.agent, without_root(account, argv))

    def stop(self, name: str, number: int = signal.SIGTERM) -> int:
        """Stop one of the two and return its exit status."""
        process = self.processes.pop(name)
        process.send_signal(number)
        return process.wait(timeout=30)

    def wait_ready(self, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while self.lockgate("status", "--config", str(self.agent_yaml)).returncode:
            if time.monotonic() > deadline or self.processes["agent"].poll() is not None:
                raise RuntimeError("the agent is not ready:\n" + self.log("agent") + self.log("collector"))
            time.sleep(0.05)

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def lockgate(
        self, *arguments: str, person: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run the program, as root or as a person."""
        argv = [PROGRAM, *arguments]
        if person is not None:
            argv = _as(person, argv)
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout, cwd="/")

    def json(self, *arguments: str, person: str | None = None) -> list[dict[str, Any]]:
        """What the program answers with `--json`; raises when it fails."""
        run = self.lockgate(*arguments, "--json", person=person)
        if run.returncode:
            raise RuntimeError(f"{arguments}: {run.returncode}\n{run.stderr}{run.stdout}")
        return [json.loads(line) for line in run.stdout.splitlines()]

    def command(self, person: str, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` as `person` among the intercepted processes."""
        return in_cgroup(self.tree.apps, _as(person, argv))

    def psql_command(self, person: str, *options: str, host: str = "127.0.0.1", port: int | None = None) -> list[str]:
        return self.command(
            person,
            ["psql", "-XAt", "-h", host, "-p", str(port or self.server.port), "-U", "app", "-d", "postgres", *options],
        )

    def psql(
        self,
        person: str,
        *statements: str,
        timeout: float = 60,
        host: str = "127.0.0.1",
        port: int | None = None,
        **variables: str,
    ) -> subprocess.CompletedProcess[str]:
        """Each statement as a `-c` of one psql, in one connection; `variables` stand in its environment."""
        options = [option for text in statements for option in ("-c", textwrap.dedent(text))]
        return subprocess.run(
            self.psql_command(person, *options, host=host, port=port),
            capture_output=True, text=True, check=False, timeout=timeout, env=environment() | variables,
        )  # fmt: skip

    def asleep(self, person: str = "ann") -> subprocess.Popen[str]:
        """A psql in the middle of `SELECT pg_sleep(30)`, on its way to the server when this returns."""
        sql = "SELECT pg_sleep(30)"
        running = subprocess.Popen(
            self.psql_command(person, "-c", sql), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(),
        )  # fmt: skip
        self.record(type="statement", phase="begin", statement=sql)
        return running

    def records(self, **where: Any) -> list[dict[str, Any]]:
        """Everything in the spool so far, decoded from the agent's own folder (not what the collector has)."""
        from lockgate.audit import record, segment

        found: list[dict[str, Any]] = []
        for path in sorted((self.folder / "state" / "spool").glob(f"*{segment.SUFFIX}")):
            data = path.read_bytes()
            _, offset = segment.read_header(data)
            for start, stop in segment.entries(data, offset):
                found.append(record.decode(data[start + segment.ENTRY_PREFIX : stop]))
        return [r for r in found if all(r.get(key) == value for key, value in where.items())]

    def record(self, **where: Any) -> dict[str, Any]:
        """The record that has all of `where`, once it is there: an end is written a moment after the client knows."""
        deadline = time.monotonic() + 10
        while not (found := self.records(**where)):
            if time.monotonic() > deadline:
                raise AssertionError(f"no record with {where}")
            time.sleep(0.02)
        return found[0]

    def _stop_everything(self) -> None:
        for name in reversed(list(self.processes)):  # an agent whose collector has gone waits for it a while
            try:
                self.stop(name)
            except subprocess.TimeoutExpired:
                self.processes[name].kill()
                self.processes.pop(name).wait()
        self.lockgate("release", "--config", str(self.agent_yaml))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(self.log("agent"), self.log("collector"), sep="\n")
        self._stack.close()


def _as(person: str, argv: Sequence[str]) -> list[str]:
    uid = str(PEOPLE[person])
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *argv]


def without_root(account: str, argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` as `account`, with no capability but those that the agent's unit has."""
    unit = (Path(__file__).parents[2] / "packaging" / "systemd" / "lockgate-agent.service").read_text()
    names = re.search(r"^AmbientCapabilities=(.*)$", unit, re.M)
    assert names
    held = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in names[1].split())
    identity = pwd.getpwnam(account)
    return ["setpriv", f"--reuid={identity.pw_uid}", f"--regid={identity.pw_gid}", "--clear-groups", "--no-new-privs",
            f"--inh-caps=-all,{held}", f"--ambient-caps=-all,{held}", f"--bounding-set=-all,{held}", *argv]  # fmt: skip


def environment() -> dict[str, str]:
    keep = ("PATH", "LANG", "LC_ALL")
    return {"HOME": "/nonexistent", "PGCONNECT_TIMEOUT": "10", **{k: v for k, v in os.environ.items() if k in keep}}
