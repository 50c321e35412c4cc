"""The system's trust store, with Debian's own program on folders of the test's own."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from lockgate.identity.authority import Authority
from lockgate.identity.truststore import DEBIAN, TrustStore, TrustStoreError, find


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    for name in ("local", "etc"):
        (tmp_path / name).mkdir()
    update = ("update-ca-certificates", "--localcertsdir", str(tmp_path / "local"), "--etccertsdir",
              str(tmp_path / "etc"), "--hooksdir", str(tmp_path))  # fmt: skip
    return TrustStore(tmp_path / "local", update)


def test_what_is_installed_is_in_the_bundle_until_it_is_removed(store: TrustStore, tmp_path: Path) -> None:
    pem = Authority.load_or_create(tmp_path / "state", "host-1").pem
    bundle = tmp_path / "etc" / "ca-certificates.crt"
    path = store.install("host-1", pem)
    assert (path.name, path.stat().st_mode & 0o777) == ("lockgate-host-1.crt", 0o644)
    assert ssl.PEM_cert_to_DER_cert(pem.decode()) in _ders(bundle)
    assert store.install("host-1", pem) == path
    assert store.remove("host-1")
    assert ssl.PEM_cert_to_DER_cert(pem.decode()) not in _ders(bundle)
    assert not store.remove("host-1")
    assert list((tmp_path / "local").iterdir()) == []


def _ders(bundle: Path) -> list[bytes]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(bundle)
    return context.get_ca_certs(binary_form=True)


def test_what_fails_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrustStoreError, match=r"absent/lockgate-a\.crt: No such file"):
        TrustStore(tmp_path / "absent", ()).install("a", b"")
    (tmp_path / "lockgate-b.crt").mkdir()
    with pytest.raises(TrustStoreError, match=r"lockgate-b\.crt: Is a directory"):
        TrustStore(tmp_path, ()).remove("b")
    with pytest.raises(TrustStoreError, match="No such file"):
        TrustStore(tmp_path, (str(tmp_path / "absent"),)).install("a", b"")
    with pytest.raises(TrustStoreError, match=r"exited with 1: no luck$"):
        TrustStore(tmp_path, ("sh", "-c", "echo no luck >&2; exit 1")).install("a", b"")


def test_it_is_the_one_that_this_system_has(tmp_path: Path) -> None:
    here = TrustStore(tmp_path, ("sh",))
    assert find() == DEBIAN
    assert find((TrustStore(tmp_path, ("no-such-program",)), TrustStore(tmp_path / "absent", ("sh",)), here)) == here
    with pytest.raises(TrustStoreError, match="neither no-such-program is installed"):
        find((TrustStore(tmp_path, ("no-such-program",)),))
