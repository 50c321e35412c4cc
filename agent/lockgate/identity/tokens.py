"""Short-lived tokens: who a process is, signed by its host (JWT, RFC 7519; EdDSA, RFC 8037).

A decision is taken on verified claims and nothing else. The reading side leaves a token no choices: the header must be
exactly `alg`, `kid` and `typ` with the one algorithm, `kid` a key that is already known, and the claims of exactly
the shape below.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lockgate.identity.keys import HostKey, HostKeyError, InvalidKeySet, public_keys, verify_signature
from lockgate.values.identity import Claims, Principal, Workload

__all__ = [
    "AGENT_GROUP",
    "APPROVAL_AUDIENCE",
    "AUDIENCE",
    "GRANT_AUDIENCE",
    "LIFETIME",
    "OPERATOR_GROUP",
    "REVOCATION_AUDIENCE",
    "SKEW",
    "TOKEN_LIMIT",
    "Approval",
    "Granting",
    "HostKey",
    "HostKeyError",
    "InvalidKeySet",
    "InvalidToken",
    "Revocation",
    "Token",
    "TokenIssuer",
    "public_keys",
    "verify_approval",
    "verify_grant",
    "verify_revocation",
    "verify_signature",
    "verify_with_jwks",
]

AUDIENCE: Final = "lockgate"
APPROVAL_AUDIENCE: Final = "lockgate-approval"
"""Of a token that decides one hold: it is handed to the agent of the held statement, so it must open nothing else."""
GRANT_AUDIENCE: Final = "lockgate-grant"
"""Of a token that lets statements of one kind run until it ends: handed to the agent of each statement it lets run."""
REVOCATION_AUDIENCE: Final = "lockgate-revocation"
"""Of a token that ends one grant."""
AGENT_GROUP: Final = "lockgate:agent"
"""The group of the agent's own token, which no configured identity may claim."""
OPERATOR_GROUP: Final = "lockgate:operator"
"""Added for a caller of the control socket who is root on the host."""

LIFETIME: Final = 300
"""Seconds a token lives (SPIFFE's default for a JWT-SVID is 300 too)."""

SKEW: Final = 30.0
"""Seconds by which the clocks of a host and the collector may differ."""

TOKEN_LIMIT: Final = 16 * 1024
"""Characters of a token: longer ones are neither made nor read (HTTP servers bound a header at 8 to 16 KiB)."""

EXE_SHOWN: Final = 512
"""Characters of the executable's path, from its end, that a token carries."""

_ALGORITHM: Final = "EdDSA"
# three base64url segments without padding, the last of 64 bytes
_FORM: Final = re.compile(r"([A-Za-z0-9_-]{1,512})\.[A-Za-z0-9_-]+\.([A-Za-z0-9_-]{86})")
_JWS: Final = jwt.PyJWS(algorithms=[_ALGORITHM])

Text = Annotated[str, msgspec.Meta(min_length=1)]


class InvalidToken(Exception):
    """Not a token of ours, or no longer. The message says why and holds nothing of the token."""


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is the compact JWS to send, a secret while it lives; `claims` what it says."""

    text: str
    claims: Claims

    def __repr__(self) -> str:
        return f"Token(jti={self.claims.token!r}, principal={self.claims.principal!r})"


@dataclass(frozen=True, slots=True)
class Approval:
    """A decision on one hold, bound to what the approver saw. `digest` is lockgate.approval.digest's."""

    hold: str
    digest: str
    decision: Literal["approve", "deny"]


@dataclass(frozen=True, slots=True)
class Granting:
    """The approver's choice to let every statement with this fingerprint run, made while deciding on `hold`.

    `fingerprint` is lockgate.approval.digest's; it covers who asks and where. The token's own expiry is the grant's.
    """

    hold: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Revocation:
    """The end of the grant of that id (the `jti` of its token)."""

    grant: str


Word = Approval | Granting | Revocation
"""What a token can say beside who its bearer is; each kind has an audience of its own, and is good for nothing else."""

_AUDIENCES: Final[dict[type[Word], str]] = {
    Approval: APPROVAL_AUDIENCE,
    Granting: GRANT_AUDIENCE,
    Revocation: REVOCATION_AUDIENCE,
}


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    kid: str
    typ: str


class _Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pid: int
    exe: str
    uid: int
    user: str
    unit: str | None = None
    container: str | None = None


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    iss: Text
    aud: Text
    sub: Text
    jti: Text
    iat: int
    nbf: int
    exp: int
    groups: list[Text]
    person: Text | None = None
    workload: _Workload | None = None
    approval: Approval | None = None
    grant: Granting | None = None
    revocation: Revocation | None = None


_read_header = msgspec.json.Decoder(_Header).decode
_read_body = msgspec.json.Decoder(_Body).decode


class TokenIssuer:
    """Makes and verifies this host's tokens. `lifetime` in seconds; `clock` gives seconds since the epoch."""

    def __init__(
        self, key: HostKey, host: str, lifetime: int = LIFETIME, clock: Callable[[], float] = time.time
    ) -> None:
        self.host = host
        self.lifetime = lifetime
        self.clock = clock
        self._key = key
        self._keys = {key.kid: key.private.public_key()}

    def issue(self, principal: Principal, workload: Workload, *, operator: bool = False) -> Token:
        """A token for a process. `operator` adds OPERATOR_GROUP, for root on the host and nobody else.

        Raises ValueError for a name or group that only Lockgate itself may carry, for an operator who is not uid 0,
        and when the token would be longer than TOKEN_LIMIT.
        """
        _not_our_own(principal)
        groups = principal.groups
        if operator:
            if workload.uid != 0:
                raise ValueError(f"uid {workload.uid} can't be an operator: only root is")
            groups = (*groups, OPERATOR_GROUP)
        return self._issue(principal.name, principal.person, groups, _summary(workload))

    def issue_approval(self, principal: Principal, workload: Workload, approval: Approval) -> Token:
        """A token that says one thing: this principal takes this decision. Raises ValueError as `issue` does."""
        _not_our_own(principal)
        return self._issue(principal.name, principal.person, principal.groups, _summary(workload), approval)

    def issue_grant(self, principal: Principal, workload: Workload, grant: Granting, seconds: int) -> Token:
        """A token that grants for `seconds` from now. Raises ValueError as `issue` does."""
        _not_our_own(principal)
        return self._issue(principal.name, principal.person, principal.groups, _summary(workload), grant, seconds)

    def issue_revocation(self, principal: Principal, workload: Workload, revocation: Revocation) -> Token:
        """A token that ends a grant and does nothing else. Raises ValueError as `issue` does."""
        _not_our_own(principal)
        return self._issue(principal.name, principal.person, principal.groups, _summary(workload), revocation)

    def issue_service(self) -> Token:
        """The agent's own token, for its calls to the collector: `host:NAME` in group AGENT_GROUP."""
        return self._issue(f"host:{self.host}", None, (AGENT_GROUP,), None)

    def verify(self, text: str) -> Claims:
        """The claims of a token of this host. Raises InvalidToken."""
        return _claims(_verify(text, self._keys, self.host, self.clock(), 0.0, AUDIENCE))

    def _issue(
        self,
        subject: str,
        person: str | None,
        groups: tuple[str, ...],
        workload: _Workload | None,
        word: Word | None = None,
        lifetime: int | None = None,
    ) -> Token:
        issued = int(self.clock())
        body = _Body(
            iss=self.host,
            aud=AUDIENCE if word is None else _AUDIENCES[type(word)],
            sub=subject,
            jti=secrets.token_hex(16),
            iat=issued,
            nbf=issued,
            exp=issued + (self.lifetime if lifetime is None else lifetime),
            groups=list(groups),
            person=person,
            workload=workload,
            approval=word if isinstance(word, Approval) else None,
            grant=word if isinstance(word, Granting) else None,
            revocation=word if isinstance(word, Revocation) else None,
        )
        text = _JWS.encode(msgspec.json.encode(body), self._key.private, _ALGORITHM, {"kid": self._key.kid})
        if len(text) > TOKEN_LIMIT:
            raise ValueError(f"the token of {subject!r} would have {len(text)} characters (at most {TOKEN_LIMIT})")
        return Token(text, _claims(body))


def verify_with_jwks(
    text: str, jwks: Mapping[str, object], host: str, *, clock: Callable[[], float] = time.time, skew: float = SKEW
) -> Claims:
    """The claims of a token of `host`, whose published key set is `jwks`: the collector's side.

    `skew` is by how many seconds the two clocks may differ. Raises InvalidToken, also for a key set that can't be used.
    """
    return _claims(_verify(text, _usable(jwks, host), host, clock(), skew, AUDIENCE))


def verify_approval(
    text: str, jwks: Mapping[str, object], host: str, *, clock: Callable[[], float] = time.time, skew: float = SKEW
) -> tuple[Claims, Approval]:
    """Who decided, and what: of a token that `issue_approval` made on `host`. Raises InvalidToken."""
    body = _verify(text, _usable(jwks, host), host, clock(), skew, APPROVAL_AUDIENCE)
    if body.approval is None:
        raise InvalidToken("decides nothing")
    return _claims(body), body.approval


def verify_grant(
    text: str, jwks: Mapping[str, object], host: str, *, clock: Callable[[], float] = time.time, skew: float = SKEW
) -> tuple[Claims, Granting]:
    """Who granted what, until `Claims.expires_at`: of a token that `issue_grant` made on `host`. Raises InvalidToken.

    `skew` is for its beginning only: no difference of clocks makes a grant last longer.
    """
    body = _verify(text, _usable(jwks, host), host, clock(), skew, GRANT_AUDIENCE)
    if body.grant is None:
        raise InvalidToken("grants nothing")
    if clock() >= body.exp:
        raise InvalidToken("expired")
    return _claims(body), body.grant


def verify_revocation(
    text: str, jwks: Mapping[str, object], host: str, *, clock: Callable[[], float] = time.time, skew: float = SKEW
) -> tuple[Claims, Revocation]:
    """Who ends which grant: of a token that `issue_revocation` made on `host`. Raises InvalidToken."""
    body = _verify(text, _usable(jwks, host), host, clock(), skew, REVOCATION_AUDIENCE)
    if body.revocation is None:
        raise InvalidToken("revokes nothing")
    return _claims(body), body.revocation


def _usable(jwks: Mapping[str, object], host: str) -> Mapping[str, Ed25519PublicKey]:
    try:
        return public_keys(jwks)
    except InvalidKeySet as error:
        raise InvalidToken(f"no usable key set of host {host!r}: {error}") from error


def _verify(
    text: str, keys: Mapping[str, Ed25519PublicKey], host: str, now: float, skew: float, audience: str
) -> _Body:
    form = _FORM.fullmatch(text) if len(text) <= TOKEN_LIMIT else None
    if form is None:
        raise InvalidToken("not a token of three parts, or too long")
    try:
        header = _read_header(base64.b64decode(form[1] + "=" * (-len(form[1]) % 4), altchars="-_", validate=True))
    except (binascii.Error, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidToken("the header is not exactly alg, kid and typ") from error
    if header.alg != _ALGORITHM or header.typ != "JWT":
        raise InvalidToken(f"the algorithm is not {_ALGORITHM}")
    key = keys.get(header.kid)
    if key is None:
        raise InvalidToken("signed with a key that is not this host's")
    # the last of the 86 characters has 4 bits to spare: with them set, one token could go by several texts
    if form[2][-1] not in "AQgw":
        raise InvalidToken("the signature is not in its one form")
    try:
        payload = _JWS.decode(text, key, algorithms=[_ALGORITHM])
    except jwt.PyJWTError as error:
        raise InvalidToken("the signature does not match") from error
    try:
        body = _read_body(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidToken("the claims are not those of a token of ours") from error
    said = [_AUDIENCES[type(word)] for word in (body.approval, body.grant, body.revocation) if word is not None]
    if body.aud != audience or (said and said != [audience]):
        raise InvalidToken("made for another audience")
    if body.iss != host:
        raise InvalidToken(f"not issued by host {host!r}")
    if body.nbf > now + skew or body.iat > now + skew:
        raise InvalidToken("not valid yet")
    if now >= body.exp + skew:
        raise InvalidToken("expired")
    return body


def _claims(body: _Body) -> Claims:
    return Claims(body.jti, body.sub, body.person, tuple(body.groups), body.iss, body.iat, body.exp)


def _not_our_own(principal: Principal) -> None:
    for name in (principal.name, principal.person or "", *principal.groups):
        if name.startswith(("host:", "lockgate:")):
            raise ValueError(f"{name!r}: names beginning with `host:` or `lockgate:` are Lockgate's own")


def _summary(workload: Workload) -> _Workload:
    return _Workload(
        workload.pid, workload.exe[-EXE_SHOWN:], workload.uid, workload.user, workload.unit, workload.container
    )
