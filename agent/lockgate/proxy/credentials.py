"""Where the password of a credential comes from: a file, systemd, the environment, a command.

A password is read anew for each connection, so that changing it needs no restart; only what a command printed is kept
for a moment. Nothing here writes a secret anywhere: it is handed on as a `Secret`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lockgate import config
from lockgate.config.secrets import PASSWORD_BYTES, SecretError, password, read_password
from lockgate.values.secret import Secret

COMMAND_SECONDS: Final = 10.0
"""How long a command that fetches a password may take."""

COMMAND_TTL_SECONDS: Final = 30.0
"""How long its output is used: a vault is asked twice a minute, and a password that was changed is had as soon."""

COMMAND_RETRY_SECONDS: Final = 1.0
"""The least time between two runs of one command, also when it failed or the datastore refused what it printed."""

ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/",
                      "LANG": "C.UTF-8"}  # fmt: skip
"""All that a command finds in its environment: nothing of the agent's, which may hold other secrets."""


@dataclass(slots=True)
class _Printed:
    """What a command printed, or why it printed nothing of use. `at` is when, on the clock of `Passwords`."""

    outcome: Secret | SecretError | None = None
    at: float = 0.0
    refused: bool = False
    running: asyncio.Lock = field(default_factory=asyncio.Lock)


class Passwords:
    """Where those of one datastore's credentials come from. `clock` is in seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._printed: dict[tuple[str, ...], _Printed] = {}
        """By command line: as many as the configuration has."""

    async def of(self, credential: config.Credential) -> Secret | None:
        """Its password; None where it has none. Raises SecretError."""
        if credential.password_file is not None:
            return read_password(credential.password_file)
        if credential.systemd is not None:
            folder = os.environ.get("CREDENTIALS_DIRECTORY")
            if folder is None:
                raise SecretError(f"systemd has passed no credentials: {credential.systemd} can't be read")
            return read_password(str(Path(folder) / credential.systemd))
        if credential.env is not None:
            value = os.environ.get(credential.env)
            if value is None:
                raise SecretError(f"the environment has no {credential.env}")
            return password(os.fsencode(value), f"the variable {credential.env}")
        if credential.command is not None:
            return await self._command(tuple(credential.command))
        return None

    def refused(self, credential: config.Credential) -> None:
        """The datastore did not take it: a command is run again before what it printed is used once more."""
        if credential.command is not None and (printed := self._printed.get(tuple(credential.command))) is not None:
            printed.refused = True

    async def _command(self, argv: tuple[str, ...]) -> Secret:
        printed = self._printed.setdefault(argv, _Printed())
        async with printed.running:
            fresh = COMMAND_TTL_SECONDS
            if printed.refused or isinstance(printed.outcome, SecretError):
                fresh = COMMAND_RETRY_SECONDS
            if printed.outcome is None or self._clock() - printed.at >= fresh:
                printed.outcome = await _run(argv)
                printed.at, printed.refused = self._clock(), False
            if isinstance(printed.outcome, SecretError):
                raise SecretError(str(printed.outcome))
            return printed.outcome


class _Capture(asyncio.SubprocessProtocol):
    """Keeps what a program prints; `done` is True once it has ended, False once it has printed too much."""

    def __init__(self) -> None:
        self.printed = bytearray()
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        self.exited.set()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.printed += data
        if len(self.printed) > PASSWORD_BYTES:
            self._end(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(True)

    def _end(self, whole: bool) -> None:
        if not self.done.done():
            self.done.set_result(whole)


async def _run(argv: tuple[str, ...]) -> Secret | SecretError:
    """What the program prints. It may take COMMAND_SECONDS and print PASSWORD_BYTES; what it says else is dropped."""
    name = f"the command {argv[0]}"  # its arguments may hold a token
    try:
        transport, capture = await asyncio.get_running_loop().subprocess_exec(
            _Capture, *argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=ENVIRONMENT, cwd="/", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return SecretError(f"{name} can't be run: {error.strerror or error}")
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            whole = await capture.done
        status = transport.get_returncode()
    except TimeoutError:
        return SecretError(f"{name} took more than {COMMAND_SECONDS:g} s")
    finally:
        if transport.get_returncode() is None:
            # with whatever it has started, since the session is its own; it may have ended this moment
            with contextlib.suppress(ProcessLookupError):
                os.killpg(transport.get_pid(), signal.SIGKILL)
            await capture.exited.wait()
        transport.close()
    if not whole:
        return SecretError(f"{name} printed more than {PASSWORD_BYTES} bytes: it is not a password")
    if status != 0:
        return SecretError(f"{name} failed with status {status}")
    try:
        return password(bytes(capture.printed), f"the output of {argv[0]}")
    except SecretError as error:
        return error
