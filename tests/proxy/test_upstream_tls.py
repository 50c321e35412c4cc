"""What a datastore has to prove before anything is said to it, and what the agent proves to it."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from lockgate.config import CatalogReader as CatalogSettings
from lockgate.proxy.postgresql.catalog_reader import CatalogError, CatalogReader
from lockgate.proxy.postgresql.upstream import send_cancel
from lockgate.proxy.upstream_tls import Mode, UpstreamTls, UpstreamTlsError, channel_binding
from lockgate.values.identity import Endpoint
from lockgate.wire.postgresql.frames import ssl_request, startup
from tests.proxy.house import House, errors_of, play
from tests.support.certificates import DAY, Signer, install
from tests.support.postgres import Postgres
from tests.support.tap import Tap

HBA = """
local all all trust
hostssl all certified all cert
host all all all trust
"""
NAME = "db.internal"
READER = CatalogSettings(user="lockgate")


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("signer"))


@pytest.fixture(scope="module")
def server(signer: Signer) -> Iterator[Postgres]:
    with Postgres(hba=HBA) as running:
        data = running.folder / "data"
        show(running, *signer.certify("server", NAME, "127.0.0.1"), reload=False)
        (data / "root.crt").write_bytes(signer.file.read_bytes())
        running.psql(
            "ALTER SYSTEM SET ssl_ca_file = 'root.crt'; ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf();"
            "CREATE ROLE app LOGIN; CREATE ROLE certified LOGIN; CREATE ROLE lockgate LOGIN"
        )
        yield running


def show(server: Postgres, certificate: Path, key: Path, *, reload: bool = True) -> None:
    """Have the server show this certificate from now on."""
    install(server.folder / "data", certificate, key)
    if reload:
        server.psql("SELECT pg_reload_conf(); SELECT pg_sleep(0.3)")


class Given:
    """The folder, the server and whom it is signed by."""

    def __init__(self, folder: Path, server: Postgres, signer: Signer) -> None:
        self.folder, self.server, self.signer = folder, server, signer
        self.endpoint = Endpoint("127.0.0.1", server.port)
        self.number = 0

    def ask(self, mode: Mode, user: str = "app", names: tuple[str, ...] = (), **tls: Any) -> str:
        """`ok`, or the error a client gets."""

        async def use() -> str:
            return await self.connect(self.endpoint, mode, user, names, **tls)

        return play(use())

    async def connect(
        self, endpoint: Endpoint, mode: Mode, user: str = "app", names: tuple[str, ...] = (), **tls: Any
    ) -> str:
        self.number += 1
        folder = self.folder / str(self.number)
        folder.mkdir()
        async with House(folder, upstream=endpoint, upstream_tls=mode, **tls) as house:
            house.listener._store.tls.names = lambda _: names
            client = await house.client()
            client.send(startup({"user": user, "database": "postgres"}))
            kind = ""
            while kind not in ("Z", "E"):
                kind, payload = await client.message()
            return "ok" if kind == "Z" else errors_of([(kind, payload)])[0]


@pytest.fixture
def given(tmp_path: Path, server: Postgres, signer: Signer) -> Given:
    return Given(tmp_path, server, signer)


@pytest.fixture
def shown(server: Postgres, signer: Signer) -> Iterator[None]:
    """Whatever the test has the server show, behind it is the good certificate again."""
    yield
    show(server, *signer.certify("server", NAME, "127.0.0.1"))


def test_verified_in_full_by_the_configured_name_and_by_the_address(given: Given) -> None:
    ca = str(given.signer.file)
    assert given.ask("verify-full", upstream_ca=ca) == "ok"
    assert given.ask("verify-full", names=(NAME,), upstream_ca=ca) == "ok"


@pytest.mark.parametrize("names", [("other.internal",), ("internal",), ("sub.db.internal",)])
def test_another_name_is_refused(given: Given, names: tuple[str, ...]) -> None:
    told = given.ask("verify-full", names=names, upstream_ca=str(given.signer.file))
    assert told.startswith("08001 lockgate: connection to 127.0.0.1:")
    assert f"its certificate is not taken: Hostname mismatch, certificate is not valid for '{names[0]}'" in told


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("stranger", "unable to get local issuer certificate"),
        ("expired", "certificate has expired"),
        ("elsewhere", "IP address mismatch"),
    ],
)
@pytest.mark.usefixtures("shown")
def test_a_certificate_that_proves_nothing_is_refused(given: Given, tmp_path: Path, kind: str, why: str) -> None:
    signer, sans, life = given.signer, ("127.0.0.1",), DAY
    if kind == "stranger":
        signer = Signer(tmp_path, "stranger")
    elif kind == "expired":
        life = -DAY
    else:
        sans = ("127.0.0.2",)
    show(given.server, *signer.certify("wrong", *sans, life=life))
    ca = str(given.signer.file)
    assert f"its certificate is not taken: {why}" in given.ask("verify-full", upstream_ca=ca)
    told = given.ask("require", upstream_ca=ca)
    assert ("ok" if kind == "elsewhere" else why) in told
    assert given.ask("require") == "ok"
    assert given.ask("prefer") == "ok"


def test_without_a_file_the_system_decides(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "self-signed certificate in certificate chain" in given.ask("verify-full")
    monkeypatch.setenv("SSL_CERT_FILE", str(given.signer.file))
    assert given.ask("verify-full") == "ok"


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_no_tls_is_no_connection_and_not_a_word_in_plain(given: Given, mode: Mode) -> None:
    async def use() -> None:
        async with Tap(given.endpoint, answer=b"N") as tap:
            told = await given.connect(tap.endpoint, mode)
            assert told.endswith(f"failed: the server offers no TLS, and upstream_tls is {mode}")
            assert tap.heard == [ssl_request()]
            with pytest.raises(ConnectionError):
                await send_cancel(tap.endpoint, UpstreamTls(mode), 1, b"abcd", 5)
            assert tap.heard == [ssl_request()] * 2
            reader = CatalogReader(READER, tls=UpstreamTls(mode))
            with pytest.raises(CatalogError, match="rejected SSL upgrade"):
                await reader.read(tap.endpoint, "postgres")
            assert tap.heard == [ssl_request()] * 3

    play(use())


def test_what_goes_over_the_wire_is_tls(given: Given) -> None:
    async def use() -> None:
        async with Tap(given.endpoint) as tap:
            tls = UpstreamTls("require")
            assert await given.connect(tap.endpoint, "require") == "ok"
            await send_cancel(tap.endpoint, tls, 1, b"abcd", 5)
            await CatalogReader(READER, tls=tls).read(tap.endpoint, "postgres")
            assert len(tap.heard) == 3
            for heard in tap.heard:
                assert heard[:9] == ssl_request() + b"\x16"
                rest = heard[8:]
                while rest:  # nothing but records
                    assert 0x14 <= rest[0] <= 0x17
                    rest = rest[5 + int.from_bytes(rest[3:5], "big") :]
                assert b"postgres\0" not in heard

    play(use())


def test_the_catalog_is_read_from_no_one_else_either(given: Given) -> None:
    ca = str(given.signer.file)

    async def read(*names: str) -> None:
        tls = UpstreamTls("verify-full", ca=ca, names=lambda _: names)
        await CatalogReader(READER, tls=tls).read(given.endpoint, "postgres")

    play(read())
    play(read(NAME))
    with pytest.raises(CatalogError, match=r"its certificate is not taken: Hostname mismatch.*'other\.internal'"):
        play(read("other.internal"))
    with pytest.raises(CatalogError, match=r"absent\.crt can't be read"):
        play(CatalogReader(READER, tls=UpstreamTls("require", ca="absent.crt")).read(given.endpoint, "x"))


def test_the_agent_shows_a_certificate_where_it_has_one(given: Given, tmp_path: Path) -> None:
    certificate, key = given.signer.certify("certified")
    mine: dict[str, Any] = {"upstream_certificate": str(certificate), "upstream_key": str(key)}
    assert given.ask("require", "certified", **mine) == "ok"
    assert "28000 connection requires a valid client certificate" in given.ask("require", "certified")
    strange, strange_key = Signer(tmp_path, "stranger").certify("certified")
    told = given.ask("require", "certified", upstream_certificate=str(strange), upstream_key=str(strange_key))
    assert "it doesn't take the agent's certificate" in told


def test_a_key_that_others_can_read_is_not_used(given: Given) -> None:
    certificate, key = given.signer.certify("open")
    key.chmod(0o644)
    mine: dict[str, Any] = {"upstream_certificate": str(certificate), "upstream_key": str(key)}
    assert "open.key is open to everyone" in given.ask("require", **mine)
    with pytest.raises(UpstreamTlsError, match="open to everyone"):
        UpstreamTls("require", certificate=str(certificate), key=str(key)).check()


def test_files_that_are_none_are_named(given: Given, tmp_path: Path) -> None:
    certificate, key = given.signer.certify("mine")
    _, other = given.signer.certify("another")
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    for tls, why in (
        (UpstreamTls("verify-full", ca=str(empty)), "empty has no certificate in PEM"),
        (UpstreamTls("verify-full", ca=str(tmp_path / "absent")), "absent can't be read: No such file"),
        (
            UpstreamTls("require", certificate=str(certificate), key=str(other)),
            "are not a certificate and its private key",
        ),
        (UpstreamTls("require", certificate=str(empty), key=str(key)), "are not a certificate and its private key"),
        (UpstreamTls("require", certificate=str(tmp_path / "absent"), key=str(key)), "absent can't be read"),
    ):
        with pytest.raises(UpstreamTlsError, match=why):
            tls.check()
    big = tmp_path / "big"
    big.write_bytes(b"#" * 1_100_000)
    with pytest.raises(UpstreamTlsError, match="more than"):
        UpstreamTls("verify-full", ca=str(big)).check()
    UpstreamTls("verify-full").check()


def test_a_renewed_file_is_read_again_without_a_restart(given: Given, tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_bytes(Signer(tmp_path, "stranger").file.read_bytes())
    tls = UpstreamTls("verify-full", ca=str(file))
    reader = CatalogReader(READER, tls=tls)

    async def use() -> None:
        with pytest.raises(CatalogError, match="not taken"):
            await reader.read(given.endpoint, "postgres")
        before = tls.context(given.endpoint)
        assert tls.context(given.endpoint) is before
        file.write_bytes(given.signer.file.read_bytes())
        await reader.read(given.endpoint, "postgres")
        os.unlink(file)
        with pytest.raises(UpstreamTlsError, match="can't be read"):
            tls.context(given.endpoint)

    play(use())


def test_a_name_is_asked_for_and_an_address_is_not(given: Given) -> None:
    """SNI (RFC 6066): what stands in front of several servers goes by it."""
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*given.signer.certify("sni", NAME, "127.0.0.1"))
    context.set_alpn_protocols(["postgresql"])
    context.sni_callback = lambda tls, name, _: asked.append(name)
    spoken: list[str | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await writer.start_tls(context)
        spoken.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        writer.close()

    async def use() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as other:
            endpoint = Endpoint("127.0.0.1", other.sockets[0].getsockname()[1])
            for mode, names in (("require", (NAME, "second")), ("prefer", ()), ("verify-full", (NAME,))):
                ca = str(given.signer.file) if mode == "verify-full" else None
                tls = UpstreamTls(mode, ca=ca, names=lambda _, names=names: names)  # type: ignore[arg-type,misc]
                await send_cancel(endpoint, tls, 1, b"abcd", 5)

    play(use())
    assert asked == [NAME, None, NAME]
    assert spoken == ["postgresql"] * 3


@pytest.mark.parametrize(("algorithm", "digest"), [(SHA256(), "sha256"), (SHA384(), "sha384")])
def test_the_binding_is_the_hash_that_the_signature_uses(algorithm: HashAlgorithm, digest: str) -> None:
    der = signed(ec.generate_private_key(ec.SECP256R1()), algorithm)
    assert channel_binding(der) == hashlib.new(digest, der).digest()


def test_where_the_signature_has_no_hash_there_is_no_binding() -> None:
    assert channel_binding(signed(ed25519.Ed25519PrivateKey.generate(), None)) == b""


def test_of_a_certificate_that_can_not_be_read_there_is_no_binding() -> None:
    """OpenSSL takes it, where nothing is verified: the connection is made, and must not hang."""
    der = signed(ec.generate_private_key(ec.SECP256R1()), SHA256())
    ecdsa_with_sha256 = bytes.fromhex("06082a8648ce3d040302")
    unknown = ecdsa_with_sha256[:-1] + b"\x7f"
    assert der.count(ecdsa_with_sha256) == 2
    assert channel_binding(der.replace(ecdsa_with_sha256, unknown)) == b""
    assert channel_binding(b"\x30\x00") == b""


def signed(key: Any, algorithm: HashAlgorithm | None) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + DAY)
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)  # type: ignore[arg-type]


def test_a_session_is_told_what_it_is_bound_to(given: Given) -> None:
    async def use() -> None:
        folder = given.folder / "bound"
        folder.mkdir()
        async with House(folder, upstream=given.endpoint, upstream_tls="require") as house:
            await house.begun(user="app", database="postgres")
            (connection,) = house.listener.connections
            assert connection.upstream is not None
            der = ssl.PEM_cert_to_DER_cert((given.server.folder / "data" / "server.crt").read_text())
            assert connection.upstream.channel_binding == hashlib.sha256(der).digest()

    play(use())
