"""TLS with a client whose bytes are cut and spoilt: what is read, it said; what is sent is never plain."""

from __future__ import annotations

import ssl
from contextlib import suppress
from functools import cache
from typing import Final

from lockgate.identity.authority import Authority
from lockgate.proxy.tls import ALPN, Tls, TlsError, server_context
from tests.fuzz.folder import folder
from tests.fuzz.target import Target


@cache
def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = Authority.load_or_create(folder() / "ca", "host-1")
    client = ssl.create_default_context(cadata=authority.pem.decode())
    client.set_alpn_protocols(["postgresql"])
    return server_context(authority.leaf("127.0.0.1", []).pem), client


_SAID: Final = b"what the client says" * 40


def check_tls(data: bytes) -> None:
    """A real handshake, with what the client sends cut and spoilt: nothing is read that it did not say.

    Three bytes a change: how far on it is made, how (changed, left out, put in), and with what.
    """
    server_side, client_side = _contexts()
    direct = bool(data[:1] and data[0] & 1)
    piece = (data + bytes(2))[1] * 3 + 1
    changes = [(data[at], data[at + 1], data[at + 2]) for at in range(2, len(data) - 2, 3)]
    spoilt = bool(changes)
    server = Tls(server_side, alpn=ALPN if direct else None)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    heard, said = b"", False
    try:
        for _ in range(4):
            with suppress(ssl.SSLWantReadError):
                client.do_handshake()
                if not said:
                    client.write(_SAID)
                    said = True
            sent = _spoilt(outgoing.read(), changes)
            for at in range(0, len(sent), piece):
                heard += bytes(server.receive(memoryview(sent[at : at + piece])))
            server.send(b"an answer")
            answer = server.take()
            assert b"an answer" not in answer, "plain text left"
            incoming.write(answer)
    except TlsError:
        server.send(b"nothing")
        assert b"nothing" not in server.take(), "plain text left"
    except ssl.SSLError:
        pass  # the client's, about an alert
    server.close()
    assert _SAID.startswith(heard), "something was read that the client did not say"
    assert spoilt or heard == _SAID, "a good handshake failed"


def _spoilt(sent: bytes, changes: list[tuple[int, int, int]]) -> bytes:
    found = bytearray(sent)
    while found and changes:
        far, how, byte = changes.pop(0)
        at = far * 5 % len(found)
        if how % 3 == 0:
            found[at] ^= byte
        elif how % 3 == 1:
            del found[at : at + 1 + byte]
        else:
            found[at:at] = bytes((byte,)) * (1 + how // 3)
        if how & 0x80:
            break
    return bytes(found)


_TLS_SEEDS: Final = [
    bytes((0, 255)),
    bytes((1, 0)),
    bytes((0, 40, 1, 0, 1)),
    bytes((1, 9, 200, 1, 30)),
    b"\0\1\x07\2\x16",
]

CHECKS: Final = [Target("tls", check_tls, _TLS_SEEDS, 64)]
