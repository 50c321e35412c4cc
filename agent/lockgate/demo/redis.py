"""A scratch Redis server: its own folder, its own port, gone when its `with` ends."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from lockgate.demo.errors import DemoError
from lockgate.demo.postgres import free_port

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 20.0
ANSWER_SECONDS: Final = 10.0
INSTALL: Final = "apt-get install redis-server redis-tools"

_ACCOUNT: Final = "redis"
_AS_REDIS: Final = ("setpriv", f"--reuid={_ACCOUNT}", f"--regid={_ACCOUNT}", "--clear-groups")
"""Whom Debian runs it as: it need not be root."""


def program(name: str) -> str:
    """Where `redis-server` or `redis-cli` is. Raises DemoError when it isn't installed."""
    found = shutil.which(name)
    if found is None:
        raise DemoError(f"{name} is not installed: {INSTALL}")
    return found


class Redis:
    """`with Redis() as server:` gives a running server on 127.0.0.1 and ::1, which writes nothing to disk.

    `settings` are directives of redis.conf beside its own. Its folder is made in `parent` (the system's temporary
    folder unless given). Raises DemoError when no Redis is installed.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, *, parent: Path | None = None) -> None:
        self._server, self._client = program("redis-server"), program("redis-cli")
        try:
            self._account = pwd.getpwnam(_ACCOUNT)
        except KeyError:
            raise DemoError(f"there is no account {_ACCOUNT} to run Redis as: {INSTALL}") from None
        self.settings = settings or {}
        self.folder = Path(tempfile.mkdtemp(prefix="lockgate-redis-", dir=parent))
        self.port = free_port()
        self.socket = self.folder / "socket"
        self.log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.configure()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.kill()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, *command: str) -> str:
        """The answer of one command as redis-cli prints it for programs, an element a line: by the server's unix
        socket, so past the agent. Raises RuntimeError for an error."""
        ran = subprocess.run(
            [self._client, "-e", "-s", str(self.socket), *command], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False, timeout=ANSWER_SECONDS,
        )  # fmt: skip
        if ran.returncode:
            raise RuntimeError(f"redis-cli: {(ran.stderr or ran.stdout).strip()}")
        return ran.stdout

    def fill(self, commands: str) -> None:
        """Run a file of commands, one a line as a shell takes them apart, comments too. Raises RuntimeError."""
        for command in filter(None, (shlex.split(line, comments=True) for line in commands.splitlines())):
            self.ask(*command)

    def directives(self) -> dict[str, str]:
        """What redis.conf says of its own. May put files into `folder`."""
        return {
            "bind": "127.0.0.1 -::1",
            "port": str(self.port),
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "save": '""',
            "appendonly": "no",
            "daemonize": "no",
        }

    def configure(self) -> None:
        """Put what it starts from into its folder."""
        lines = {**self.directives(), **self.settings}
        (self.folder / "redis.conf").write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
        for path in (self.folder, *self.folder.iterdir()):
            os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def start(self) -> None:
        """Start the server and wait until it answers. Raises RuntimeError with its log when it does not."""
        with self.log.open("ab") as log:
            # a session of its own: Ctrl-C on the terminal is for whoever stops it, not for itself
            self._process = subprocess.Popen(
                [*_AS_REDIS, self._server, str(self.folder / "redis.conf")], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, cwd="/", env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(self.log.read_text() or "redis-server said nothing")
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return self.ask("PING") == "PONG\n"
        except RuntimeError:
            return False

    def kill(self) -> None:
        """At once: nothing it holds is kept anyway, and clients see the connection reset or closed."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.socket.unlink(missing_ok=True)
