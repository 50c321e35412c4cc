"""An Ed25519 key as a host has one, for tests of what is signed."""

from __future__ import annotations

import base64
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class Key:
    """Signs; `jwk` is its public half (RFC 8037), `kid` the thumbprint (RFC 7638)."""

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.generate()
        x = _text(self._private.public_key().public_bytes_raw())
        self.kid = _text(
            hashlib.sha256(
                json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":")).encode()
            ).digest()
        )
        self.jwk = {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid}

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
