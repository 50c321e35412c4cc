"""Certificates of every kind that a server or a client may show: signed by one authority, or not."""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

DAY = datetime.timedelta(days=1)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


class Signer:
    """An authority of somebody else's, such as a company's. `certify` writes NAME.crt and NAME.key to a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self.file = folder / f"{name}.crt"
        self.file.write_bytes(self._sign(self._name, self._key, [], DAY, ca=True).public_bytes(Encoding.PEM))

    def certify(self, common: str, *sans: str, life: datetime.timedelta = DAY) -> tuple[Path, Path]:
        """A certificate for the host names and addresses `sans`, and its key; expired with a `life` below 0."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(_name(common), key, list(sans), life, ca=False)
        pem, private = self.folder / f"{common}.crt", self.folder / f"{common}.key"
        pem.write_bytes(certificate.public_bytes(Encoding.PEM))
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        private.chmod(0o600)
        return pem, private

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, sans: list[str], life: datetime.timedelta, *, ca: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - 3 * DAY).not_valid_after(now + life)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )  # fmt: skip
        if sans:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general(san) for san in sans]), critical=False
            )
        return builder.sign(self._key, hashes.SHA256())


def _general(san: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(san))
    except ValueError:
        return x509.DNSName(san)


def install(data: Path, certificate: Path, key: Path) -> None:
    """Put them where PostgreSQL takes them from, in its data folder, as its own; it reads them at a reload."""
    owner = data.stat()
    for file, source in (("server.crt", certificate), ("server.key", key)):
        (data / file).write_bytes(source.read_bytes())
        (data / file).chmod(0o600)
        os.chown(data / file, owner.st_uid, owner.st_gid)
