from collections.abc import Mapping, Sequence
from typing import Any

from lockgate.policy.touches import Matches
from lockgate.proxy.redis.precedents import Passing

class Precedents:
    def __init__(self, key: Matches, tried: Matches, classified: Matches) -> None: ...
    def learn(
        self,
        args: tuple[bytes, ...],
        name: str,
        places: tuple[int, ...],
        same: tuple[int, ...],
        facts: Mapping[str, Any],
    ) -> None: ...
    def follow(self, commands: Sequence[tuple[bytes, ...]], at: int, room: int, characters: int) -> Passing | None: ...
