"""A credential in force on one connection, and the salted passwords that are not computed twice."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from lockgate.values.secret import Secret
from lockgate.wire.postgresql.authentication import ChannelBinding
from lockgate.wire.postgresql.saslprep import saslprep
from lockgate.wire.postgresql.scram import salted_password

SALTED: Final = 64
"""Salted passwords kept for one datastore. A server has one salt for each role."""

log = logging.getLogger(__name__)


class SaltedPasswords:
    """Those of one datastore, in memory alone. The least recently used goes first.

    One is computed at a time, off the event loop: a server that asks for many iterations holds up nobody but those who
    want to be let in by it.
    """

    def __init__(self, limit: int = SALTED) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[Secret, bytes, int], bytes] = OrderedDict()
        self._working = asyncio.Lock()

    def get(self, password: Secret, salt: bytes, iterations: int) -> bytes | None:
        """The salted password if it can be had without computing it."""
        key = (password, salt, iterations)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    async def derive(self, password: Secret, salt: bytes, iterations: int) -> bytes:
        """The salted password of `password` as SASLprep leaves it."""
        async with self._working:
            found = self.get(password, salt, iterations)
            if found is None:
                found = await asyncio.to_thread(salted_password, saslprep(password.reveal()), salt, iterations)
                self._kept[password, salt, iterations] = found
                while len(self._kept) > self._limit:
                    self._kept.popitem(last=False)
            return found


class UpstreamLogin:
    """Implements `lockgate.wire.postgresql.authentication.Login`.

    `derive` starts what `salted` answers None for and tells the session in the end; `on_refused` is called when the
    datastore said no.
    """

    __slots__ = ("_datastore", "_derive", "_on_refused", "_salted", "_secret", "channel_binding", "user",
                 "verified")  # fmt: skip

    def __init__(
        self,
        datastore: str,
        user: str,
        secret: Secret | None,
        channel_binding: ChannelBinding,
        verified: bool,
        salted: SaltedPasswords,
        *,
        on_refused: Callable[[], None],
    ) -> None:
        self._datastore = datastore
        self.user = user
        self._secret = secret
        self.channel_binding = channel_binding
        self.verified = verified
        self._salted = salted
        self._on_refused = on_refused
        self._derive: Callable[[bytes, int], object] = _cannot

    def derive_with(self, derive: Callable[[bytes, int], object]) -> None:
        """`derive` is given the salt and the iterations of what `derived` is wanted for."""
        self._derive = derive

    def password(self) -> str | None:
        return None if self._secret is None else self._secret.reveal()

    def salted(self, salt: bytes, iterations: int) -> bytes | None:
        found = self._salted.get(self._given(), salt, iterations)
        if found is None:
            self._derive(salt, iterations)
        return found

    async def derived(self, salt: bytes, iterations: int) -> bytes:
        """What `salted` could not answer at once."""
        return await self._salted.derive(self._given(), salt, iterations)

    def refused(self, code: str, message: str) -> None:
        log.warning(
            "datastore %s refused the agent's credential of role %s: %s (SQLSTATE %s)",
            self._datastore, self.user, " ".join(message.split()), code,
        )  # fmt: skip
        self._on_refused()

    def _given(self) -> Secret:
        if self._secret is None:
            raise RuntimeError("there is no password to salt")
        return self._secret


def _cannot(salt: bytes, iterations: int) -> None:
    raise RuntimeError("the connection is not wired")
