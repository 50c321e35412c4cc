"""TLS to a datastore: what is offered, what is verified, and by which name.

libpq's words for it: `prefer` takes TLS where it is offered, `require` takes nothing else, and with `upstream_ca` also
verifies who signed the certificate; `verify-full` verifies the name too.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from typing import Any, Final, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from lockgate.config import Datastore
from lockgate.config.secrets import KEY_BYTES, SecretError, read_private
from lockgate.proxy.tls import ALPN, load_chain
from lockgate.values.identity import Endpoint

CERTIFICATE_BYTES: Final = 1024 * 1024
"""The largest file of certificates: the system's own bundle has a quarter of it."""

Mode = Literal["disable", "prefer", "require", "verify-full"]
Names = Callable[[Endpoint], tuple[str, ...]]
"""The host names by which the configuration calls an address, in its order."""


class UpstreamTlsError(ValueError):
    """A file that TLS to a datastore needs can't be used. One line that names it."""


class UpstreamTls:
    """TLS to one datastore. Its files are read again when they have changed, so that certificates can be renewed."""

    def __init__(
        self,
        mode: Mode = "prefer",
        *,
        ca: str | None = None,
        certificate: str | None = None,
        key: str | None = None,
        names: Names = lambda endpoint: (),
        alpn: str | None = ALPN,
    ) -> None:
        """`ca`, `certificate` and `key` are files in PEM. `verify-full` without `ca` goes by the system's store.

        `alpn` is the protocol that the server is told of, None for none.
        """
        self.mode = mode
        self.names = names
        self._alpn = alpn
        self.offered = mode != "disable"
        self.required = mode in ("require", "verify-full")
        self._verify_name = mode == "verify-full"
        self._ca = ca
        self._certificate = certificate
        self._key = key
        self._files = [file for file in (ca, certificate, key) if file is not None]
        self._stamp: object = None
        self._contexts: dict[str | None, ssl.SSLContext] = {}

    @classmethod
    def of(cls, settings: Datastore, names: Names = lambda endpoint: ()) -> UpstreamTls:
        """As a datastore's configuration has it."""
        return cls(
            settings.upstream_tls,
            ca=settings.upstream_ca,
            certificate=settings.upstream_certificate,
            key=settings.upstream_key,
            names=names,
            alpn=ALPN if settings.protocol == ALPN else None,
        )

    def peer(self, endpoint: Endpoint) -> str:
        """What the server at `endpoint` has to prove to be: its configured name, or else its address.

        An address with several names is taken for the first of them.
        """
        return next(iter(self.names(endpoint)), endpoint.host)

    def check(self) -> None:
        """Read the files, so that what is wrong with them shows when the agent starts. Raises UpstreamTlsError."""
        if self._files:
            self._make(None)

    def context(self, endpoint: Endpoint) -> ssl.SSLContext:
        """For a connection to `endpoint`. It knows `peer` by itself, whatever host name it is used with.

        Raises UpstreamTlsError.
        """
        stamp = self._changed()
        if stamp != self._stamp:
            self._contexts = {}
        peer = self.peer(endpoint)
        # what an address has to prove is told by who connects: only names, which the configuration bounds, are kept
        name = peer if peer != endpoint.host else None
        context = self._contexts.get(name)
        if context is None:
            context = self._contexts[name] = self._make(name)
        self._stamp = stamp
        return context

    def for_asyncpg(self, endpoint: Endpoint) -> str | ssl.SSLContext:
        """What asyncpg takes as `ssl`. Raises UpstreamTlsError."""
        return self.context(endpoint) if self.required else self.mode

    def _changed(self) -> object:
        found: list[tuple[int, int, int]] = []
        for file in self._files:
            try:
                facts = os.stat(file)
            except OSError as error:
                raise UpstreamTlsError(f"{file} can't be read: {error.strerror}") from None
            found.append((facts.st_ino, facts.st_size, facts.st_mtime_ns))
        return found

    def _make(self, name: str | None) -> ssl.SSLContext:
        context = _Context(name)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        if self._alpn is not None:
            context.set_alpn_protocols([self._alpn])
        context.check_hostname = self._verify_name
        if self._verify_name or (self.required and self._ca is not None):
            context.verify_mode = ssl.CERT_REQUIRED
            self._trust(context)
        else:
            context.verify_mode = ssl.CERT_NONE
        if self._certificate is not None and self._key is not None:
            try:
                load_chain(context, _read(self._certificate) + b"\n" + read_private(self._key, KEY_BYTES))
            except SecretError as error:
                raise UpstreamTlsError(str(error)) from None
            except ssl.SSLError:
                raise UpstreamTlsError(
                    f"{self._certificate} and {self._key} are not a certificate and its private key in PEM, unencrypted"
                ) from None
        return context

    def _trust(self, context: ssl.SSLContext) -> None:
        if self._ca is None:
            context.load_default_certs()
            return
        content = _read(self._ca).decode("ascii", "ignore")
        try:
            context.load_verify_locations(cadata=content)
        except (ssl.SSLError, ValueError):  # the latter for a file of no ASCII at all
            raise UpstreamTlsError(f"{self._ca} has no certificate in PEM") from None


class _Context(ssl.SSLContext):
    """Verifies, and asks for, `name` where it has one: asyncpg can connect to an address only under that address."""

    name: str | None

    def __new__(cls, name: str | None) -> _Context:
        made = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        made.name = name
        return made

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: Any = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, self.name or server_hostname, session)


def told(error: ssl.SSLError) -> str:
    """Why TLS with a datastore failed, and what to look at. One line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = str(error.verify_message).rstrip(".")
        return f"its certificate is not taken: {why} (upstream_tls, upstream_ca)"
    reason = (error.reason or "it failed").replace("_", " ").lower()
    if "alert" in reason and ("certificate" in reason or "unknown ca" in reason):
        return f"it doesn't take the agent's certificate: {reason} (upstream_certificate)"
    return f"TLS: {reason}"


def channel_binding(certificate: bytes) -> bytes:
    """The tls-server-end-point data (RFC 5929, section 4.1) of a server's certificate in DER.

    Its hash by the hash function of its signature, SHA-256 for MD5 and SHA-1; empty where the signature has none of
    its own (Ed25519), for which nothing is defined, and where which one it has can't be told.
    """
    try:
        found = x509.load_der_x509_certificate(certificate)
        algorithm = found.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):  # OpenSSL reads more than this, and nobody need have verified it
        return b""
    if algorithm is None:
        return b""
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    return found.fingerprint(algorithm)


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as stream:
            content = stream.read(CERTIFICATE_BYTES + 1)
    except OSError as error:
        raise UpstreamTlsError(f"{file} can't be read: {error.strerror}") from None
    if len(content) > CERTIFICATE_BYTES:
        raise UpstreamTlsError(f"{file} has more than {CERTIFICATE_BYTES} bytes: it is not what it should be")
    return content
