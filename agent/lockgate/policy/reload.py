"""The policies in force, and how they are replaced: whole and valid, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from lockgate.policy.bundle import Bundle
from lockgate.policy.decide import VERDICTS, Engine

Fingerprint = tuple[tuple[str, int, int, int], ...]

ABSENT = (-1, -1, -1)


class Policies:
    """Holds the engine in force.

    `loader` builds a bundle for the epoch it is given and raises (BundleError, ConfigError) when it can't; `watched`
    are the files and folders it reads. `engine` is replaced by one assignment: who took it keeps deciding with the
    old bundle to the end of that decision. Constructing loads the first bundle, epoch 1, and raises what `loader` does.
    """

    def __init__(
        self, loader: Callable[[int], Bundle], watched: Sequence[str | Path], *, cache: int = VERDICTS
    ) -> None:
        self._loader = loader
        self._watched = tuple(map(Path, watched))
        self._cache = cache
        self._lock = threading.Lock()
        self._seen = self._fingerprint()
        self.engine = Engine(loader(1), cache=cache)

    def reload(self) -> Engine:
        """Build everything anew and put it in force, its epoch one higher. Raises what `loader` raises.

        When it raises, the old engine stays and the same broken files are not reported as a change again.
        Safe to call from any thread.
        """
        with self._lock:
            # before loading: what changes meanwhile is a change again
            self._seen = self._fingerprint()
            self.engine = Engine(self._loader(self.engine.epoch + 1), cache=self._cache)
            return self.engine

    def changed(self) -> bool:
        """Whether a watched file or folder differs from what the last (re)load looked at. For polling."""
        return self._fingerprint() != self._seen

    def _fingerprint(self) -> Fingerprint:
        return self.stamps(self._watched)

    @staticmethod
    def stamps(watched: Sequence[str | Path]) -> Fingerprint:
        """Name, mtime in ns, size and inode of every watched path, and of every entry of a watched folder.

        Entries are followed through symbolic links, so the swap of Kubernetes' `..data` shows.
        """
        paths: list[Path] = []
        for path in map(Path, watched):
            paths.append(path)
            try:
                paths += sorted(path.iterdir())
            except OSError:  # a file, or gone, or not ours to list: its own stamp tells, and loading says why
                continue
        return tuple((str(path), *_stamp(path)) for path in paths)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return ABSENT
    return status.st_mtime_ns, status.st_size, status.st_ino
