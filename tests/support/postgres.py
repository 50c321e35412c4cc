"""A scratch PostgreSQL server: its own folder, its own port, gone when the test is."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

BINARIES = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))


def free_port(host: str = "127.0.0.1") -> int:
    with socket.create_server((host, 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Postgres:
    """`with Postgres() as server:` gives a running server; superuser `postgres`, trust on loopback.

    `settings` go to postgresql.conf; `hba` replaces pg_hba.conf.
    """

    def __init__(self, settings: dict[str, str] | None = None, hba: str | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lockgate-pg-"))
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
            str(BINARIES / "initdb"),
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
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", str(BINARIES / "postgres"), "-D",
                 str(self.folder / "data")], stdout=log, stderr=log, cwd="/", env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while subprocess.run(
            [BINARIES / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        ).returncode:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(3)  # SIGQUIT: immediate shutdown
            self._process.wait(timeout=20)
            self._process = None

    def psql(self, sql: str, database: str = "postgres", user: str = "postgres") -> str:
        """Straight to the server, past the agent: to prepare and to look."""
        run = subprocess.run(
            ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder), "-p", str(self.port), "-U", user, "-d", database],
            input=sql, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        if run.returncode:
            raise RuntimeError(run.stderr)
        return run.stdout

    def _as_postgres(self, *command: str) -> None:
        run = subprocess.run(
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command],
            capture_output=True, text=True, check=False, cwd="/", timeout=120,
        )  # fmt: skip
        if run.returncode:
            raise RuntimeError(run.stdout + run.stderr)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
