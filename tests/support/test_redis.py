"""The scratch server itself: what it is asked for is what it does."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.certificates import Signer
from tests.support.redis import Cluster, Redis

ONCE = Retry(NoBackoff(), 0)


def test_it_answers_and_is_gone_afterwards() -> None:
    with Redis({"maxmemory": "10mb"}) as server:
        folder, port = server.folder, server.port
        assert server.ask("SET", "a", "1") == b"OK"
        with redis.Redis(port=port) as client:
            assert client.get("a") == b"1"
            assert client.config_get("maxmemory") == {"maxmemory": "10485760"}
        server.kill()
        server.start()
        assert server.ask("GET", "a") is None, "nothing is kept"
    assert not folder.exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_what_does_not_start_says_why_and_leaves_nothing() -> None:
    server = Redis({"maxmemory": "plenty"})
    with pytest.raises(RuntimeError, match="plenty"):
        server.__enter__()
    assert not server.folder.exists()


def test_passwords_and_users() -> None:
    with Redis(password="s3cret", users={"app": "on >pw ~app:* +@read"}) as server:
        server.ask("SET", "app:1", "a")
        with redis.Redis(port=server.port, retry=ONCE) as nobody, pytest.raises(redis.AuthenticationError):
            nobody.ping()
        with redis.Redis(port=server.port, password="s3cret") as default:
            assert default.set("other", "b")
            assert default.acl_save()
        with redis.Redis(port=server.port, username="app", password="pw") as app:
            assert app.get("app:1") == b"a"
            with pytest.raises(redis.exceptions.NoPermissionError):
                app.get("other")
        assert "user app on" in (server.folder / "users.acl").read_text()


def test_tls_with_and_without_client_certificates(tmp_path: Path) -> None:
    signer = Signer(tmp_path)
    known: dict[str, Any] = {"host": "127.0.0.1", "ssl": True, "ssl_ca_certs": str(signer.file), "retry": ONCE}
    with Redis(tls=signer.certify("db", "127.0.0.1")) as server, redis.Redis(port=server.tls_port, **known) as client:
        assert client.ping()
    certificate, key = signer.certify("client")
    with Redis({"port": "0"}, tls=signer.certify("db2", "127.0.0.1"), authority=signer.file) as server:
        with (
            redis.Redis(port=server.tls_port, **known) as client,
            pytest.raises((redis.ConnectionError, ssl.SSLError)),
        ):
            client.ping()
        shown: dict[str, Any] = {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
        with redis.Redis(port=server.tls_port, **known, **shown) as client:
            assert client.ping()
        assert server.ask("PING") == b"PONG"


def test_what_ran_is_told() -> None:
    with Redis() as server, redis.Redis(port=server.port) as client:
        before = server.calls("GET")
        with server.watched() as seen:
            client.get("a b")
            client.eval("return redis.call('INCR', KEYS[1])", 1, "n")
            server.ask("SET", "unseen", "1")
        assert "GET a b" in seen.commands
        assert "INCR n" in seen.commands
        assert not any("unseen" in command for command in seen.commands)
        assert server.calls("GET") == before + 1
        assert server.calls("INCR") == 1
        client.config_set("maxmemory", "0")
        assert server.calls("CONFIG SET") == 1


async def asynchronously() -> None:
    async with Redis() as server, server.asyncio() as client:
        await client.set("a", "1")
        assert await client.get("a") == b"1"


def test_it_is_there_for_asyncio() -> None:
    asyncio.run(asynchronously())


def test_a_cluster_redirects_and_moves() -> None:
    with Cluster() as cluster:
        assert len({cluster.owner(f"key:{number}").port for number in range(50)}) == 3
        with cluster.client() as client:
            for number in range(50):
                client.set(f"key:{number}", number)
            assert client.get("key:7") == b"7"
        owner = cluster.owner("key:1")
        other = next(node for node in cluster.nodes if node is not owner)
        with pytest.raises(redis.exceptions.MovedError, match=f"127.0.0.1:{owner.port}"):
            other.ask("GET", "key:1")
        with cluster.migrating("key:1") as (source, target):
            assert source is owner
            assert source.ask("GET", "key:1") == b"1"
            source.ask("DEL", "key:1")
            with pytest.raises(redis.exceptions.AskError, match=f"127.0.0.1:{target.port}"):
                source.ask("GET", "key:1")
        assert cluster.ask("GET", "key:1", key="key:1") is None
