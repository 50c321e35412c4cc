"""Redis's commands, and what their arguments make them do (Redis 7.0 to 8.4, Valkey)."""

from lockgate.understand.redis.plans import LANGUAGE
from lockgate.understand.redis.rendering import bare, text, whole
from lockgate.understand.redis.tables import Command, CommandTable
from lockgate.understand.redis.understanding import REFUSED, Understanding

__all__ = ["LANGUAGE", "REFUSED", "Command", "CommandTable", "Understanding", "bare", "text", "whole"]
