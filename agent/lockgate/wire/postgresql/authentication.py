"""Authentication with a credential of the agent's own: the client's part of it, towards the server, sans-IO.

What a server asks for is answered only as far as it may be trusted with the answer: a password in clear goes only to
one whose certificate was verified, one that uses SCRAM has to prove that it knows the password too before anything it
says counts, and none can talk us out of channel binding that was required. Source: PostgreSQL documentation, "SASL
Authentication" and the Authentication* messages; libpq's fe-auth.c.
"""

from __future__ import annotations

import hashlib
from enum import Enum, auto
from typing import Final, Literal, Protocol

from lockgate.wire.gate import Refusal
from lockgate.wire.postgresql import errors, frames
from lockgate.wire.postgresql.scram import MECHANISM, PLUS, Scram, ScramError

ChannelBinding = Literal["prefer", "require", "disable"]

OK: Final = 0
_CLEARTEXT: Final = 3
_MD5: Final = 5
_SASL: Final = 10
_SASL_CONTINUE: Final = 11
_SASL_FINAL: Final = 12
_NAMES: Final = {2: "Kerberos 5", 6: "an SCM credential", 7: "GSSAPI", 9: "SSPI"}

_MD5_SALT_BYTES: Final = 4


class Login(Protocol):
    """A credential in force, as the house gives it to one connection."""

    @property
    def user(self) -> str:
        """The role it belongs to."""

    @property
    def channel_binding(self) -> ChannelBinding:
        """As libpq's parameter of that name."""

    @property
    def verified(self) -> bool:
        """Whether TLS, where there is any, has verified who the server is."""

    def password(self) -> str | None:
        """The password, as SASLprep leaves it to others: not prepared. None where there is none to give."""

    def salted(self, salt: bytes, iterations: int) -> bytes | None:
        """`scram.salted_password` of the prepared password; None for `Session.salted` later.

        Asked only where `password` is not None.
        """

    def refused(self, code: str, message: str) -> None:
        """The server said no, in its own words, which are for the log: the client is told `refusal`."""


class AuthenticationError(Exception):
    """The connection ends here. `refusal` is what the client is told: no role, no secret."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.refusal = Refusal(errors.INVALID_AUTHORIZATION, f"lockgate: {message}", hint=hint)


class _State(Enum):
    """What the server may say next."""

    ASKING = auto()
    """Whatever it wants to know, or nothing."""
    ANSWERED = auto()
    """Ok: it has the answer to all it may ask."""
    CHALLENGING = auto()
    """SASLContinue."""
    DERIVING = auto()
    """Nothing: our turn, which takes time."""
    PROVING = auto()
    """SASLFinal."""
    ACCEPTED = auto()


class Authentication:
    """One connection's. `accepted` once the server has said AuthenticationOk where it may."""

    __slots__ = ("_binding", "_login", "_scram", "_state")

    def __init__(self, login: Login, binding: bytes | None) -> None:
        """`binding` as `Session.connected` has it: None outside TLS, empty where TLS has nothing to bind to."""
        self._login = login
        self._binding = binding
        self._scram: Scram | None = None
        self._state = _State.ASKING

    @property
    def accepted(self) -> bool:
        return self._state is _State.ACCEPTED

    def answer(self, payload: bytes) -> bytes:
        """The message to send for an Authentication* message of the server; empty for none, or none yet.

        Raises AuthenticationError, also for what comes out of turn.
        """
        kind, data = int.from_bytes(payload[:4], "big"), payload[4:]
        state = self._state
        if len(payload) >= 4:
            if kind == OK and not data and state in (_State.ASKING, _State.ANSWERED):
                return self._accept(asked=state is _State.ANSWERED)
            if kind == _SASL_CONTINUE and state is _State.CHALLENGING:
                return self._continue(data)
            if kind == _SASL_FINAL and state is _State.PROVING:
                return self._verify(data)
            if state is _State.ASKING and kind not in (OK, _SASL_CONTINUE, _SASL_FINAL):
                return self._begin(kind, data)
        raise AuthenticationError("the datastore did not keep to the order of authentication")

    def salted(self, salted: bytes) -> bytes:
        """The message to send now that the salted password is known, which `Login.salted` had answered None for."""
        if self._scram is None or self._state is not _State.DERIVING:
            raise RuntimeError("nobody has asked for it")
        self._state = _State.PROVING
        return frames.sasl_response(self._scram.final(salted))

    def refused(self, code: str, message: str) -> Refusal:
        """The server refused the role. What the client is told in place of the server's words, which name it."""
        self._login.refused(code, message)
        return Refusal(code, f"lockgate: the datastore refused the agent's credential (SQLSTATE {code})")

    def _begin(self, kind: int, data: bytes) -> bytes:
        if kind == _SASL:
            return self._sasl(data)
        if kind not in (_CLEARTEXT, _MD5):
            what = _NAMES.get(kind, f"authentication of kind {kind}")
            raise AuthenticationError(f"the datastore asks for {what}, which is not supported")
        self._unbound()
        password = self._password()
        if kind == _CLEARTEXT:
            if self._binding is None or not self._login.verified:
                # whoever answers in the datastore's place, were it on the client's behalf, would have it
                raise AuthenticationError(
                    "the datastore asks for the password in clear outside verified TLS; it was not sent",
                    "Say upstream_tls: verify-full, or have the datastore use scram-sha-256.",
                )
            answer = password.encode()
        else:
            if len(data) != _MD5_SALT_BYTES:
                raise AuthenticationError("the datastore did not keep to the order of authentication")
            inner = _md5(password.encode() + self._login.user.encode())
            answer = b"md5" + _md5(inner + data)
        self._state = _State.ANSWERED
        return frames.password(answer)

    def _sasl(self, data: bytes) -> bytes:
        self._password()
        offered = data.split(b"\0")
        wanted, bound = self._login.channel_binding, False
        plus, plain = PLUS.encode() in offered, MECHANISM.encode() in offered
        if plus and self._binding is None:
            # only a server inside TLS offers it: somebody in between took the TLS away
            raise AuthenticationError("the datastore offers channel binding outside TLS: the connection is not its own")
        if wanted != "disable" and self._binding:
            bound = plus
            # "y": we could, and believe that the server could not. One that has offered it knows better and refuses
            header = b"p=tls-server-end-point,," if bound else b"y,,"
        else:
            header = b"n,,"
        if not bound:
            self._unbound()
            if not plain:
                raise AuthenticationError("the datastore offers no kind of authentication that is supported")
        self._scram = Scram(header, self._binding or b"" if bound else b"")
        self._state = _State.CHALLENGING
        return frames.sasl_initial(PLUS if bound else MECHANISM, self._scram.first())

    def _continue(self, data: bytes) -> bytes:
        scram = self._in_exchange()
        try:
            scram.challenged(data)
        except ScramError as error:
            raise AuthenticationError(str(error)) from None
        self._state = _State.DERIVING
        salted = self._login.salted(scram.salt, scram.iterations)
        return b"" if salted is None else self.salted(salted)

    def _verify(self, data: bytes) -> bytes:
        try:
            self._in_exchange().verify(data)
        except ScramError as error:
            raise AuthenticationError(str(error)) from None
        self._state = _State.ANSWERED
        return b""

    def _accept(self, *, asked: bool) -> bytes:
        if not asked:
            self._unbound()
        self._state = _State.ACCEPTED
        return b""

    def _in_exchange(self) -> Scram:
        if self._scram is None:
            raise RuntimeError("no exchange has begun")
        return self._scram

    def _password(self) -> str:
        password = self._login.password()
        if password is None:
            raise AuthenticationError("the datastore asks for a password and the credential has none")
        return password

    def _unbound(self) -> None:
        """What is about to be done binds nothing to the TLS it is done in."""
        if self._login.channel_binding == "require":
            raise AuthenticationError(
                "channel binding is required, and the datastore does not offer it",
                "It needs TLS, scram-sha-256 in pg_hba.conf, and a password that is stored as such.",
            )


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode()
