"""What there is to know of a datastore's protocol without speaking it: a line for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final, Literal

Protocol = Literal["postgresql", "redis"]
"""The names of `NATURES`, as the shapes of the configuration need them."""


class Named(Enum):
    """How a datastore's data is named, in policies and in what is classified."""

    COLUMNS = auto()
    """One by one, as `schema.table.column`."""
    PATTERNS = auto()
    """Keys and channels, by patterns: see `lockgate.values.selector`."""


@dataclass(frozen=True, slots=True)
class Users:
    """What names users of a datastore can have. `called` is what one is, `most` counts bytes.

    `needed`: the agent can't log in without one.
    """

    called: str
    most: int
    blanks: bool
    needed: bool

    def problem(self, name: str) -> str | None:
        """Why nobody can be called `name`, or None when somebody may."""
        if len(name.encode()) <= self.most and name.isprintable() and (self.blanks or " " not in name):
            return None
        blanks = "" if self.blanks else ", no blanks"
        return f"{name!r} is not the name of a {self.called} (at most {self.most} bytes, printable{blanks})"


@dataclass(frozen=True, slots=True)
class Nature:
    """`data` is how it is named, `things` what values of it are called, `database` where a client is who names none.

    `own` are keys of a datastore's configuration that mean something here and not everywhere. `stands_in`: while it
    only observes, too, the agent authenticates in its clients' place, where it has a credential.
    """

    data: Named
    things: str
    database: str
    users: Users
    own: frozenset[str]
    stands_in: bool

    @property
    def patterns(self) -> bool:
        """Whether policies name its data by pattern."""
        return self.data is Named.PATTERNS


ROLE_BYTES: Final = 63
"""The longest name of a role (NAMEDATALEN - 1). PostgreSQL would cut a longer one, and take the role it is cut to."""

USER_BYTES: Final = 1024
"""The longest name of an ACL user. Redis itself bounds it by nothing but its query buffer. It has no blanks
(ACLStringHasSpaces in acl.c): Redis has no such user, and would tell so only when a client comes."""

NATURES: Final[Mapping[str, Nature]] = MappingProxyType({
    "postgresql": Nature(
        data=Named.COLUMNS, things="columns", database="postgres", own=frozenset(("channel_binding",)), stands_in=True,
        users=Users("role", ROLE_BYTES, blanks=True, needed=True),
    ),
    "redis": Nature(
        data=Named.PATTERNS, things="values", database="0", own=frozenset(("scripts",)), stands_in=False,
        users=Users("user", USER_BYTES, blanks=False, needed=False),
    ),
})  # fmt: skip


def by_pattern(protocol: str | None) -> bool:
    """Whether policies name the data of a datastore of `protocol` by pattern; not of None, where there is none."""
    return protocol is not None and NATURES[protocol].patterns
