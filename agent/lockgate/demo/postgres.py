"""A scratch PostgreSQL server: its own folder, its own port, gone when its `with` ends."""

from __future__ import annotations

import errno
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final

from lockgate.demo.errors import DemoError

INITDB_SECONDS = 120.0
START_SECONDS = 30.0
STOP_SECONDS = 20.0
INSTALL = "apt-get install postgresql-15 postgresql-client-15"

_AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
"""PostgreSQL refuses to run as root."""


@cache
def binaries(installed: Path = Path("/usr/lib/postgresql")) -> Path:
    """The folder of the newest PostgreSQL that has both server and client, as Debian installs them.

    Raises DemoError when there is none, or no account to run it as.
    """
    found = [
        folder
        for folder in installed.glob("*/bin")
        if folder.parent.name.isdecimal() and all((folder / name).exists() for name in ("initdb", "postgres", "psql"))
    ]
    if not found:
        raise DemoError(f"PostgreSQL is not installed below {installed}: {INSTALL}")
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        raise DemoError(f"there is no account postgres to run PostgreSQL as: {INSTALL}") from None
    return max(found, key=lambda folder: int(folder.parent.name))


PORTS: Final = range(20_000, 32_000)
"""Below the ports that Linux gives to outgoing connections (net.ipv4.ip_local_port_range): none takes one meanwhile."""


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on at this moment. Raises OSError when a hundred in a row are taken."""
    for _ in range(100):
        port = random.choice(PORTS)
        try:
            with socket.create_server((host, port)):
                return port
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, f"no free port found in {PORTS}")


class Postgres:
    """`with Postgres() as server:` gives a running server; superuser `postgres`, trust on loopback.

    `settings` go to postgresql.conf; `hba` replaces pg_hba.conf; the server's folder is made in `parent` (the
    system's temporary folder unless given). Raises DemoError when no PostgreSQL is installed.
    """

    def __init__(
        self, settings: Mapping[str, str] | None = None, hba: str | None = None, parent: Path | None = None
    ) -> None:
        self._binaries = binaries()
        self.folder = Path(tempfile.mkdtemp(prefix="lockgate-pg-", dir=parent))
        self.port = free_port()
        self.settings = settings or {}
        self.hba = hba
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Postgres:
        try:
            return self._begin()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def _begin(self) -> Postgres:
        account = pwd.getpwnam("postgres")
        data = self.folder / "data"
        os.chown(self.folder, account.pw_uid, account.pw_gid)
        self._as_postgres(
            str(self._binaries / "initdb"),
            "-D",
            str(data),
            "-A",
            "trust",
            "-U",
            "postgres",
            "-N",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        )
        lines = {
            "listen_addresses": "'127.0.0.1,::1'",
            "port": str(self.port),
            "unix_socket_directories": f"'{self.folder}'",
            "fsync": "off",
            "shared_buffers": "'64MB'",
            "max_connections": "60",
            **self.settings,
        }
        with (data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{key} = {value}\n" for key, value in lines.items())
        if self.hba is not None:
            (data / "pg_hba.conf").write_text(self.hba)
        self.start()
        return self

    def start(self) -> None:
        """Start the server and wait until it answers. Raises RuntimeError with its log when it does not."""
        with (self.folder / "log").open("ab") as log:
            # a session of its own: Ctrl-C on the terminal is for whoever stops it, not for itself
            self._process = subprocess.Popen(
                [*_AS_POSTGRES, str(self._binaries / "postgres"), "-D", str(self.folder / "data")], stdout=log,
                stderr=log, cwd="/", env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(
            [self._binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        ).returncode:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.05)

    def stop(self) -> None:
        """Immediate shutdown: nothing it holds is kept anyway."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=STOP_SECONDS)
            self._process = None

    def psql(self, sql: str, database: str = "postgres", user: str = "postgres") -> str:
        """Straight to the server, past the agent: to prepare and to look. Raises RuntimeError."""
        run = subprocess.run(
            [self._binaries / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder), "-p", str(self.port),
             "-U", user, "-d", database],
            input=sql, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        if run.returncode:
            raise RuntimeError(run.stderr)
        return run.stdout

    def _as_postgres(self, *command: str) -> None:
        with subprocess.Popen(
            [*_AS_POSTGRES, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, cwd="/", start_new_session=True,
        ) as process:  # fmt: skip
            try:
                output, _ = process.communicate(timeout=INITDB_SECONDS)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)  # initdb has children, which would go on writing to the folder
                raise
        if process.returncode:
            raise RuntimeError(output)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
