"""A bounded cache that costs nothing on a hit but the look-up."""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Generations(Generic[K, V]):
    """At most `limit` entries in two generations; what was not used during a whole generation is dropped.

    An LRU to within half its size, without its bookkeeping (an OrderedDict hashes the key again to move it on every
    hit). Filling it takes `limit / 2` new keys and costs its filler a miss each; nobody's entry decides for another.
    """

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, limit: int) -> None:
        if limit < 2:
            raise ValueError("a cache of fewer than two entries")
        self._half = limit // 2
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        value = self._young.get(key)
        if value is None and (value := self._old.get(key)) is not None:
            self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        if len(self._young) >= self._half and key not in self._young:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())
