from __future__ import annotations

import socket
from pathlib import Path

import pytest

from lockgate.demo.errors import DemoError
from lockgate.demo.redis import Redis, program


def test_what_is_missing_is_said_with_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DemoError, match=r"^redis-server is not installed: apt-get install redis-server "):
        Redis()
    with pytest.raises(DemoError, match=r"^redis-cli is not installed: "):
        program("redis-cli")


def test_a_server_of_ones_own() -> None:
    with Redis() as server:
        server.fill('# two keys\nSET greeting "hello, you"\n\nHSET who name Ann age 7\n')
        assert server.ask("GET", "greeting") == "hello, you\n"
        assert server.ask("HGETALL", "who") == "name\nAnn\nage\n7\n"
        with pytest.raises(RuntimeError, match=r"^redis-cli: ERR unknown command 'NONSENSE'"):
            server.ask("NONSENSE")
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"CONFIG GET save\r\n")
            assert client.recv(100) == b"*2\r\n$4\r\nsave\r\n$0\r\n\r\n"
        folder = server.folder
    assert not folder.exists()


def test_a_mistake_in_what_it_is_filled_with_is_told() -> None:
    with Redis() as server, pytest.raises(RuntimeError, match="wrong number of arguments"):
        server.fill("SET a\n")


def test_a_server_that_does_not_start_says_why_and_leaves_nothing() -> None:
    server = Redis()
    taken = socket.create_server(("127.0.0.1", server.port))
    with taken, pytest.raises(RuntimeError, match="Address already in use"), server:
        pass
    assert not server.folder.exists()
