"""The command line's side of the control socket."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

import msgspec

ANSWER_BYTES = 1024 * 1024
TIMEOUT_SECONDS = 10.0


class AgentAway(Exception):
    """No agent answers on this host. The message names the socket."""


class AgentRefused(Exception):
    """The agent answered that it won't. The message says why."""


def socket_path(run_dir: str | Path) -> Path:
    """Where the control socket is, below `agent.run_dir`."""
    return Path(run_dir) / "agent.sock"


def ask(run_dir: str | Path, op: str, **fields: str | int) -> dict[str, Any]:
    """Asks the agent of this host one thing: `token`, `approval-token` (hold, digest, decision), `grant-token` (hold,
    fingerprint, seconds), `revocation-token` (grant, comment) or `status`.

    Raises AgentAway, AgentRefused.
    """
    path = socket_path(run_dir)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(TIMEOUT_SECONDS)
            sock.connect(str(path))
            sock.sendall(msgspec.json.encode({"op": op, **fields}) + b"\n")
            answer = _line(sock)
    except OSError as error:
        raise AgentAway(f"{path}: the agent does not answer ({error.strerror or error})") from error
    try:
        found = msgspec.json.decode(answer, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise AgentAway(f"{path}: the agent closed without an answer") from error
    if "error" in found:
        raise AgentRefused(str(found.get("message") or found["error"]))
    return found


def holder(run_dir: str | Path) -> int | None:
    """The process that listens at the control socket, told by the kernel; None when nobody does."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(TIMEOUT_SECONDS)
            sock.connect(str(socket_path(run_dir)))
            pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except OSError:
        return None
    return int(pid) or None


def _line(sock: socket.socket) -> bytes:
    answer = bytearray()
    while not answer.endswith(b"\n") and len(answer) <= ANSWER_BYTES:
        piece = sock.recv(65536)
        if not piece:
            break
        answer += piece
    return bytes(answer)
