"""The demo's small world: scratch servers, a collector, an agent, a cgroup it watches, and people in there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import yaml

from lockgate.approval.ask import AgentAway, AgentRefused, ask
from lockgate.demo.cgroup import Subtree
from lockgate.demo.commands import Ran, Running, typed
from lockgate.demo.errors import DemoError
from lockgate.demo.postgres import Postgres, binaries, free_port
from lockgate.demo.redis import Redis
from lockgate.kernel.interceptor import detach
from lockgate.kernel.libbpf import KernelError

ORDERS: Final = Path(__file__).with_name("orders")
"""The worked set: policies/examples/orders in a checkout."""
CACHE: Final = Path(__file__).with_name("cache")
"""What the demo has beside it: an agent.yaml with both datastores, and what is about the second one."""
SCHEMA: Final = Path(__file__).with_name("shop.sql")
DATABASE: Final = "shop"
CACHED: Final = Path(__file__).with_name("cache.txt")

PEOPLE: Final = {"ann": 64001, "bob": 64002, "cleo": 64003, "sam": 64004, "ann-admin": 64005}
"""User ids that need no account: people of the worked set, and a second account of ann's, which may approve."""
SECOND_ACCOUNT: Final = {"principal": "ann-admin", "person": "ann", "groups": ["dba"]}

READY_SECONDS = 30.0
STOP_SECONDS = 15.0
COMMAND_SECONDS = 30.0
"""How long one command may take. What is held is not waited for with this."""
PAUSE_SECONDS = 0.02
"""Between two looks at what is waited for."""
LOG_LINES = 12
"""Of a program's log, when it is to blame."""

_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class World:
    """`with World() as world:` starts everything and waits until the agent is ready; leaving takes all of it away.

    `orders` and `cache` are folders like `ORDERS` and `CACHE`. Raises DemoError when something can't be started.
    """

    def __init__(self, orders: Path = ORDERS, cache: Path = CACHE) -> None:
        self._sets = {"orders": orders, "cache": cache}
        self._stack = ExitStack()
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self._path = ":".join((str(Path(sys.executable).parent), str(binaries()), "/usr/bin:/bin"))
        program = shutil.which("lockgate", path=self._path)
        if program is None:
            raise DemoError(f"the program lockgate is not beside {sys.executable}")
        self._program = program

    def __enter__(self) -> World:
        try:
            self._begin()
        except BaseException as error:
            self._close()
            if isinstance(error, KernelError | RuntimeError | OSError | subprocess.SubprocessError):
                raise DemoError(str(error)) from error
            raise
        return self

    def _begin(self) -> None:
        stack = self._stack
        # the process id tells whose it is, should a kill -9 leave it behind
        self.folder = Path(tempfile.mkdtemp(prefix=f"lockgate-demo-{os.getpid()}-"))
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.chmod(0o755)
        self._run_dir = self.folder / "run"
        self.tree = stack.enter_context(Subtree(f"/{self.folder.name}"))
        listen, http = free_port(), free_port()
        collector = {"listen": f"127.0.0.1:{listen}", "http": f"127.0.0.1:{http}", "state_dir": "collector"}
        self._write("collector.yaml", {"collector": collector})
        stack.callback(self._stop_all)
        self.start("collector")  # it needs none of the others, and starts while PostgreSQL is made
        self.cache = stack.enter_context(Redis(parent=self.folder))
        self.cache.fill(CACHED.read_text())
        self.server = stack.enter_context(Postgres(parent=self.folder))
        self._configure(collector)
        self.server.psql(f"CREATE DATABASE {DATABASE}")
        self.server.psql(SCHEMA.read_text(), database=DATABASE)
        stack.callback(self._release)
        self.start("agent")

    def _configure(self, collector: dict[str, str]) -> None:
        """The two sets, with this world's addresses, cgroups and people in them."""
        for name, folder in self._sets.items():
            shutil.copytree(folder, self.folder / name)
        settings = yaml.safe_load((self._sets["cache"] / "agent.yaml").read_text())
        ports = {"orders": self.server.port, "cache": self.cache.port}
        for datastore in settings["datastores"]:
            port = ports[datastore["name"]]
            datastore["addresses"] = [f"127.0.0.1:{port}", f"[::1]:{port}"]
        settings |= {
            "agent": {"name": "demo", "state_dir": "state", "run_dir": "run"},
            "intercept": {"cgroup": self.tree.apps, "agent_cgroup": self.tree.agent},
            "identities": ["identities.yaml"],
            "classify": [f"{name}/classification.yaml" for name in self._sets],
            "policies": list(self._sets),
            "collector": {"address": collector["listen"], "api": f"http://{collector['http']}"},
        }
        entries = [*yaml.safe_load((self._sets["orders"] / "identities.yaml").read_text()), SECOND_ACCOUNT]
        for entry in entries:
            if entry["principal"] in PEOPLE:
                entry["when"] = {"user": str(PEOPLE[entry["principal"]])}
        self._write("identities.yaml", entries)
        self._write("agent.yaml", settings)

    def _write(self, name: str, content: Any) -> None:
        (self.folder / name).write_text(yaml.safe_dump(content))

    # the programs

    def start(self, name: str) -> None:
        """Start `agent` or `collector`; of the agent, wait until it is ready. Raises DemoError with its log."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self._programs[name] = subprocess.Popen(
                [self._program, name, "--config", f"{name}.yaml"], cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + READY_SECONDS
        while name == "agent" and not self._ready():
            if self._programs[name].poll() is not None:
                raise DemoError(f"the agent can't start\n{self.complaints('agent')}")
            if time.monotonic() > deadline:
                complaints = self.complaints("agent") + self.complaints("collector")
                raise DemoError(f"the agent is not ready in {READY_SECONDS:g} s\n{complaints}")
            time.sleep(PAUSE_SECONDS)

    def _ready(self) -> bool:
        try:
            status = self.status()
        except (AgentAway, AgentRefused):
            return False
        return bool(status["ready"] and status["collector"]["connected"])

    def status(self) -> dict[str, Any]:
        """What the agent says of itself. Raises AgentAway."""
        found: dict[str, Any] = ask(self._run_dir, "status")["status"]
        return found

    def pid(self, name: str) -> int:
        return self._programs[name].pid

    def ended(self, name: str) -> int:
        """Wait until a program that was killed is gone; its exit status (-9: by SIGKILL)."""
        return self._programs.pop(name).wait(timeout=STOP_SECONDS)

    def complaints(self, name: str) -> str:
        """What a program's log has to say but that all is well, its last lines."""
        lines = (self.folder / f"{name}.log").read_text(errors="replace").splitlines(keepends=True)
        return "".join([line for line in lines if '"level": "info"' not in line][-LOG_LINES:])

    def _stop_all(self) -> None:
        """The last that was started first: the agent has its say to the collector."""
        for process in reversed(self._programs.values()):
            process.terminate()
            try:
                process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _release(self) -> None:
        """Stop the programs and open the gate for good, as an operator does who takes Lockgate off a host."""
        self._stop_all()
        pins = self._run_dir / "bpf"
        if not pins.exists():
            return  # the agent did not get as far as its hooks
        try:
            subprocess.run(
                [self._program, "release", "--config", "agent.yaml"], cwd=self.folder, check=True, capture_output=True,
                text=True, timeout=COMMAND_SECONDS,
            )  # fmt: skip
        except subprocess.CalledProcessError as error:
            raise DemoError(f"lockgate release: {error.stderr.strip()}") from error
        finally:
            # also when that failed: a mount that stays behind would be worse than a release that isn't recorded
            detach(pins)

    # the people

    def begin(self, person: str, *argv: str) -> Running:
        """Start a command as `person`, among the processes the agent watches, at a prompt in the demo's folder."""
        output = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 - Running closes it
        process = subprocess.Popen(
            self.tree.inside(_as(person, argv)), cwd=self.folder, env=self._environment(), stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
        return Running(typed(person, argv), process, output)

    def run(self, person: str, *argv: str) -> Ran:
        """A command to its end, whatever it is. Raises DemoError for one that goes on and on."""
        with self.begin(person, *argv) as running:
            try:
                return running.finish(COMMAND_SECONDS)
            except subprocess.TimeoutExpired:
                raise DemoError(f"no answer in {COMMAND_SECONDS:g} s: {running.typed}\n{running.so_far}") from None

    def until(self, enough: Callable[[Ran], bool], seconds: float, person: str, *argv: str) -> Ran:
        """Repeat a command until its answer is `enough`, for what comes about beside it; the last answer."""
        deadline = time.monotonic() + seconds
        while not enough(ran := self.run(person, *argv)) and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
        return ran

    def truth(self, sql: str) -> list[tuple[str, ...]]:
        """The rows as they are: asked of the server itself, past the agent."""
        return [tuple(line.split("|")) for line in self.server.psql(sql, database=DATABASE).splitlines()]

    def cached(self, *command: str) -> str:
        """What the cache itself answers, past the agent, as redis-cli prints it."""
        return self.cache.ask(*command)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": self._path,
            "HOME": "/nonexistent",
            "LC_ALL": "C.UTF-8",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.server.port),
            "PGUSER": "app",
            "PGDATABASE": DATABASE,
            "PGCONNECT_TIMEOUT": "10",
        }

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        """Take everything away; a second Ctrl-C does not stop that half-way."""
        before = {number: signal.signal(number, signal.SIG_IGN) for number in _STOPPING}
        try:
            self._stack.close()
        except (KernelError, OSError, subprocess.SubprocessError) as error:
            raise DemoError(f"not everything could be taken away: {error}") from error
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _as(person: str, argv: Sequence[str]) -> Sequence[str]:
    """The command that runs `argv` with a person's user id; root is who calls."""
    if person == "root":
        return argv
    uid = PEOPLE[person]
    become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    if argv[0] == "lockgate":
        # it may be installed where only root may look, such as in a checkout below /root: reading is all this gives
        become += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return [*become, *argv]
