"""Job queues with Redis between them: a worker and who asks for work, real processes, both intercepted."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clients.side_by_side import directly
from tests.support.redis import Redis
from tests.support.redis_stack import RedisStack
from tests.support.stack import environment

PROGRAMS = Path(__file__).parent / "programs"
BINARIES = Path(sys.executable).parent
START_SECONDS = 60.0
STOP_SECONDS = 30.0

RQ = ["jobs.add 0", "jobs.add 2", "jobs.add 4", "jobs.add 6", "jobs.add 8", "jobs.add 42", "jobs.stubborn tried 3",
      "failed ValueError: on purpose", "0 True 1"]  # fmt: skip
CELERY = ["[0, 2, 4, 6, 8]", "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]", "20", "10", "it worked after 2", "failed on purpose",
          "[{'ok': 'pong'}]"]  # fmt: skip


def rq(url: str) -> list[str]:
    return [str(BINARIES / "rq"), "worker", "--quiet", "--url", url, "jobs"]


def celery(url: str) -> list[str]:
    return [str(BINARIES / "celery"), "-A", "jobs", "worker", "--concurrency", "2", "--loglevel", "ERROR"]


WORKERS = {"rq": (rq, RQ), "celery": (celery, CELERY)}


@contextmanager
def working(argv: Sequence[str], environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker, warmly stopped when the block ends: a second signal would make it drop what it has."""
    with log.open("wb") as output:
        worker = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ, cwd=log.parent
        )
    try:
        yield worker
        worker.terminate()
        assert worker.wait(STOP_SECONDS) == 0, log.read_text()
    finally:
        worker.kill()
        worker.wait()


def environ_of(server: Redis) -> dict[str, str]:
    return {
        **environment(),
        "REDIS_URL": f"redis://127.0.0.1:{server.port}/0",
        "PYTHONPATH": str(PROGRAMS),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.mark.parametrize("kind", WORKERS)
def test_the_same_work_directly_and_through_the_agent(cache: RedisStack, kind: str, tmp_path: Path) -> None:
    worker, expected = WORKERS[kind]
    code = f"import jobs; jobs.ask_{kind}()"
    with Redis() as server, ThreadPoolExecutor() as pool:
        there, here = environ_of(server), environ_of(cache.redis)
        with (
            working(worker(there["REDIS_URL"]), there, tmp_path / "there"),
            working(cache.command("bob", worker(here["REDIS_URL"])), here, tmp_path / "here"),
        ):
            alone = pool.submit(directly, [sys.executable, "-c", code], environ=there)
            asked = cache.run("bob", [sys.executable, "-c", code], here)
            assert alone.result().stdout.splitlines() == expected, alone.result().stderr
    assert asked.stdout.splitlines() == expected, asked.stderr
    programs = {
        r["connection"]["workload"]["exe"].rpartition("/")[2] for r in cache.records(type="statement", phase="begin")
    }
    assert any("python" in program for program in programs)


def test_a_worker_that_waits_is_served_as_soon_as_there_is_work(cache: RedisStack, tmp_path: Path) -> None:
    """It blocks in BLMOVE for as long as there is nothing; work that comes later is done at once."""
    environ = environ_of(cache.redis)
    with working(cache.command("bob", rq(environ["REDIS_URL"])), environ, tmp_path / "log"):
        deadline = time.monotonic() + START_SECONDS
        while not any(b"cmd=bl" in line or b"cmd=brpop" in line for line in _clients(cache.redis)):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.05)
        code = "import jobs; from rq import Queue; from redis import Redis; r = Redis.from_url(jobs.URL); " \
            "print(jobs.finished(Queue('jobs', connection=r).enqueue(jobs.add, 40, 2))); r.close()"  # fmt: skip
        asked = cache.run("bob", [sys.executable, "-c", code], environ)
    assert asked.stdout == "42\n", asked.stderr


def _clients(server: Redis) -> list[bytes]:
    told: bytes = server.ask("CLIENT", "LIST")
    return told.splitlines()
