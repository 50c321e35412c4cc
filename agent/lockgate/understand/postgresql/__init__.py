"""PostgreSQL's SQL, read with PostgreSQL's own grammar (version 18)."""

from lockgate.understand.postgresql.understanding import Understanding

__all__ = ["Understanding"]
