"""The server's end of TLS, fed with a client's bytes in pieces of every size, and with bytes that are none of TLS's."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.identity.authority import Authority
from lockgate.proxy.tls import ALPN, HANDSHAKE_BYTES, READ_BYTES, Tls, TlsError, load_chain, server_context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.load_or_create(tmp_path_factory.mktemp("state") / "ca", "host-1")


class Peer:
    """A client's end in memory. `fed` bytes at a time reach the server."""

    def __init__(
        self, authority: Authority, *, direct: bool = False, alpn: list[str] | None = None, fed: int = READ_BYTES
    ) -> None:
        self.fed = fed
        self.server = Tls(server_context(authority.leaf("127.0.0.1", []).pem), alpn=ALPN if direct else None)
        self.context = ssl.create_default_context(cadata=authority.pem.decode())
        if alpn is not None:
            self.context.set_alpn_protocols(alpn)
        self.heard = b""

    def connect(self) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = self.context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")
        for _ in range(4):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.pass_on()
            else:
                self.pass_on()
                return
        raise AssertionError("the handshake does not end")

    def pass_on(self) -> None:
        """What the client has written goes to the server, and what it answers comes back."""
        data = memoryview(self._outgoing.read())
        for start in range(0, len(data), self.fed):
            self.heard += bytes(self.server.receive(data[start : start + self.fed]))
        self._incoming.write(self.server.take())

    def say(self, data: bytes) -> None:
        self.tls.write(data)
        self.pass_on()

    def read(self) -> bytes:
        self._incoming.write(self.server.take())
        found = b""
        try:
            while piece := self.tls.read(65536):
                found += piece
        except ssl.SSLWantReadError:
            pass
        return found


@pytest.mark.parametrize("fed", [1, 7, 5000, READ_BYTES])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_goes_in_comes_out_in_pieces_of_any_size(authority: Authority, fed: int, version: ssl.TLSVersion) -> None:
    peer = Peer(authority, fed=fed)
    peer.context.minimum_version = peer.context.maximum_version = version
    assert not peer.server.established
    peer.connect()
    assert peer.server.established
    data = bytes(range(256)) * 400
    peer.say(data)
    assert peer.heard == data
    peer.server.send(data)
    assert peer.read() == data


def test_the_largest_read_is_taken_whole(authority: Authority) -> None:
    peer = Peer(authority)
    peer.connect()
    sent = b"x" * (3 * READ_BYTES)
    peer.tls.write(sent)
    data = memoryview(peer._outgoing.read())
    cut = 16_000  # so that a part of a record waits for the rest
    got = len(peer.server.receive(data[:cut]))
    for start in range(cut, len(data), READ_BYTES):
        got += len(peer.server.receive(data[start : start + READ_BYTES]))
    assert got == len(sent)


def test_nothing_older_than_tls_1_2_is_spoken(authority: Authority) -> None:
    peer = Peer(authority)
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        peer.context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        peer.context.maximum_version = ssl.TLSVersion.TLSv1_1
    peer.context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(TlsError, match="unsupported protocol"):
        peer.connect()
    assert peer.server.take()[:1] == b"\x15"  # an alert


def test_a_client_that_begins_with_tls_has_to_say_for_what(authority: Authority) -> None:
    Peer(authority, direct=True, alpn=["postgresql"]).connect()
    for alpn in (None, ["http/1.1"]):
        with pytest.raises(TlsError, match="not for postgresql"):
            Peer(authority, direct=True, alpn=alpn).connect()
        Peer(authority, alpn=alpn).connect()


def test_goodbyes_are_told_both_ways(authority: Authority) -> None:
    peer = Peer(authority)
    peer.connect()
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.unwrap()
    assert not peer.server.closed
    peer.pass_on()
    assert peer.server.closed
    other = Peer(authority)
    other.connect()
    other.server.close()
    other._incoming.write(other.server.take())
    assert other.tls.read(10) == b""


def test_nothing_is_told_before_there_is_anybody(authority: Authority) -> None:
    server = Peer(authority).server
    server.send(b"secret")
    server.close()
    assert server.take() == b""


def test_a_client_that_does_not_trust_it_says_so(authority: Authority, tmp_path: Path) -> None:
    peer = Peer(authority)
    peer.context = ssl.create_default_context(cadata=Authority.load_or_create(tmp_path / "x", "x").pem.decode())
    with pytest.raises(ssl.SSLCertVerificationError):
        peer.connect()
    with pytest.raises(TlsError, match="doesn't trust this host's authority"):
        peer.pass_on()


def test_no_key_is_negotiated_anew(authority: Authority) -> None:
    """Renegotiation costs the server most (CVE-2011-1473)."""
    context = server_context(authority.leaf("127.0.0.1", []).pem)
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.num_tickets == 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "speaks HTTP"),
        (b"\x16\x03\x01\x00\x05hello", "."),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", "."),
        (b"\x16\x03\x01\xff\xff" + bytes(70_000), "."),
        (b"\x15\x03\x01\0\x02\x02\x28", "."),
    ],
)
def test_what_is_not_tls_is_one_line(authority: Authority, data: bytes, why: str) -> None:
    with pytest.raises(TlsError, match=why) as refused:
        Peer(authority).server.receive(memoryview(data))
    assert "\n" not in str(refused.value)


def test_a_handshake_without_an_end_has_a_bound(authority: Authority) -> None:
    """Records of a byte each, of a ClientHello that is longer than it will ever be."""
    server = Peer(authority).server
    hello = b"\x01\0\x40\0" + bytes(HANDSHAKE_BYTES)
    data = b"".join(b"\x16\x03\x01\0\x01" + hello[n : n + 1] for n in range(HANDSHAKE_BYTES // 5))
    with pytest.raises(TlsError, match="more than 65536 bytes of handshake"):
        server.receive(memoryview(data))


@given(st.binary(max_size=600), st.booleans())
def test_hostile_bytes_are_an_error_or_nothing(authority: Authority, data: bytes, as_record: bool) -> None:
    if as_record:
        data = b"\x16\x03\x01" + len(data).to_bytes(2, "big") + data
    with suppress(TlsError):
        assert bytes(Peer(authority).server.receive(memoryview(data))) == b""


@given(st.integers(0, 3000), st.integers(1, 255))
def test_a_byte_that_somebody_changed_ends_it(authority: Authority, at: int, change: int) -> None:
    peer = Peer(authority)
    peer.connect()
    peer.tls.write(b"x" * 3000)
    data = bytearray(peer._outgoing.read())
    data[at] ^= change
    try:
        got = bytes(peer.server.receive(memoryview(data)))
    except TlsError:
        return
    assert got == b""  # the length was made larger: it waits for the rest


def test_a_chain_goes_through_memory_and_a_locked_key_is_not_asked_for(authority: Authority) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = authority.leaf("127.0.0.1", []).pem
    certificate = pem[: pem.index(b"-----BEGIN PRIVATE")]
    key = ec.generate_private_key(ec.SECP256R1())
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"s3cret"))
    for wrong in (certificate, certificate + locked, b"", pem[::-1]):
        with pytest.raises(ssl.SSLError):
            load_chain(context, wrong)
    load_chain(context, pem)


def test_after_an_error_nothing_is_sent_and_nothing_raises(authority: Authority) -> None:
    """Found by fuzzing: what the agent still had to say raised an error of OpenSSL's."""
    peer = Peer(authority)
    peer.connect()
    with pytest.raises(TlsError):
        peer.server.receive(memoryview(b"\x17\x03\x03\x00\x20" + bytes(32)))
    peer.server.take()
    peer.server.send(b"nothing")
    peer.server.close()
    assert peer.server.take() == b""
