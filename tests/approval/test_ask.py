"""What the command line makes of an agent that answers badly (the good answers are in test_control)."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lockgate.approval import ask as ask_module
from lockgate.approval.ask import AgentAway, AgentRefused, ask, holder, socket_path


@contextmanager
def agent(folder: Path, answer: bytes) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path(folder)))
        listener.listen()

        def serve() -> None:
            caller, _ = listener.accept()
            with caller:
                caller.recv(4096)
                caller.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


@pytest.mark.parametrize("answer", [b"", b"\n", b"not json\n", b"[]\n", b"\xff\n", b'{"a":"\xff"}\n'])
def test_an_answer_that_is_none(tmp_path: Path, answer: bytes) -> None:
    with agent(tmp_path, answer), pytest.raises(AgentAway, match="without an answer"):
        ask(tmp_path, "status")


def test_a_refusal_says_why(tmp_path: Path) -> None:
    answer = b'{"error":"not_identified","message":"who are you"}\n'
    with agent(tmp_path, answer), pytest.raises(AgentRefused, match="who are you"):
        ask(tmp_path, "token")


def test_an_answer_in_pieces_is_read_whole(tmp_path: Path) -> None:
    with agent(tmp_path, b'{"status":"' + b"x" * 200_000 + b'"}\n'):
        assert len(ask(tmp_path, "status")["status"]) == 200_000


def test_an_agent_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask_module, "TIMEOUT_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path(tmp_path)))
        listener.listen()
        with pytest.raises(AgentAway, match="does not answer"):
            ask(tmp_path, "status")


def test_who_holds_the_socket_is_told_by_the_kernel(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path(tmp_path)))
        assert holder(tmp_path) is None
        listener.listen()
        assert holder(tmp_path) == os.getpid()
