"""The scratch PostgreSQL server of `lockgate demo`, for tests."""

from __future__ import annotations

from lockgate.demo.postgres import Postgres, binaries, free_port

BINARIES = binaries()

__all__ = ["BINARIES", "Postgres", "free_port"]
