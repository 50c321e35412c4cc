"""The demo from beginning to end."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

from lockgate.demo.errors import DemoError
from lockgate.demo.story import Step, story
from lockgate.demo.transcript import Transcript, json_line
from lockgate.demo.world import CACHE, ORDERS, World


def play(*, as_json: bool, orders: Path = ORDERS, cache: Path = CACHE) -> bool:
    """Show every step on standard output; False when one did not do what it says. Takes all of it away again.

    Raises DemoError, and KeyboardInterrupt for each of SIGINT, SIGTERM and SIGHUP once everything is taken away.
    """
    if os.geteuid() != 0:
        raise DemoError("the demo loads programs into the kernel and must be root")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, signal.default_int_handler)
    started = time.monotonic()
    transcript = Transcript()
    if not as_json:
        transcript.remark("A scratch PostgreSQL and Redis, a collector and an agent, in a cgroup of their own ...")
    steps: list[Step] = []
    with World(orders, cache) as world, closing(story(world)) as told:
        for step in told:
            steps.append(step)
            if as_json:
                print(json_line(step), flush=True)
            else:
                transcript.step(step)
        ok = all(step.ok for step in steps)
        blame = "" if ok else world.complaints("agent")
    seconds = time.monotonic() - started
    if not ok:
        last = steps[-1]
        print(f"{blame}lockgate: step {last.step} did not do what it says: {last.title}", file=sys.stderr)
    elif not as_json:
        transcript.summary(f"✓ {len(steps)} steps did what they say, in {seconds:.1f} s. Nothing is left behind.")
    return ok
