"""Whom the agent is upstream: the role that a principal's groups have in a datastore."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from lockgate import config
from lockgate.config.secrets import SecretError
from lockgate.proxy.credentials import Passwords
from lockgate.values.secret import Secret
from lockgate.wire.gate import Refusal, Why

log = logging.getLogger(__name__)


class RoleError(Exception):
    """There is no way in for this connection. `refusal` is what the client is told: nothing of the secret."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(code, f"lockgate: {message}")


class Roles:
    """The roles of one datastore, as configured, with what its connections share."""

    def __init__(self, settings: config.Datastore) -> None:
        self._settings = settings
        self._passwords = Passwords()

    def of(self, groups: Iterable[str]) -> config.Credential | None:
        """The credential of a principal in `groups`; None where clients authenticate themselves. Raises RoleError."""
        default, roles = self._settings.credential, self._settings.roles
        if default is None and not roles:
            return None
        held = frozenset(groups)
        for role in roles:
            if role.group in held:
                return role.credential
        if default is None:
            raise RoleError(Why.NO_ROLE, f"{self._settings.name} has no role for you")
        return default

    async def password(self, credential: config.Credential) -> Secret | None:
        """Its password; None where it has none. Raises RoleError."""
        name = self._settings.name
        try:
            return await self._passwords.of(credential)
        except SecretError as error:
            log.error("the credential of datastore %s can't be had: %s", name, error)
            raise RoleError(
                Why.UNREACHABLE, f"the agent's credential for {name} can't be had: its log says why"
            ) from None

    def refused(self, credential: config.Credential) -> None:
        """The datastore did not take its password."""
        self._passwords.refused(credential)


class UpstreamRole:
    """The role of one connection, found once. `count` is told of each refusal."""

    __slots__ = ("_count", "_credential", "_mapped", "_roles")

    def __init__(self, roles: Roles, count: Callable[[str], None]) -> None:
        self._roles = roles
        self._count = count
        self._credential: config.Credential | None = None
        self._mapped = False

    @property
    def user(self) -> str | None:
        """Its name; None where the client is who it says it is, and shows the datastore that it is."""
        return None if self._credential is None else self._credential.user

    def find(self, groups: Iterable[str]) -> Refusal | None:
        """The role of a principal in `groups`, for as long as the connection lasts."""
        try:
            self._credential = self._roles.of(groups)
        except RoleError as error:
            self._count("credential")
            return error.refusal
        self._mapped = True
        return None

    def moved(self, groups: Iterable[str]) -> Refusal | None:
        """Why a principal who now is in `groups` can't go on in the role that was found for those before."""
        if not self._mapped:
            return None
        try:
            if self._roles.of(groups) == self._credential:
                return None
        except RoleError:
            pass  # no role is another one, too
        self._count("credential")
        message = "lockgate: your role in the datastore has changed since this connection began: connect again"
        return Refusal(Why.DENIED, message)

    async def credential(self) -> tuple[config.Credential, Secret | None] | None:
        """Who answers the datastore, and with what password; None where the client does. Raises RoleError."""
        if self._credential is None:
            return None
        try:
            return self._credential, await self._roles.password(self._credential)
        except RoleError:
            self._count("credential")
            raise
