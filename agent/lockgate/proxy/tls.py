"""TLS with a client, sans-IO: bytes of the socket in, plain text out, and the other way around.

OpenSSL between two memory buffers. The event loop's own TLS can't take bytes that were read before it began, which is
what a direct start of TLS (PostgreSQL 17) gives.
"""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from typing import Final

ALPN: Final = "postgresql"
"""The protocol's registered name: a client that begins with TLS has to ask for it (PostgreSQL 17, ALPACA)."""

READ_BYTES: Final = 256 * 1024
"""The most that may be fed at once: one read of a socket."""
RECORD_BYTES: Final = 16_384 + 256 + 5
"""The largest TLS record (RFC 5246, section 6.2.3, and its header): what can wait for its end beside what is fed."""
HANDSHAKE_BYTES: Final = 64 * 1024
"""What a client may send before the handshake is over. OpenSSL takes messages of 16 KiB to 100 KiB, and any number."""

_ALERTS: Final = {
    "TLSV1_ALERT_UNKNOWN_CA": "the client doesn't trust this host's authority: see `lockgate ca`",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client doesn't take this host's certificate: see `lockgate ca`",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client doesn't take this host's certificate: see `lockgate ca`",
    "HTTP_REQUEST": "the client speaks HTTP",
    "WRONG_VERSION_NUMBER": "the client doesn't speak TLS",
}

_plain: Final = memoryview(bytearray(READ_BYTES + RECORD_BYTES))
"""A record's plain text is shorter than the record, so this holds whatever one call can give."""
_nothing: Final = _plain[:0]


class TlsError(Exception):
    """Theirs: the client's TLS ends here. One line for the log; what OpenSSL has to say to the client is in `take`."""


class Tls:
    """The server's end of one client's TLS. `alpn` is what the client has to ask for, None for nothing.

    After every call `take` gives what is to be sent. `established` once the handshake is over; `closed` once the client
    has said that it sends no more.
    """

    __slots__ = ("_alpn", "_greeting", "_incoming", "_object", "_outgoing", "closed", "established")

    def __init__(self, context: ssl.SSLContext, *, alpn: str | None = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._alpn = alpn
        self._greeting = 0
        self.established = False
        self.closed = False

    def receive(self, data: memoryview) -> memoryview:
        """The plain text in at most READ_BYTES of the socket; good until anybody's next call. Raises TlsError."""
        self._incoming.write(data)
        if not self.established and not self._greet(len(data)):
            return _nothing
        size = 0
        read = self._object.read
        try:
            while size < len(_plain):
                count = read(len(_plain) - size, _plain[size:])
                if not count:
                    self.closed = True
                    break
                size += int(count)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.established = False  # OpenSSL takes nothing more to send, and raises
            raise TlsError(_told(error)) from None
        return _plain[:size]

    def send(self, data: bytes) -> None:
        """Encrypt `data`. Before the handshake is over, or after a TlsError, nobody can be told: it is dropped."""
        if self.established:
            self._object.write(data)

    def close(self) -> None:
        """Say that no more will be sent."""
        if self.established:
            with suppress(ssl.SSLError):  # wants the client's own goodbye, which is not waited for
                self._object.unwrap()

    def take(self) -> bytes:
        """What is to be sent to the client, taken."""
        return self._outgoing.read()

    def _greet(self, count: int) -> bool:
        self._greeting += count
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            if self._greeting > HANDSHAKE_BYTES:
                raise TlsError(f"more than {HANDSHAKE_BYTES} bytes of handshake") from None
            return False
        except ssl.SSLError as error:
            raise TlsError(_told(error)) from None
        if self._alpn is not None and self._object.selected_alpn_protocol() != self._alpn:
            raise TlsError(f"the client began with TLS, but not for {self._alpn} (ALPN)")
        self.established = True
        return True


def server_context(pem: bytes) -> ssl.SSLContext:
    """A context for the agent's end, with a certificate and its key in PEM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # like PostgreSQL: a resumed session saves little here, and a ticket's key would outlive the leaf
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.set_alpn_protocols([ALPN])
    load_chain(context, pem)
    return context


def load_chain(context: ssl.SSLContext, pem: bytes) -> None:
    """Have `context` show the certificates and use the key in `pem`. Raises ssl.SSLError, which quotes neither.

    Through memory: the key need not be where a path could find it, and what was checked is what is loaded.
    """
    descriptor = os.memfd_create("lockgate-chain", os.MFD_CLOEXEC)
    with open(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        # an encrypted key fails, where OpenSSL would ask the terminal
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_unknown)


def _unknown() -> str:
    return ""


def _told(error: ssl.SSLError) -> str:
    reason = error.reason or "UNKNOWN"
    return _ALERTS.get(reason) or reason.replace("_", " ").lower()
