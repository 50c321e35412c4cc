"""What can go wrong with the spool."""

from __future__ import annotations


class SpoolError(Exception):
    """The records were not written, nothing of them is left, and what they are about must not happen."""


class SpoolFull(SpoolError):
    """No room below `max_bytes`: nothing was staged or written."""


class SpoolDamaged(SpoolError):
    """Committed records that can't be read back. `Spool.skip` goes on behind them."""
