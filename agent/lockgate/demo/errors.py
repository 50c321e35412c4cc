"""Why the demo can't be shown."""

from __future__ import annotations


class DemoError(Exception):
    """The demo can't start or go on. The message is for the person who called it."""
