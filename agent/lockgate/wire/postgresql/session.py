"""One PostgreSQL connection, sans-IO: bytes in from both sides, bytes out to both sides, questions to the gate.

The life of a connection is the handler that client bytes are fed to:

    starting  -> GSSENCRequest: `N`; SSLRequest: `S` and `securing`, or `N`; a TLS handshake at once: `securing`;
                 CancelRequest: told to the gate, the end; StartupMessage: greeted
    securing  -> waits for the I/O to put TLS in between (`wants_tls`, then `secured`); then starting again
    greeted   -> waits for the I/O to connect upstream (`wants_upstream`, then `connected` or `failed`)
    relaying  -> authentication in both directions, until the server's first ReadyForQuery; or `waiting` for that, while
                 authentication.py answers the server with a credential of the agent's own
    running   -> frontend.py and backend.py
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from lockgate.wire.gate import ProtocolError, Refusal, Ruling
from lockgate.wire.postgresql import errors, frames
from lockgate.wire.postgresql.authentication import Authentication, AuthenticationError, Login
from lockgate.wire.postgresql.backend import Backend
from lockgate.wire.postgresql.conversation import Conversation
from lockgate.wire.postgresql.frontend import Frontend
from lockgate.wire.postgresql.gate import RowKernel, StatementGate
from lockgate.wire.postgresql.versions import NEWEST, OPTION, SECRET_BYTES, Version
from lockgate.wire.session import TLS_HANDSHAKE, Bytes, WantsTls, WireSession, taken

AUTHENTICATION_BYTES = 65_536
"""The largest message while authenticating: PostgreSQL's PG_MAX_AUTH_TOKEN_LENGTH."""


BOUND = Refusal(
    errors.INVALID_AUTHORIZATION,
    "lockgate: the server binds authentication to its TLS, and the client's TLS ends at the agent",
    hint="Set channel_binding=disable (PGCHANNELBINDING) in the client, or give the datastore a credential.",
)
"""What the server would say in its own words (auth-scram.c, read_client_first_message): it takes the client's `y` for
the trace of somebody in between, which the agent is. libpq with sslmode=prefer then connects without TLS."""


class Session(WireSession):
    """See `lockgate.wire.session.WireSession`."""

    _half: ClassVar[type[Frontend]] = Frontend
    """What reads the client's messages."""
    wants_raw: bool = False
    """Never here: see observed.py."""

    __slots__ = ("_backend", "_client", "_conversation", "_early", "_frontend", "_gate", "_notices", "_offered",
                 "_packet", "_running", "_tls", "_to_client", "_to_server", "closing", "parameters", "wants_tls",
                 "wants_upstream")  # fmt: skip

    def __init__(
        self, gate: StatementGate, rows: RowKernel, *, message_bytes: int, row_bytes: int, tls: bool = False
    ) -> None:
        """`message_bytes` bounds a client message, `row_bytes` a server message that is held whole.

        `tls` says that the I/O can put TLS between itself and the client.
        """
        self._gate = gate
        self._conversation = Conversation(gate)
        self._client: Callable[[Bytes], None] = self._starting
        self._early = bytearray()
        self._packet = b""
        """The start-up packet that is being looked at: it is no longer in `_early`."""
        self._offered: set[int] = set()
        """The kinds of encryption the client has asked for: once each, as with PostgreSQL."""
        self._notices: list[bytes] = []
        """Notices of ours that wait for the end of a message that is being passed on."""
        self._to_client: list[bytes] = []
        self._to_server: list[bytes] = self._conversation.to_server
        self._frontend = self._half(self._conversation, message_bytes, self._to_client)
        self._backend = Backend(self._conversation, rows, row_bytes, self._to_client)
        self.parameters: Mapping[str, str] = {}
        self.wants_upstream = False
        self._tls = tls
        self.wants_tls: WantsTls | None = None
        self._running = False
        self.closing = False

    # what the I/O calls

    def client_data(self, data: Bytes) -> None:
        """Bytes from the client; none of `data` is kept."""
        if self.closing:
            return
        try:
            self._client(data)
        except ProtocolError as error:
            self._fail(error)
        if self._frontend.closed:
            self._end("disconnected")

    def server_data(self, data: Bytes) -> None:
        """Bytes from the server."""
        if self.closing:
            return
        try:
            self._backend.feed(data)
            if self._notices:
                self._tell()
            if self._frontend.parked:
                if self._conversation.discarding or self._conversation.failed:
                    self._gate.moot(skipped=self._conversation.discarding)
            elif self._frontend.waits:
                self._frontend.pump()
            elif not self._running:
                self._run()
        except ProtocolError as error:
            self._fail(error)
        except AuthenticationError as error:
            self.failed(error.refusal)
        if self._frontend.closed:
            self._end("disconnected")

    def connected(self, channel_binding: bytes | None = None, login: Login | None = None) -> None:
        """The upstream is there: the start-up packet goes out.

        `channel_binding` is None in plain; inside TLS the tls-server-end-point data of RFC 5929 (the hash of the
        server's certificate), empty where the certificate's signature defines none. With `login` the server is
        answered with that credential: the client is asked nothing, and its database is still the one it meant.
        """
        parameters, self._client = self.parameters, self._relaying
        if login is not None:
            database = parameters.get("database") or parameters["user"]
            parameters = {**parameters, "user": login.user, "database": database}
            self._conversation.authentication = Authentication(login, channel_binding)
            self._client = self._waiting
        self._to_server.append(frames.startup(parameters, self._conversation.version.minor))
        early, self._early = bytes(self._early), bytearray()
        if early:
            self.client_data(early)

    def salted(self, salted: bytes) -> None:
        """The salted password that `Login.salted` had answered None for."""
        own = self._conversation.authentication
        if not self.closing and own is not None:
            self._to_server.append(own.salted(salted))

    def secured(self) -> None:
        """TLS is in between: what the client says from here on nobody else can have said."""
        self.wants_tls = None
        self._tls = False
        self._offered |= {frames.SSL_REQUEST, frames.GSSENC_REQUEST}
        self._client = self._starting

    def failed(self, refusal: Refusal) -> None:
        """The upstream can't be had, or the house gives up: a native FATAL error and the end."""
        self._fatal(refusal)
        self._end("disconnected")

    def resume(self, ruling: Ruling) -> None:
        """The ruling on the request that `Gate.run` had answered None."""
        if self.closing:
            self._frontend.drop(ruling)
            return
        try:
            self._frontend.resume(ruling)
        except ProtocolError as error:
            self._fail(error)
        if self._frontend.closed:
            self._end("disconnected")

    def notice(self, message: str, hint: str | None = None) -> None:
        """Tell the client something while it waits."""
        self._notices.append(errors.notice_response(message, hint))
        self._tell()

    def cancelled(self) -> None:
        """The request to cancel, which is all that came, has been taken: the connection ends, as with PostgreSQL."""
        self._end("disconnected")

    def client_gone(self) -> None:
        """The client closed its side."""
        self._end("disconnected")

    def server_gone(self) -> None:
        """The server closed its side: what it said last has been passed on."""
        self._end("disconnected")

    def drain_client(self) -> bytes:
        """What is to be sent to the client, taken."""
        return taken(self._to_client)

    def drain_server(self) -> bytes:
        """What is to be sent to the server, taken."""
        return taken(self._to_server)

    def enforce(self) -> None:
        """See `WireSession`. What was bound before runs to its end as it was judged."""

    @property
    def parked(self) -> bool:
        """Whether a request waits for `resume`."""
        return self._frontend.parked

    @property
    def awaits_run(self) -> bool:
        """Whether the server owes the outcome of something that runs."""
        return self._conversation.awaits_run

    @property
    def ready(self) -> bool:
        """Whether the server has taken the client in."""
        return self._conversation.ready

    @property
    def ended_well(self) -> bool:
        """Whether the client said goodbye before it went."""
        return self._frontend.closed

    @property
    def waiting_bytes(self) -> int:
        """How much of what the client sent waits to be read."""
        return self._frontend.waiting_bytes + len(self._early)

    @property
    def idle(self) -> bool:
        """Whether the connection could be closed without breaking anything off. One that is still made could not."""
        return self.ready and self._conversation.idle and not self.parked and self._conversation.status == ord("I")

    # states

    def _starting(self, data: Bytes) -> None:
        # no start-up packet is so long that it begins with this byte
        if self._tls and not self._early and not self._offered and data[:1] == TLS_HANDSHAKE:
            self._client = self._securing
            self.wants_tls = WantsTls.DIRECT
            return
        self._early += data
        while len(self._early) >= 8:
            length = int.from_bytes(self._early[:4], "big")
            if not 8 <= length <= frames.STARTUP_BYTES:
                raise ProtocolError("this is not the PostgreSQL protocol, or the start-up packet is too long")
            if len(self._early) < length:
                return
            self._packet = bytes(self._early[:length])
            code, body = int.from_bytes(self._packet[4:8], "big"), self._packet[8:]
            del self._early[:length]
            if code in (frames.SSL_REQUEST, frames.GSSENC_REQUEST):
                if not self._encrypt(code):
                    return
            elif code == frames.CANCEL_REQUEST:
                if not 8 <= len(body) <= 4 + SECRET_BYTES[NEWEST][-1]:
                    raise ProtocolError("CancelRequest is cut short, or too long")
                self._client = self._cancelling
                if not self._gate.cancel(int.from_bytes(body[:4], "big"), body[4:]):
                    self._end("disconnected")
                return
            else:
                self._greet(code, body)
                return

    def _encrypt(self, code: int) -> bool:
        """A request for encryption. Whether start-up goes on as it was."""
        if len(self._packet) > frames.REQUEST_BYTES or self._early or code in self._offered:
            # PostgreSQL refuses them too, also when it answers N: they may have been injected
            raise ProtocolError("bytes came with a request for encryption, or it was asked for twice")
        self._offered.add(code)
        if code == frames.SSL_REQUEST and self._tls:
            self._to_client.append(b"S")
            self._client = self._securing
            self.wants_tls = WantsTls.NEGOTIATED
            return False
        self._to_client.append(b"N")
        return True

    def _cancelling(self, data: Bytes) -> None:
        """What comes behind a request to cancel is not read, by PostgreSQL neither."""

    def _securing(self, data: Bytes) -> None:
        raise ProtocolError("bytes came before TLS was there")

    def _greet(self, code: int, body: bytes) -> None:
        major, minor = code >> 16, code & 0xFFFF
        if major != 3:
            raise ProtocolError(f"protocol {major}.{minor} is not supported: 3.0 and 3.{NEWEST} are")
        parameters = frames.parse_startup(body)
        unknown = [name for name in parameters if name.startswith(OPTION)]
        for name in unknown:
            del parameters[name]
        self._conversation.version = Version(minor, unknown)
        if not parameters.get("user"):
            raise ProtocolError("the start-up packet names no user")
        self.parameters = parameters
        refusal = self._admit(parameters)
        if refusal is not None:
            self.failed(refusal)
            return
        self._client = self._waiting
        self.wants_upstream = True

    def _admit(self, parameters: Mapping[str, str]) -> Refusal | None:
        return unsupported(parameters) or self._gate.open(parameters)

    def _waiting(self, data: Bytes) -> None:
        if len(self._early) + len(data) > AUTHENTICATION_BYTES:
            raise ProtocolError("too much was sent before the connection was there")
        self._early += data

    def _relaying(self, data: Bytes) -> None:
        """Authentication: nothing but `p` and Terminate may come from the client before the server is ready."""
        self._early += data
        while len(self._early) >= 5 and not self._conversation.authenticated:
            kind, length = self._early[0], int.from_bytes(self._early[1:5], "big")
            if kind not in b"pX" or not 4 <= length <= AUTHENTICATION_BYTES:
                raise ProtocolError(f"message {chr(kind)!r} before authentication was over")
            if len(self._early) <= length:
                return
            if self._conversation.binding_withheld and _sees_no_binding(self._early[5 : length + 1]):
                self.failed(BOUND)
                return
            self._to_server.append(bytes(self._early[: length + 1]))
            del self._early[: length + 1]
            if kind == ord("X"):
                self._end("disconnected")
                return

    def _run(self) -> None:
        """Once the server is ready, what the client sends is statements."""
        if self._conversation.ready:
            self._running = True
            self._conversation.authentication = None  # and with it the password
            self._client = self._frontend.feed
            early, self._early = bytes(self._early), bytearray()
            self._client(early)

    # what they share

    def _fail(self, error: ProtocolError) -> None:
        self._fatal(Refusal(errors.PROTOCOL_VIOLATION, f"lockgate: {error}"))
        self._end("broken")

    def _fatal(self, refusal: Refusal) -> None:
        if self._backend.between_messages:
            self._to_client.append(errors.error_response(refusal, "FATAL"))
        # else it would be taken for the rest of a row: the client sees the connection end

    def _tell(self) -> None:
        if self._backend.between_messages:
            self._to_client += self._notices
            self._notices.clear()

    def _end(self, outcome: str) -> None:
        """Nothing more will be said; runs that have not ended end with `outcome`."""
        if not self.closing:
            self.closing = True
            self._conversation.settle_all(outcome)


def unsupported(parameters: Mapping[str, str]) -> Refusal | None:
    """Why a client that asks for this in its start-up packet can't be served, whoever it is."""
    if any(len(parameters.get(name, "").encode()) > frames.NAME_BYTES for name in ("user", "database")):
        # PostgreSQL would cut it: another one than was judged
        why = f"lockgate: the name of the user or the database is longer than {frames.NAME_BYTES} bytes"
        return Refusal(errors.PROTOCOL_VIOLATION, why)
    if parameters.get("replication", "false").lower() not in ("false", "off", "no", "0"):
        return Refusal(errors.FEATURE_NOT_SUPPORTED, "lockgate: replication connections are refused")
    return None


def _sees_no_binding(payload: bytearray) -> bool:
    """Whether a SASLInitialResponse says that the client could bind to its TLS and the server can't (RFC 5802)."""
    mechanism, _, response = payload.partition(b"\0")
    return mechanism == b"SCRAM-SHA-256" and response[4:5] == b"y"
