"""The agent's own credential before a hostile server: who is believed, and what the server and the client ever see."""

from __future__ import annotations

import base64
import hmac
from random import Random
from typing import Final

from lockgate.wire.postgresql.authentication import ChannelBinding
from lockgate.wire.postgresql.frames import key_data, startup
from lockgate.wire.postgresql.scram import salted_password
from lockgate.wire.postgresql.session import Session
from tests.fuzz.corpus import BEGUN, SASL
from tests.fuzz.script import Mutate, Step, decode, encode, mutated
from tests.fuzz.target import Target
from tests.fuzz.wire import ROOMY, Judge, Kernel
from tests.support.playbook import authentication, error, parameter, password, query, ready

SERVER, CHALLENGE, PROOF, SALTED, CLIENT = range(5)
"""Steps: bytes of the server, its honest challenge and proof, the slow salted password, bytes of a client."""

PASSWORD: Final = "hunter2hunter2"
ROLE: Final = "agentsrole"
BINDING: Final = b"hash of a certificate"
_SALT: Final = b"saltsaltsaltsalt"
_ITERATIONS: Final = 4096
_SALTED: Final = salted_password(PASSWORD, _SALT, _ITERATIONS)
_BINDINGS: Final[tuple[ChannelBinding, ...]] = ("prefer", "require", "disable")


class KnownLogin:
    """A credential whose salted password is there at once or later."""

    user = ROLE

    def __init__(self, channel_binding: ChannelBinding, *, verified: bool, slow: bool) -> None:
        self.channel_binding = channel_binding
        self.verified = verified
        self.slow = slow
        self.asked = False

    def password(self) -> str:
        return PASSWORD

    def salted(self, salt: bytes, iterations: int) -> bytes | None:
        self.asked = True
        if salt != _SALT or iterations != _ITERATIONS:
            return bytes(32)  # of another salt: worth nothing to who made it up, and never computed here
        return None if self.slow else _SALTED

    def refused(self, code: str, message: str) -> None:
        pass


class Server:
    """Knows the password, and says so when asked. What it is told it has from what the agent sent."""

    def __init__(self) -> None:
        self.heard = b""
        self.challenge = b""
        self.first = b""
        self.proved = False

    def challenged(self) -> bytes:
        """AuthenticationSASLContinue for the last SASLInitialResponse."""
        _, found, nonce = self.heard.rpartition(b"n=,r=")
        self.first = b"n=,r=" + nonce[:24] if found else b"n=,r=x"
        salt = base64.b64encode(_SALT)
        self.challenge = self.first[3:] + b"server,s=" + salt + b",i=" + str(_ITERATIONS).encode()
        return authentication(11, self.challenge)

    def proof(self) -> bytes:
        """AuthenticationSASLFinal for the last SASLResponse."""
        unproven = self.heard[self.heard.rfind(b"c=") :].rpartition(b",p=")[0]
        key = hmac.digest(_SALTED, b"Server Key", "sha256")
        signed = hmac.digest(key, b",".join((self.first, self.challenge, unproven)), "sha256")
        self.proved = True
        return authentication(12, b"v=" + base64.b64encode(signed))


def check_login(data: bytes) -> None:
    steps = decode(data)
    mode = steps[0][0] if steps else 0
    login = KnownLogin(_BINDINGS[mode % 3], verified=bool(mode & 4), slow=bool(mode & 8))
    binding = (None, b"", BINDING, BINDING)[mode >> 4 & 3]
    gate, server = Judge(), Server()
    session = Session(gate, Kernel, message_bytes=ROOMY, row_bytes=ROOMY)
    session.client_data(startup({"user": "ann"}))
    session.connected(binding, login)
    shown = b""
    for number, said in steps[1:]:
        match number % 5:
            case _ if session.closing:
                break
            case 0:
                session.server_data(said)
            case 1:
                session.server_data(server.challenged())
            case 2:
                session.server_data(server.proof())
            case 3:
                # the house does this once, when it was asked to
                if login.slow and login.asked and not session.ready:
                    login.asked = False
                    session.salted(_SALTED)
            case _:
                session.client_data(said)
        server.heard += session.drain_server()
        shown += session.drain_client()
    session.client_gone()
    assert PASSWORD.encode() not in shown, "the client was shown the password"
    assert ROLE.encode() not in shown.replace(_told(steps), b""), "the client was shown the role"
    assert _SALTED not in shown + server.heard, "the salted password left"
    if PASSWORD.encode() in server.heard:
        assert login.verified, "the password went in clear to a server that nobody verified"
        assert binding is not None, "the password went in clear outside TLS"
        assert login.channel_binding != "require", "the password went unbound"
    if session.ready:
        if b"SCRAM-SHA-256" in server.heard:
            assert server.proved, "a server was believed that did not prove itself"
        if login.channel_binding == "require":
            assert b"c=" + base64.b64encode(b"p=tls-server-end-point,," + BINDING) in server.heard, "it is not bound"


def _told(steps: list[Step]) -> bytes:
    """The role, where the server itself gave it away in what it says once it has let us in; else nothing like it."""
    return ROLE.encode() if any(ROLE.encode() in said for _, said in steps) else b"\0\0"


_MD5: Final = authentication(5, b"salt")
_LET_IN: Final = BEGUN[9:]
_PLUS: Final = [(SERVER, SASL), (CHALLENGE, b""), (PROOF, b""), (SERVER, BEGUN)]
_PLAIN: Final = [(SERVER, authentication(10, b"SCRAM-SHA-256\0\0")), *_PLUS[1:]]

SEEDS: Final = [
    encode([(0x20, b""), *_PLUS]),
    encode([(0x21, b""), *_PLUS]),
    encode([(0x22 | 8, b""), _PLUS[0], (CHALLENGE, b""), (SALTED, b""), (PROOF, b""), (SERVER, BEGUN)]),
    encode([(0, b""), *_PLAIN, (CLIENT, query("select 1"))]),
    encode([(1, b""), *_PLAIN]),
    encode([(0, b""), (SERVER, _MD5), (SERVER, BEGUN)]),
    encode([(0x24, b""), (SERVER, authentication(3)), (SERVER, BEGUN)]),
    encode([(0, b""), (SERVER, authentication(3)), (SERVER, BEGUN)]),
    encode([(0, b""), (SERVER, authentication(0)), (SERVER, _LET_IN)]),
    encode(
        [(0, b""), (SERVER, SASL), (SERVER, authentication(11, b"r=x,s=eA==,i=4096")), (SERVER, authentication(12))]
    ),
    encode([(0, b""), (SERVER, error("28P01", "password authentication failed", severity="FATAL"))]),
    encode([(0, b""), (SERVER, parameter("a", "b") + key_data(1, b"1234") + ready())]),
]
POOL: Final = [*_PLUS, *_PLAIN, (SALTED, b""), (SERVER, _MD5), (SERVER, authentication(3)), (SERVER, authentication(0)),
               (SERVER, ready()), (CLIENT, password(b"x\0")), (CLIENT, query("select 1"))]  # fmt: skip


def _mutated(data: bytes, limit: int, random: Random, mutate: Mutate) -> bytes:
    return mutated(data, limit, random, mutate, POOL)


CHECKS: Final = [Target("login", check_login, SEEDS, mutate=_mutated)]
