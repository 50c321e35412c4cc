"""The host's certificate authority: what lets clients verify the agent that stands where they dialled.

It certifies nothing but the agent's own end of connections on this host. What the datastore behind it has proved to
the agent is `upstream_tls`'s business.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lockgate.config.keyfile import KeyFileError, load_or_create, publish, replace

FILE: Final = "ca.pem"
"""In the agent's state folder: the private key, and the certificate behind it."""
PUBLISHED: Final = "ca.crt"
"""In the agent's run folder: the certificate alone, for everyone to read."""
FILE_LIMIT: Final = 16_384
"""Bytes read of it; a P-256 key and its certificate have some 1,100."""
AUTHORITY_LIFE: Final = datetime.timedelta(days=3650)
RENEWED_BEFORE: Final = datetime.timedelta(days=730)
"""How long before its end a start renews the authority's certificate: under the same key and name, so that what was
verified with the old one is verified with the new one too, and the other way around."""
LEAF_LIFE: Final = datetime.timedelta(days=7)
BACKDATED: Final = datetime.timedelta(hours=1)
"""How far the clocks of this host and of a verifier (a container's, a guest's) may be apart."""

Clock = Callable[[], datetime.datetime]


class AuthorityError(Exception):
    """The authority can't be used; the message names its file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate for the agent's end of a connection. `pem` holds it and its private key."""

    pem: bytes
    expires: datetime.datetime


class Authority:
    """ECDSA on P-256, which every client speaks. `certificate` is the authority's own."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, clock: Clock) -> None:
        self.certificate = certificate
        self._key = key
        self._clock = clock
        # one for all leaves, as new as the process: a leaf's key never touches the disk
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._leaf_key_pem = _private(self._leaf_key)

    @classmethod
    def load_or_create(cls, folder: Path, host: str, clock: Clock | None = None) -> Authority:
        """The authority in `folder`, made or renewed there if need be. `host` is the agent's name.

        Raises AuthorityError.
        """
        now = clock or _now
        path = folder / FILE
        try:
            content = load_or_create(path, lambda: _made(host, now()), FILE_LIMIT)
            key, certificate = _parse(path, content)
            if certificate.not_valid_after_utc - now() < RENEWED_BEFORE:
                certificate = _authority(key, certificate.subject, now())
                replace(path, _private(key) + certificate.public_bytes(Encoding.PEM))
        except KeyFileError as error:
            raise AuthorityError(str(error)) from error
        return cls(key, certificate, now)

    @property
    def pem(self) -> bytes:
        """The certificate that clients verify with."""
        return self.certificate.public_bytes(Encoding.PEM)

    def publish(self, folder: Path) -> None:
        """Put the certificate into the agent's run folder, for everyone to read. Raises AuthorityError."""
        try:
            publish(folder / PUBLISHED, self.pem)
        except KeyFileError as error:
            raise AuthorityError(str(error)) from error

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` shows it."""
        return self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()

    def leaf(self, address: str, names: Sequence[str]) -> Leaf:
        """A new certificate for the IP address `address` and the host names `names`."""
        now = self._clock()
        expires = min(now + LEAF_LIFE, self.certificate.not_valid_after_utc)
        public = self._leaf_key.public_key()
        sans: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address))]
        sans += [x509.DNSName(name) for name in names]
        certificate = (
            # the common name is for libpq before 15, which knows no IP address among the alternative names
            _builder(_name(address), self.certificate.subject, public, now, expires)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.SubjectAlternativeName(sans), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Leaf(certificate.public_bytes(Encoding.PEM) + self._leaf_key_pem, expires)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _made(host: str, now: datetime.datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _authority(key, _name(f"Lockgate on {host}"[:64]), now)
    return _private(key) + certificate.public_bytes(Encoding.PEM)


def _authority(key: ec.EllipticCurvePrivateKey, name: x509.Name, now: datetime.datetime) -> x509.Certificate:
    return (
        _builder(name, name, key.public_key(), now, now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
    until: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        # the authority's too: whoever trusts it trusts it for servers, not for people or programs
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=key_cert_sign, crl_sign=crl_sign,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _parse(path: Path, content: bytes) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    try:
        key = load_pem_private_key(content, password=None)
        certificate = x509.load_pem_x509_certificate(content)
    except (ValueError, TypeError) as error:
        raise AuthorityError(f"{path}: not a private key and a certificate in PEM: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
        raise AuthorityError(f"{path}: the key is not the certificate's")
    return key, certificate
