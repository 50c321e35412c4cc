"""Which databases of the server a command reaches beside the one that its connection is in.

`context.database` is where a command is sent. COPY with DB, MOVE and SWAPDB name another; FLUSHALL empties all, MONITOR
tells of all, and a script may SELECT any.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from lockgate.values.command import Call

_INSIDE: Final = frozenset((
    "CLUSTER GETKEYSINSLOT", "CLUSTERSCAN", "FLUSHDB", "KEYS", "RANDOMKEY", "SCAN", "SORT", "SORT_RO",
))  # fmt: skip
"""What touches keys that it doesn't name, and those of its own database only."""

_NAMING: Final = frozenset(("COPY", "MOVE", "SWAPDB"))

_NUMBER: Final = re.compile(rb"0|[1-9][0-9]{0,8}")


def reached(calls: Iterable[Call], database: str, every: Iterable[str]) -> tuple[str, ...]:
    """Those that calls reach beside `database`, in order; `every` are what stands for all of them."""
    found: dict[str, None] = {}
    for call in calls:
        if call.name in _NAMING:
            for named in _named(call):
                # what Redis takes as a number is written in one way; what else is meant by it nobody knows
                found |= dict.fromkeys((named.decode(),) if _NUMBER.fullmatch(named) else every)
        elif call.anywhere and call.name not in _INSIDE:
            found |= dict.fromkeys(every)
    found.pop(database, None)
    return tuple(found)


def _named(call: Call) -> Iterator[bytes]:
    args = call.args
    if call.name == "COPY":
        # the last of several counts; all of them are taken
        for place in range(3, len(args) - 1):
            if args[place].partition(b"\0")[0].upper() == b"DB":
                yield args[place + 1]
    else:
        yield from args[1:3] if call.name == "SWAPDB" else args[2:3]
