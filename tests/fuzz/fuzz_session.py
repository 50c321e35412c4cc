"""Hostile clients, hostile bytes and hostile servers against a session, for as long as one likes.

    FUZZ_SECONDS=120 python -m tests.fuzz.fuzz_session [SEED]

Half of the time scripts are played against the model of PostgreSQL (`tests/wire/postgresql/hostile.py` says what must
hold), half of the time scripts that held are mutated as bytes, on both sides: then nothing may raise, and nothing may
reach the server that the gate did not see. Prints the seed, so that a run can be had again, and the smallest script
that breaks what must hold; exits with 1 then.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from random import Random
from typing import Final

from lockgate.wire.postgresql.frames import query
from tests.support.playbook import Playbook, messages
from tests.wire.postgresql.hostile import Action, Client, World, holds, smallest

SECONDS: Final = 120.0
_BLOCK: Final = 50


def mutated(data: bytes, random: Random) -> bytes:
    """`data` with a few bytes changed, left out, put in or repeated."""
    found = bytearray(data)
    for _ in range(random.randint(1, 4)):
        if not found:
            break
        place = random.randrange(len(found))
        match random.randrange(5):
            case 0:
                found[place] = random.randrange(256)
            case 1:
                del found[place : place + random.randint(1, 8)]
            case 2:
                found[place:place] = random.randbytes(random.randint(1, 8))
            case 3:
                found[place:place] = found[place : place + random.randint(1, 30)]
            case _:
                found[place] ^= 1 << random.randrange(8)
    return bytes(found)


def play_bytes(script: Sequence[Action], answers: bytes, random: Random) -> None:
    """Mutated statements, and mutated answers of a server that got others. Raises AssertionError, or what is raised."""
    play = Playbook().begun()
    for _, value in script:
        if isinstance(value, bytes):
            play.session.client_data(mutated(value, random) if random.random() < 0.3 else value)
        elif answers:
            start = random.randrange(len(answers))
            play.session.server_data(mutated(answers[start : start + random.randint(1, 200)], random))
        if play.session.parked:
            play.resume()
    judged = {query(asked.request.text) for asked in play.gate.asked} | {query("refused by lockgate")}
    parsed = {text.encode() for _, text in play.gate.prepared}
    sent, pos = play.session.drain_server(), 0
    while pos < len(sent):
        end = pos + 1 + int.from_bytes(sent[pos + 1 : pos + 5], "big")
        message = sent[pos:end]
        assert end <= len(sent), "half a message was sent"
        assert message[:1] in (b"Q", b"P", b"B", b"D", b"E", b"C", b"S", b"H", b"d", b"c", b"f", b"X"), message
        assert message[:1] != b"Q" or message in judged, message
        assert message[:1] != b"P" or message[5:].split(b"\0")[1] in parsed, message
        pos = end


def main() -> int:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else None
    return run(float(os.environ.get("FUZZ_SECONDS", SECONDS)), seed)


def run(seconds: float, seed: int | None = None) -> int:
    """Fuzz for that long; 1 when something broke."""
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}, {seconds:g} s", flush=True)
    random, count, end = Random(seed), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        kept: list[list[Action]] = []
        for _ in range(_BLOCK):
            script, slow = Client(random).script(random.choice([5, 15, 30, 60])), random.choice([0, 0, 1, 3])
            if not holds(script, slow):
                for action, value in smallest(script, slow):
                    print("   ", action, messages(value) if isinstance(value, bytes) else value)
                print(f"broken after {count} scripts (every {slow}th statement waits)")
                return 1
            kept.append(script)
            count += 1
        world = World()
        world.play(kept[0])
        for script in kept:
            play_bytes(script, bytes(world.to_client), random)
    print(f"{count} scripts held, and as many of mutated bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
