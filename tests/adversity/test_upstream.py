"""A datastore that is away, goes away or is slow."""

from __future__ import annotations

import socket
import struct
import subprocess
import time

from tests.support.cgroup import run_in
from tests.support.stack import Stack, environment


def test_one_that_refuses_fails_the_connection_and_does_not_hang_it(stack: Stack) -> None:
    stack.server.stop()
    started = time.monotonic()
    run = stack.psql("ann", "SELECT 1")
    assert time.monotonic() - started < 5
    assert run.returncode == 2
    assert "lockgate: connection to 127.0.0.1" in run.stderr
    assert "refused" in run.stderr
    stack.server.start()
    assert stack.psql("ann", "SELECT 1").returncode == 0


def test_one_that_goes_away_ends_the_connection(stack: Stack) -> None:
    running = stack.asleep()
    stack.server.stop()
    running.communicate(timeout=10)
    assert running.returncode != 0
    assert stack.record(phase="end", type="statement", outcome="disconnected")["duration_us"] > 0


def test_cancel_reaches_the_datastore(stack: Stack) -> None:
    running = stack.asleep()
    running.send_signal(2)
    assert "canceling statement due to user request" in running.communicate(timeout=10)[1]
    assert stack.record(phase="end", type="statement", outcome="cancelled")["error"] == {"code": "57014"}


def listener_port(stack: Stack) -> int:
    """Where the agent listens, found as anybody on the host could find it."""
    pid = stack.processes["agent"].pid
    lines = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout.splitlines()
    ports = {int(line.split()[3].rpartition(":")[2]) for line in lines if f"pid={pid}," in line}
    return next(iter(ports - {stack.metrics_port}))


def test_a_connection_that_was_not_redirected_is_told_so_and_closed(stack: Stack) -> None:
    run = subprocess.run(
        ["psql", "-h", "127.0.0.1", "-p", str(listener_port(stack)), "-U", "app", "-c", "SELECT 1"],
        capture_output=True, text=True, check=False, timeout=20, env=environment(),
    )  # fmt: skip
    assert run.returncode == 2
    assert "this connection was not intercepted" in run.stderr
    # from inside the intercepted cgroup too: the listener is not a datastore
    inside = run_in(
        stack.tree.apps, ["psql", "-h", "127.0.0.1", "-p", str(listener_port(stack)), "-U", "app", "-c", "SELECT 1"]
    )
    assert "this connection was not intercepted" in inside.stderr


def test_garbage_on_the_listener_is_closed_and_nothing_else_suffers(stack: Stack) -> None:
    port = listener_port(stack)
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", bytes(64), struct.pack("!II", 0x7FFFFFFF, 196608), b"\x16\x03\x01" * 40):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := sock.recv(4096):
                answer += piece
            assert not answer or answer[:1] == b"E"
    assert stack.psql("ann", "SELECT 1").returncode == 0
