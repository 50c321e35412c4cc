"""A second bundle beside the one in force: it decides nothing, and what it would do differently is recorded.

So a new policy is tried on what really happens before it is taken. Nothing of it disturbs the bundle in force: one that
can't be used is not there, and why is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lockgate.config import ConfigError
from lockgate.policy.bundle import Bundle, BundleError
from lockgate.policy.decide import VERDICTS, Engine
from lockgate.policy.reload import Policies


class Shadow:
    """Holds the engine of the bundle that is tried; `engine` is None while there is none, `problem` then says why.

    `loader` and `watched` as with `Policies`; without `watched` nothing is tried. What was taken before stays while
    what is there now can't be used.
    """

    def __init__(
        self, loader: Callable[[int], Bundle], watched: Sequence[str | Path] = (), *, cache: int = VERDICTS
    ) -> None:
        self._loader = loader
        self._watched = watched
        self._cache = cache
        self._policies: Policies | None = None
        self._seen: object = None
        self.engine: Engine | None = None
        self.problem: str | None = None
        self.reload()

    @classmethod
    def none(cls) -> Shadow:
        """Nothing is tried."""
        return cls(_nothing)

    @property
    def configured(self) -> bool:
        """Whether anything is to be tried."""
        return bool(self._watched)

    def reload(self) -> bool:
        """Build it anew. False when it can't be: `problem` says why, and what was tried before still is."""
        if not self.configured:
            return True
        try:
            if self._policies is None:
                self._seen = Policies.stamps(self._watched)
                self._policies = Policies(self._loader, self._watched, cache=self._cache)
            else:
                self._policies.reload()
        except (BundleError, ConfigError, OSError, ValueError) as error:
            self.problem = str(error)
            return False
        self.engine, self.problem = self._policies.engine, None
        return True

    def changed(self) -> bool:
        """Whether a watched file or folder differs from what the last (re)load looked at. For polling."""
        if self._policies is not None:
            return self._policies.changed()
        return self.configured and Policies.stamps(self._watched) != self._seen


def _nothing(epoch: int) -> Bundle:
    raise BundleError("nothing is tried")
