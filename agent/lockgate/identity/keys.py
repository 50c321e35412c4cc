"""The host's signing key: Ed25519, made on first start, published as a JSON Web Key Set.

The key signs two kinds of bytes that must never be taken for one another: tokens (JWS, RFC 7515, whose signing input
begins with `eyJ`) and records of the audit (through `HostKey.sign`, which puts `SIGNATURE_CONTEXT` in front).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from lockgate.config.keyfile import KeyFileError, load_or_create

SIGNATURE_CONTEXT = b"lockgate-signature-v1\0"
"""Stands before everything `HostKey.sign` signs: a signed record can't be replayed as a token, nor the other way."""

KEY_FILE_LIMIT = 4096
"""Bytes read of a key file; an Ed25519 key in PKCS#8 PEM has 119."""

KEY_SET_LIMIT = 16
"""Keys in one host's set: the current one and what a rotation leaves behind."""

_COORDINATE = re.compile(r"[A-Za-z0-9_-]{43}")


class HostKeyError(Exception):
    """The host key can't be used; the message names the file and what is wrong with it."""


class InvalidKeySet(Exception):
    """A published key set that can't be trusted: malformed, of another algorithm, or a key under another key's name."""


class HostKey:
    """`kid` is the RFC 7638 thumbprint of the public half: base64url without padding, SHA-256."""

    __slots__ = ("_jwk", "kid", "private")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self.private = private
        public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._jwk = {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public)}
        self.kid = thumbprint(self._jwk["x"])

    @classmethod
    def load_or_create(cls, path: str | Path) -> HostKey:
        """The key in `path`; made there (mode 0600, folder 0700) when there is none. Raises HostKeyError.

        Two processes starting at once end up with the same key.
        """
        try:
            text = load_or_create(Path(path), _make, KEY_FILE_LIMIT)
        except KeyFileError as error:
            raise HostKeyError(str(error)) from error
        try:
            key = load_pem_private_key(text, password=None)
        except (ValueError, TypeError) as error:
            raise HostKeyError(f"{path}: not a private key in PEM: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise HostKeyError(f"{path}: not an Ed25519 key")
        return cls(key)

    def jwks(self) -> dict[str, Any]:
        """The public half as a JSON Web Key Set (RFC 7517, RFC 8037): what the collector verifies against."""
        return {"keys": [{**self._jwk, "kid": self.kid, "use": "sig", "alg": "EdDSA"}]}

    def sign(self, data: bytes) -> bytes:
        """64 bytes of Ed25519 signature over `SIGNATURE_CONTEXT + data`; `verify_signature` is its other half."""
        return self.private.sign(SIGNATURE_CONTEXT + data)


def thumbprint(x: str) -> str:
    """RFC 7638 thumbprint of the Ed25519 public key whose base64url form is `x`."""
    canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'
    return _base64url(hashlib.sha256(canonical.encode()).digest())


def public_keys(jwks: object) -> dict[str, Ed25519PublicKey]:
    """The keys of a published set by `kid`. Raises InvalidKeySet.

    Every key must be Ed25519 and go by its own thumbprint, so that a pinned `kid` pins the key itself.
    """
    keys = jwks.get("keys") if isinstance(jwks, Mapping) else None
    if not isinstance(keys, list) or not 1 <= len(keys) <= KEY_SET_LIMIT:
        raise InvalidKeySet(f"not a JSON Web Key Set of 1 to {KEY_SET_LIMIT} keys")
    found: dict[str, Ed25519PublicKey] = {}
    for key in keys:
        if not isinstance(key, Mapping) or key.get("kty") != "OKP" or key.get("crv") != "Ed25519":
            raise InvalidKeySet("a key that is not Ed25519")
        x = key.get("x")
        if not isinstance(x, str) or not _COORDINATE.fullmatch(x):
            raise InvalidKeySet("a key whose `x` is not 32 bytes in base64url")
        kid = thumbprint(x)
        if key.get("kid") != kid:
            raise InvalidKeySet("a key whose `kid` is not its thumbprint (RFC 7638)")
        found[kid] = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "="))
    return found


def verify_signature(jwks: object, kid: str, data: bytes, signature: bytes) -> bool:
    """Whether `HostKey.sign(data)` of the key `kid` gave `signature` (False: no such key). Raises InvalidKeySet."""
    key = public_keys(jwks).get(kid)
    if key is None:
        return False
    try:
        key.verify(signature, SIGNATURE_CONTEXT + data)
    except InvalidSignature:
        return False
    return True


def _make() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
