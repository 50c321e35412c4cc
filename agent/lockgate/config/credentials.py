"""The shapes of credentials: a role of a datastore's, and where its password comes from."""

from __future__ import annotations

from typing import Annotated

import msgspec

from lockgate.values.protocol import NATURES, USER_BYTES, Protocol

Problem = tuple[tuple[str | int, ...], str]
"""The way to a key and what is wrong with it."""


class Credential(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`user` and at most one source of its password; with none the datastore has to take the agent without one.

    `user` is a role of PostgreSQL's, or an ACL user of Redis'; a Redis server that has one password for everybody
    (requirepass) has none.

    `password_file`: a file that only root can read. `systemd`: the name of a credential of the agent's unit
    (LoadCredential=, SetCredentialEncrypted=). `env`: a variable of the agent's environment. `command`: a program and
    its arguments, whose output is the password; no shell reads it.
    """

    user: Annotated[str, msgspec.Meta(min_length=1, max_length=USER_BYTES)] | None = None
    password_file: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)] | None = None
    systemd: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,254}\Z")] | None = None
    env: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,254}\Z")] | None = None
    command: Annotated[list[str], msgspec.Meta(min_length=1, max_length=64)] | None = None

    def problem(self, protocol: Protocol) -> Problem | None:
        """Why it can't stand for a datastore of this protocol, or None when it may."""
        if (wrong := self._wrong_user(protocol)) is not None:
            return wrong
        sources = [key for key in ("password_file", "systemd", "env", "command") if getattr(self, key) is not None]
        if len(sources) > 1:
            return (sources[1],), f"the password comes from {sources[0]} already: name one source"
        if self.command is not None and not self.command[0].startswith("/"):
            return ("command", 0), f"{self.command[0]!r} is not an absolute path"
        if self.user is None and not sources:
            return (), "has neither a user nor a password"
        return None

    def _wrong_user(self, protocol: Protocol) -> Problem | None:
        users = NATURES[protocol].users
        if self.user is None:
            return ((), "`user` is missing") if users.needed else None
        wrong = users.problem(self.user)
        return None if wrong is None else (("user",), wrong)


class Role(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The credential for principals in `group`."""

    group: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    credential: Credential
