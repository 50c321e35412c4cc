"""The benchmark's own PostgreSQL client: it costs next to nothing, so that the proxy is what is measured.

It speaks just enough of protocol 3.0 over a socket to start up (trust) and to send `Q`. A result is counted in
bytes as it is received into one buffer, without being parsed: psql and every driver spend more on a row than a proxy
does, and would hide it. Run by path with `python -I`: it imports nothing of this project, starts as root (who can
read the interpreter wherever it is) and then becomes the user it is told. TLS is `disable`, `require` (asked for with
SSLRequest) or `direct` (begun with); no certificate is checked.

    client.py UID HOST PORT TLS bulk SQL        -> {"seconds", "bytes", "tail", "head"} of one whole result
    client.py UID HOST PORT TLS binary SQL      -> the same of a result in binary, by the extended protocol
    client.py UID HOST PORT TLS latency SECONDS -> {"microseconds": [...]}: one SELECT 1 after another
    client.py UID HOST PORT TLS connect SECONDS -> {"microseconds": [...]}: one connection after another
    client.py UID HOST PORT TLS idle COUNT      -> {"open": COUNT}, then keeps the connections until its input ends
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

BUFFER = 1024 * 1024
SECONDS = 30.0
"""How long any one read or write may wait."""
HEAD = 4096
"""How much of the beginning of a result is reported, to see whether it is masked."""
TAIL = 64
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
READY = (b"Z\0\0\0\5I", b"Z\0\0\0\5T", b"Z\0\0\0\5E")


class Client:
    """One connection as user `app` to database `postgres`. Raises OSError and, for an ErrorResponse, RuntimeError."""

    def __init__(self, host: str, port: int, tls: str) -> None:
        # not create_connection: it imports a codec that the user it runs as may not be able to read
        self._socket = socket.socket()
        self._socket.settimeout(SECONDS)
        self._socket.connect((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls != "disable":
            self._secure(tls)
        self._buffer = bytearray(BUFFER)
        words = b"user\0app\0database\0postgres\0application_name\0bench\0\0"
        self._socket.sendall(struct.pack("!ii", 8 + len(words), 196608) + words)
        self._answer()

    def _secure(self, tls: str) -> None:
        if tls == "require":
            self._socket.sendall(SSL_REQUEST)
            if self._socket.recv(1) != b"S":
                raise RuntimeError("TLS is not offered")
        self._socket = _context().wrap_socket(self._socket)

    def close(self) -> None:
        self._socket.sendall(_message(b"X", b""))
        self._socket.close()

    def query(self, sql: str) -> tuple[int, bytes, bytes]:
        """(bytes of the whole answer, its first HEAD bytes, its last TAIL bytes)."""
        self._socket.sendall(_message(b"Q", sql.encode() + b"\0"))
        return self._answer()

    def binary(self, sql: str) -> tuple[int, bytes, bytes]:
        """As `query`, with every column in binary."""
        parse = _message(b"P", b"\0" + sql.encode() + b"\0\0\0")
        bind = _message(b"B", b"\0\0" + struct.pack("!HHHH", 0, 0, 1, 1))
        execute = _message(b"E", b"\0" + struct.pack("!i", 0))
        self._socket.sendall(parse + bind + _message(b"D", b"P\0") + execute + _message(b"S", b""))
        return self._answer()

    def _answer(self) -> tuple[int, bytes, bytes]:
        receive, buffer = self._socket.recv_into, self._buffer
        total, head, tail = 0, b"", b""
        while not tail.endswith(READY):
            count = receive(buffer)
            if not count:
                raise RuntimeError(f"the connection was closed after {total} bytes: {(head + tail)[-200:]!r}")
            total += count
            if len(head) < HEAD:
                head += bytes(buffer[: min(count, HEAD - len(head))])
            tail = (tail + bytes(buffer[max(0, count - TAIL) : count]))[-TAIL:]
        if head.startswith(b"E"):
            raise RuntimeError(head[:300].decode(errors="replace").replace("\0", " "))
        return total, head, tail


def _message(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("!i", 4 + len(payload)) + payload


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["postgresql"])
    return context


def bulk(make: Callable[[], Client], sql: str, *, binary: bool) -> dict[str, Any]:
    client = make()
    ask = client.binary if binary else client.query
    began = time.perf_counter()
    total, head, tail = ask(sql)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "bytes": total, "head": head.decode("latin-1"), "tail": tail.decode("latin-1")}


def repeated(work: Callable[[], object], seconds: float) -> dict[str, Any]:
    clock = time.perf_counter
    until = clock() + seconds
    taken: list[float] = []
    began = clock()
    while began < until:
        work()
        ended = clock()
        taken.append((ended - began) * 1e6)
        began = ended
    return {"microseconds": taken}


def idle(make: Callable[[], Client], count: int) -> None:
    """Every connection runs one statement first: an unused one may not have reached the server yet."""
    clients = []
    for _ in range(count):
        client = make()
        client.query("SELECT 1")
        clients.append(client)
    print(json.dumps({"open": len(clients)}), flush=True)
    sys.stdin.read()


def main(uid: int, host: str, port: int, tls: str, what: str, argument: str) -> None:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)

    def make() -> Client:
        return Client(host, port, tls)

    if what == "idle":
        idle(make, int(argument))
        return
    if what == "latency":
        client = make()
        found = repeated(lambda: client.query("SELECT 1"), float(argument))
    elif what == "connect":
        found = repeated(lambda: make().close(), float(argument))
    else:
        found = bulk(make, argument, binary=what == "binary")
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:7])
