"""The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), sans-IO: texts in, texts out.

Unlike what libraries offer, the one expensive step (PBKDF2) is left to the caller, who may do it elsewhere and keep
its result; `iterations` is bounded in both directions.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final

MECHANISM: Final = "SCRAM-SHA-256"
PLUS: Final = "SCRAM-SHA-256-PLUS"

MIN_ITERATIONS: Final = 4096
"""RFC 7677, section 4, and PostgreSQL's default. Who asks for fewer wants an answer that is cheap to guess."""

MAX_ITERATIONS: Final = 2_000_000
"""Some 1 s of a core. OWASP recommends 600,000; PostgreSQL would let a server ask for 2**31."""

NONCE_BYTES: Final = 18
"""PostgreSQL's SCRAM_RAW_NONCE_LEN."""

MESSAGE_BYTES: Final = 4096
"""The longest server-first or server-final message. PostgreSQL's are some 100 bytes long."""

SALT_BYTES: Final = range(1, 1025)


class ScramError(Exception):
    """The server did not keep to SCRAM, or is not who knows the password. Names nothing secret."""


class Scram:
    """One exchange: `first`, then `challenged`, `final` and `verify`, in this order.

    `header` is the GS2 header (`n,,`, `y,,` or `p=tls-server-end-point,,`) and `binding` the channel binding data
    behind it. `nonce` is for tests alone.
    """

    __slots__ = ("_bare", "_bound", "_challenge", "_header", "_nonce", "_salted", "iterations", "salt")

    def __init__(self, header: bytes, binding: bytes = b"", nonce: bytes | None = None) -> None:
        self._header = header
        self._bound = base64.b64encode(header + binding)
        self._nonce = nonce or base64.b64encode(secrets.token_bytes(NONCE_BYTES))
        # PostgreSQL takes the user from the start-up packet and ignores this one
        self._bare = b"n=,r=" + self._nonce
        self._challenge = b""
        self._salted = b""
        self.salt = b""
        self.iterations = 0

    def first(self) -> bytes:
        """client-first-message."""
        return self._header + self._bare

    def challenged(self, message: bytes) -> None:
        """server-first-message: `salt` and `iterations` are then set. Raises ScramError."""
        nonce, salt, iterations = _attributes(message, b"r", b"s", b"i")
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise ScramError("the server answered with a nonce that does not extend ours")
        if any(not 0x21 <= octet <= 0x7E for octet in nonce):
            raise ScramError("the server's nonce is not printable")
        self.salt = _decoded(salt)
        if len(self.salt) not in SALT_BYTES:
            raise ScramError("the server's salt is of no possible length")
        if not iterations.isdigit() or len(iterations) > 10:
            raise ScramError("the server's iteration count is not a number")
        self.iterations = int(iterations)
        if self.iterations < MIN_ITERATIONS:
            raise ScramError(f"the server asks for {self.iterations} iterations, fewer than {MIN_ITERATIONS}")
        if self.iterations > MAX_ITERATIONS:
            raise ScramError(f"the server asks for {self.iterations} iterations, more than {MAX_ITERATIONS}")
        self._challenge = message
        self._nonce = nonce

    def final(self, salted: bytes) -> bytes:
        """client-final-message; `salted` is `salted_password` of the password, `salt` and `iterations`."""
        self._salted = salted
        unproven = b"c=" + self._bound + b",r=" + self._nonce
        self._challenge = b",".join((self._bare, self._challenge, unproven))
        key = _hmac(salted, b"Client Key")
        signature = _hmac(hashlib.sha256(key).digest(), self._challenge)
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        return unproven + b",p=" + base64.b64encode(proof)

    def verify(self, message: bytes) -> None:
        """server-final-message: the server has to know the password too. Raises ScramError."""
        if message.startswith(b"e="):
            raise ScramError("the server ended the exchange with an error")
        (signature,) = _attributes(message, b"v")
        expected = _hmac(_hmac(self._salted, b"Server Key"), self._challenge)
        self._salted = b""
        if not hmac.compare_digest(_decoded(signature), expected):
            raise ScramError("the server's signature is wrong: it does not know the password")


def salted_password(password: str, salt: bytes, iterations: int) -> bytes:
    """Hi() of RFC 5802: 32 bytes, as good as the password itself. 4096 iterations take some 2 ms. Holds no lock."""
    return hashlib.pbkdf2_hmac("sha256", password.encode("utf-8"), salt, iterations)


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _attributes(message: bytes, *names: bytes) -> list[bytes]:
    """The values of the attributes that a message begins with, in this order; extensions may follow them."""
    parts = message.split(b",")
    if len(message) > MESSAGE_BYTES or len(parts) < len(names):
        raise ScramError("the server sent a message that SCRAM doesn't have")
    if parts[0].startswith(b"m="):
        raise ScramError("the server demands an extension of SCRAM that nobody knows")
    found = []
    for name, part in zip(names, parts, strict=False):
        if not part.startswith(name + b"="):
            raise ScramError("the server sent a message that SCRAM doesn't have")
        found.append(part[2:])
    return found


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ScramError("the server sent what is not base64") from None
