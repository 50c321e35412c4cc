"""The process that connected, and no other that has its number now."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.approval import peer as peer_module
from lockgate.approval.peer import Peer, PeerGone

CONNECT = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
print("connected", flush=True)
sys.stdin.read()
"""


class Caller:
    """A process of its own that has connected; `sock` is our end."""

    def __init__(self, folder: Path) -> None:
        path = str(folder / "s")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            self.process = subprocess.Popen(
                [sys.executable, "-c", CONNECT, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            self.sock, _ = listener.accept()
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def end(self) -> None:
        self.process.communicate()


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    found = Caller(tmp_path)
    yield found
    if found.process.returncode is None:
        found.end()
    found.sock.close()


@pytest.fixture(params=["pidfd", "start time"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With SO_PEERPIDFD, and as on a kernel before 6.5 (that number is unknown there)."""
    if request.param == "start time":
        monkeypatch.setattr(peer_module, "SO_PEERPIDFD", 9999)
    return str(request.param)


@pytest.mark.usefixtures("how")
def test_a_living_caller_is_told(caller: Caller) -> None:
    with Peer(caller.sock) as peer:
        assert (peer.pid, peer.uid, peer.gid) == (caller.process.pid, os.getuid(), os.getgid())
        peer.check()


@pytest.mark.usefixtures("how")
def test_a_caller_that_ends_while_it_is_looked_at_is_nobody(caller: Caller) -> None:
    with Peer(caller.sock) as peer:
        caller.end()
        with pytest.raises(PeerGone, match="ended"):
            peer.check()


@pytest.mark.usefixtures("how")
def test_a_caller_that_ended_before_is_nobody(caller: Caller) -> None:
    caller.end()
    with pytest.raises(PeerGone), Peer(caller.sock) as peer:
        peer.check()


def test_a_number_that_another_process_has_now_is_noticed(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(peer_module, "SO_PEERPIDFD", 9999)
    stat = tmp_path / "proc" / str(caller.process.pid) / "stat"
    stat.parent.mkdir(parents=True)
    line = "7 (a ) b) S " + " ".join(str(number) for number in range(4, 53))
    stat.write_text(line)
    with Peer(caller.sock, tmp_path / "proc") as peer:
        peer.check()
        stat.write_text(line.replace(" 23 ", " 9923 "))
        peer.check()
        stat.write_text(line.replace(" 22 ", " 9922 "))
        with pytest.raises(PeerGone):
            peer.check()
