"""TLS on both sides: ordinary clients verify the agent, the agent verifies the server, and either goes without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Signer
from tests.support.redis import Redis
from tests.support.redis_stack import RedisStack

MODULES = Path(__file__).parents[2] / "build" / "clients" / "node_modules"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisStack]:
    """A server that takes nothing but TLS, with certificates of both sides."""
    folder = tmp_path_factory.mktemp("signer")
    signer = Signer(folder)
    certificate, key = signer.certify("agent")
    redis = Redis(tls=signer.certify("server", "127.0.0.1"), authority=signer.file)
    settings = {
        "upstream_tls": "verify-full",
        "upstream_ca": str(signer.file),
        "upstream_certificate": str(certificate),
        "upstream_key": str(key),
    }
    with RedisStack(redis=redis, cache=settings, addresses=[f"127.0.0.1:{redis.tls_port}"]) as running:
        yield running


def secured(stack: RedisStack) -> list[str]:
    return ["--tls", "--cacert", str(stack.ca())]


@pytest.mark.parametrize("version", ["-2", "-3"])
def test_redis_cli_with_tls_and_without(stack: RedisStack, version: str) -> None:
    port = stack.redis.tls_port
    for options in ([], secured(stack), ["--tls", "--insecure"]):
        run = stack.cli("ann", "MGET", "session:1", "secret:1", options=[version, *options], port=port)
        assert run.stdout == "session 1\n***\n", (options, run.stderr)


def test_who_verifies_takes_nobody_elses(stack: RedisStack) -> None:
    stranger = Signer(stack.folder, "stranger")
    run = stack.cli("ann", "PING", options=["--tls", "--cacert", str(stranger.file)], port=stack.redis.tls_port)
    assert "certificate verify failed" in run.stdout + run.stderr


def test_redis_py_by_url_sync_and_asyncio(stack: RedisStack) -> None:
    code = f"""
    import asyncio, redis, redis.asyncio
    url = "rediss://{{}}:{{}}/0?ssl_ca_certs={stack.ca()}".format(HOST, {stack.redis.tls_port})
    with redis.Redis.from_url(url) as client:
        with client.pipeline() as pipe:
            print(pipe.get("session:1").get("secret:1").execute())
    async def main():
        async with redis.asyncio.Redis.from_url(url) as client:
            print(await client.hgetall("contact:1"))
    asyncio.run(main())
    """
    assert stack.python("ann", code).splitlines() == [
        "[b'session 1', b'***']",
        "{b'name': b'name1', b'email': b'u***@e***.org'}",
    ]


def test_node_redis_by_url(stack: RedisStack) -> None:
    program = f"""
    const {{ createClient }} = require("redis");
    const ca = require("fs").readFileSync("{stack.ca()}");
    const client = createClient({{ url: "rediss://127.0.0.1:{stack.redis.tls_port}", socket: {{ ca }} }});
    client.connect().then(async () => {{
      console.log(await client.get("session:1"), await client.get("secret:1"));
      await client.close();
    }});
    """
    run = stack.run("ann", ["node", "-e", program], {"NODE_PATH": str(MODULES)})
    assert run.stdout == "session 1 ***\n", run.stderr


def test_redis_benchmark_with_tls(stack: RedisStack) -> None:
    run = stack.run("ann", ["redis-benchmark", *secured(stack), "-p", str(stack.redis.tls_port), "-c", "4", "-n", "200",
                            "-P", "4", "-q", "GET", "session:1"])  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "rror" not in run.stdout


def test_a_refusal_comes_inside_it(stack: RedisStack) -> None:
    run = stack.cli("ann", "FLUSHALL", options=secured(stack), port=stack.redis.tls_port)
    assert run.stdout.startswith("NOPERM lockgate: nobody empties the cache")


def test_a_server_that_nobody_known_signed_is_not_spoken_to(tmp_path: Path) -> None:
    ours, theirs = Signer(tmp_path, "ours"), Signer(tmp_path, "theirs")
    redis = Redis(tls=theirs.certify("server", "127.0.0.1"))
    settings = {"upstream_tls": "verify-full", "upstream_ca": str(ours.file)}
    with RedisStack(redis=redis, cache=settings, addresses=[f"127.0.0.1:{redis.tls_port}"]) as stack:
        said = stack.cli("ann", "GET", "session:1", port=redis.tls_port)
        assert "lockgate: " in said.stdout + said.stderr
        assert "session 1" not in said.stdout
        assert stack.redis.calls("GET") == 0
