"""The benchmark's own PostgreSQL client: it costs next to nothing, so that the proxy is what is measured.

It speaks just enough of protocol 3.0 over a plain socket to start up (trust) and to send `Q`. A result is counted in
bytes as it is received into one buffer, without being parsed: psql and every driver spend more on a row than a proxy
does, and would hide it. Run by path with `python -I`: it imports nothing of this project, starts as root (who can
read the interpreter wherever it is) and then becomes the user it is told.

    client.py UID PORT bulk SQL         -> {"seconds", "bytes", "tail", "head"} of one result, its last byte included
    client.py UID PORT latency SECONDS  -> {"microseconds": [...]}: one SELECT 1 after another
    client.py UID PORT idle COUNT       -> {"open": COUNT}, then keeps the connections until its standard input ends
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from typing import Any

BUFFER = 1024 * 1024
SECONDS = 30.0
"""How long any one read or write may wait."""
HEAD = 4096
"""How much of the beginning of a result is reported, to see whether it is masked."""
TAIL = 64
READY = (b"Z\0\0\0\5I", b"Z\0\0\0\5T", b"Z\0\0\0\5E")


class Client:
    """One connection as user `app` to database `postgres`. Raises OSError and, for an ErrorResponse, RuntimeError."""

    def __init__(self, port: int) -> None:
        # not create_connection: it imports a codec that the user it runs as may not be able to read
        self._socket = socket.socket()
        self._socket.settimeout(SECONDS)
        self._socket.connect(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(BUFFER)
        words = b"user\0app\0database\0postgres\0application_name\0bench\0\0"
        self._socket.sendall(struct.pack("!ii", 8 + len(words), 196608) + words)
        self._answer()

    def query(self, sql: str) -> tuple[int, bytes, bytes]:
        """(bytes of the whole answer, its first HEAD bytes, its last TAIL bytes)."""
        text = sql.encode() + b"\0"
        self._socket.sendall(b"Q" + struct.pack("!i", 4 + len(text)) + text)
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


def bulk(port: int, sql: str) -> dict[str, Any]:
    client = Client(port)
    began = time.perf_counter()
    total, head, tail = client.query(sql)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "bytes": total, "head": head.decode("latin-1"), "tail": tail.decode("latin-1")}


def latency(port: int, seconds: float) -> dict[str, Any]:
    client = Client(port)
    clock, query = time.perf_counter, client.query
    until = clock() + seconds
    taken: list[float] = []
    began = clock()
    while began < until:
        query("SELECT 1")
        ended = clock()
        taken.append((ended - began) * 1e6)
        began = ended
    return {"microseconds": taken}


def idle(port: int, count: int) -> None:
    """Every connection runs one statement first: an unused one may not have reached the server yet."""
    clients = []
    for _ in range(count):
        client = Client(port)
        client.query("SELECT 1")
        clients.append(client)
    print(json.dumps({"open": len(clients)}), flush=True)
    sys.stdin.read()


def main(uid: int, port: int, what: str, argument: str) -> None:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    if what == "idle":
        idle(port, int(argument))
    else:
        print(json.dumps(bulk(port, argument) if what == "bulk" else latency(port, float(argument))))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
