"""Which file it is, and what is said when nothing answers (the commands' tests ask the real ones)."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from lockgate.cli.reach import Api, Failure, load
from lockgate.config import AgentFile, CollectorFile, ConfigError, load_agent
from tests.cli.host import Desk


def test_the_file_is_told_by_its_keys(tmp_path: Path) -> None:
    agent, collector = tmp_path / "agent.yaml", tmp_path / "collector.yaml"
    agent.write_text(
        json.dumps(
            {
                "agent": {"name": "host-1"},
                "intercept": {},
                "datastores": [{"name": "orders", "protocol": "postgresql", "addresses": ["127.0.0.1:5432"]}],
                "collector": {"address": "127.0.0.1:24224", "api": "http://127.0.0.1:8080"},
            }
        )
    )
    collector.write_text("collector: {listen: '127.0.0.1:24224', http: '127.0.0.1:8080'}")
    assert isinstance(load(str(agent)), AgentFile)
    assert isinstance(load(str(collector)), CollectorFile)


@pytest.mark.parametrize("text", ["", "[]", "a: [", "collector: 5", "\x00", "agent: {}\ncollector: {}"])
def test_what_is_neither_is_said_with_file_and_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=str(path)):
        load(str(path))
    with pytest.raises(ConfigError):
        load(str(tmp_path / "missing.yaml"))


def test_what_answers_but_is_no_collector_is_said(tmp_path: Path) -> None:
    with Desk(tmp_path) as desk, socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        desk.agent_yaml.write_text(desk.agent_yaml.read_text().replace(desk.http, address))
        with pytest.raises(Failure, match="not as a collector does"):
            Api(load_agent(desk.agent_yaml)).get("/v1/holds")
        thread.join()


def test_what_a_collector_says_does_not_write_to_the_terminal() -> None:
    assert Failure("the collector refused: \x1b]0;root\x07\x9b2J\nagain").format_message() == (
        "the collector refused: \\x1b]0;root\\x07\\x9b2J\nagain"
    )
