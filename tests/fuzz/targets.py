"""All that is fuzzed, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tests.fuzz import configuration, forward, login, redis, rows, sql, tls, wire
from tests.fuzz.target import Target

_ALL: Final = (wire, login, redis, rows, sql, tls, forward, configuration)

TARGETS: Final[Mapping[str, Target]] = MappingProxyType({target.name: target for of in _ALL for target in of.CHECKS})
