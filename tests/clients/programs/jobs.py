"""Jobs for RQ and for Celery, whose broker and backend is the Redis that REDIS_URL names; each says who ran it."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery, chord, group
from redis import Redis
from rq import Queue, Retry
from rq.job import Job

URL = os.environ["REDIS_URL"]

app = Celery("jobs", broker=URL, backend=URL)
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 60, "global_keyprefix": "celery:"},
    result_backend_transport_options={"global_keyprefix": "celery:"},
    task_default_queue="jobs",
    worker_hijack_root_logger=False,
)


def add(one: int, other: int) -> int:
    return one + other


def failing(reason: str) -> None:
    raise ValueError(reason)


def stubborn(name: str) -> str:
    """Succeeds when it is tried for the third time."""
    with Redis.from_url(URL) as redis:
        tried = redis.incr(f"rq:tried:{name}")
    if tried < 3:
        raise ValueError(f"only {tried}")
    return f"tried {tried}"


def total(numbers: list[int]) -> int:
    return sum(numbers)


def again(task: Any, name: str) -> str:
    """Succeeds when it is retried for the second time."""
    if task.request.retries < 2:
        raise task.retry(countdown=0.1)
    return f"{name} after {task.request.retries}"


task_add = app.task(add, name="add")
task_failing = app.task(failing, name="failing")
task_total = app.task(total, name="total")
task_again = app.task(again, name="again", bind=True, max_retries=3)


def ask_rq() -> None:
    """Give an RQ worker work, wait for it, print what became of it."""
    with Redis.from_url(URL) as redis:
        queue = Queue("jobs", connection=redis)
        sums = [queue.enqueue(add, number, number) for number in range(5)]
        after = queue.enqueue(add, 20, 22, depends_on=sums)
        wrong = queue.enqueue(failing, "on purpose")
        patient = queue.enqueue(stubborn, str(time.time_ns()), retry=Retry(max=3))
        for job in (*sums, after, patient):
            print(job.func_name, finished(job))
        outcome = finished(wrong), wrong.latest_result(timeout=5)
        print(outcome[0], str(outcome[1] and outcome[1].exc_string).splitlines()[-1])
        print(len(queue), len(queue.finished_job_registry) >= len(sums), queue.failed_job_registry.count)


def finished(job: Job) -> Any:
    """What it gave, or `failed`, once it is done."""
    deadline = time.monotonic() + 45
    while not (job.is_finished or job.is_failed):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{job.func_name} is {job.get_status()}")
        time.sleep(0.05)
    return job.return_value() if job.is_finished else "failed"


def ask_celery() -> None:
    """The same of a Celery worker."""
    print([task_add.delay(number, number).get(timeout=30) for number in range(5)])
    print(group(task_add.s(number, 1) for number in range(10))().get(timeout=30))
    print(chord((task_add.s(number, number) for number in range(5)), task_total.s())().get(timeout=30))
    print((task_add.s(1, 2) | task_add.s(3) | task_add.s(4))().get(timeout=30))
    print(task_again.delay("it worked").get(timeout=30))
    try:
        task_failing.delay("on purpose").get(timeout=30)
    except ValueError as error:
        print("failed", error)
    print([told for answer in app.control.ping(timeout=1) for told in answer.values()])
