"""Who calls the collector, and what their word is worth here.

A token is signed by a host, and a host can sign whatever it likes. So what a token says of people and groups counts
everywhere only when the configuration names its host and the thumbprint of its key (`collector.hosts`). The word of a
host that was pinned on first use counts for that host's own holds and records: otherwise whoever reaches this API could
register a host of his own and be any approver he likes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from lockgate.collector.holds import Signed
from lockgate.collector.store import PinnedKey
from lockgate.identity.tokens import (
    AGENT_GROUP,
    OPERATOR_GROUP,
    TOKEN_LIMIT,
    Approval,
    InvalidToken,
    Revocation,
    verify_approval,
    verify_grant,
    verify_revocation,
    verify_with_jwks,
)
from lockgate.values.identity import Claims


class Forbidden(Exception):
    """The caller is known and may not do this."""


class UnknownHost(Exception):
    """No key of the token's host is pinned, or not the one that the configuration names."""


class _Issuer(msgspec.Struct, frozen=True):
    iss: str


_read_issuer = msgspec.json.Decoder(_Issuer).decode


class Access:
    """`key` finds a host's pinned key, `configured` is `collector.hosts`, `auditors` the groups that read records."""

    def __init__(
        self,
        key: Callable[[str], Awaitable[PinnedKey | None]],
        configured: Mapping[str, str],
        auditors: Sequence[str],
        clock: Callable[[], float],
    ) -> None:
        self._key = key
        self._configured = configured
        self._auditors = frozenset(auditors)
        self._clock = clock

    def trusted(self, host: str) -> bool:
        """Whether what `host` says of people counts for other hosts too."""
        return host in self._configured

    async def bearer(self, header: str | None) -> Claims:
        """The claims of an `Authorization` header. Raises InvalidToken, UnknownHost."""
        text = _text(header)
        host = _issuer(text)
        return verify_with_jwks(text, (await self.key(host)).jwks, host, clock=self._clock)

    async def approval(self, header: str | None) -> tuple[Claims, Approval, str]:
        """Who decides what, and the token itself. Raises InvalidToken, UnknownHost."""
        text = _text(header)
        host = _issuer(text)
        claims, approval = verify_approval(text, (await self.key(host)).jwks, host, clock=self._clock)
        return claims, approval, text

    async def grant(self, text: str) -> Signed:
        """What a grant token says. Raises InvalidToken, UnknownHost."""
        if len(text) > TOKEN_LIMIT:
            raise InvalidToken("the grant token is too long")
        host = _issuer(text)
        claims, granting = verify_grant(text, (await self.key(host)).jwks, host, clock=self._clock)
        return Signed(claims, granting, text)

    async def revocation(self, header: str | None) -> tuple[Claims, Revocation]:
        """Who ends which grant. Raises InvalidToken, UnknownHost."""
        text = _text(header)
        host = _issuer(text)
        return verify_revocation(text, (await self.key(host)).jwks, host, clock=self._clock)

    async def agent(self, header: str | None) -> Claims:
        """The claims of an agent's own token. Raises Forbidden for anyone else's."""
        claims = await self.bearer(header)
        if not is_agent(claims):
            raise Forbidden("only an agent may do this")
        return claims

    async def key(self, host: str) -> PinnedKey:
        """The key that tokens of `host` are verified with. Raises UnknownHost."""
        key = await self._key(host)
        required = self._configured.get(host)
        if key is None or (required is not None and key.kid != required):
            raise UnknownHost(f"no key of host {host!r} is known")
        return key

    async def holds(self, header: str | None) -> str | None:
        """Of which host the caller may see the holds, None for all."""
        claims = await self.bearer(header)
        if is_agent(claims) or (claims.person is None and OPERATOR_GROUP not in claims.groups):
            raise Forbidden("only people may see what waits")
        return None if self.trusted(claims.host) and claims.person is not None else claims.host

    async def records(self, header: str | None, host: str | None) -> str | None:
        """Of which host the caller may read records, having asked for those of `host`; None for all."""
        claims = await self.bearer(header)
        auditor = bool(self._auditors.intersection(claims.groups)) and not is_agent(claims)
        if auditor and self.trusted(claims.host):
            return host
        if not auditor and OPERATOR_GROUP not in claims.groups:
            raise Forbidden(f"reading records takes one of the groups {', '.join(sorted(self._auditors))}")
        if host not in (None, claims.host):
            raise Forbidden(f"a caller on {claims.host} may read the records of {claims.host} only")
        return claims.host

    def decides(self, claims: Claims, host: str) -> None:
        """Whether the word of the approver's host counts for a hold of `host`. Raises Forbidden."""
        if claims.host != host and not self.trusted(claims.host):
            raise Forbidden(f"the collector's configuration does not name {claims.host}: it can't approve for {host}")


def is_agent(claims: Claims) -> bool:
    """Whether this is an agent's own token, which speaks for no person."""
    return AGENT_GROUP in claims.groups


def _text(header: str | None) -> str:
    scheme, _, text = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not text:
        raise InvalidToken("there is no `Authorization: Bearer` token")
    if len(text) > TOKEN_LIMIT:
        raise InvalidToken("the token is too long")
    return text


def _issuer(text: str) -> str:
    """The host a token says it is from, to find the key by that verifies it: nothing is believed yet."""
    parts = text.split(".")
    if len(parts) != 3:
        raise InvalidToken("not a token of three parts")
    try:
        body = base64.b64decode(parts[1] + "=" * (-len(parts[1]) % 4), altchars="-_", validate=True)
        return _read_issuer(body).iss
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise InvalidToken("the claims can't be read") from error
