"""The host's authority: made once, renewed under the same key, and what its leaves are good for."""

from __future__ import annotations

import datetime
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from lockgate.identity.authority import AUTHORITY_LIFE, FILE, LEAF_LIFE, Authority, AuthorityError

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


def at(moment: datetime.datetime, folder: Path) -> Authority:
    return Authority.load_or_create(folder, "host-1", lambda: moment)


def verify(authority: x509.Certificate, leaf: bytes, name: str, moment: datetime.datetime) -> None:
    subject: x509.GeneralName = x509.DNSName(name)
    if name[0].isdigit():
        import ipaddress

        subject = x509.IPAddress(ipaddress.ip_address(name))
    builder = PolicyBuilder().store(Store([authority])).time(moment)
    builder.build_server_verifier(subject).verify(x509.load_pem_x509_certificate(leaf), [])  # type: ignore[arg-type]


def test_it_is_made_once_and_kept_to_itself(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    first = at(NOW, folder)
    assert at(NOW, folder).fingerprint == first.fingerprint
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    assert b"PRIVATE" not in first.pem
    assert first.certificate.subject.rfc4514_string() == "CN=Lockgate on host-1"


def test_it_can_only_certify_servers_and_no_other_authority(tmp_path: Path) -> None:
    extensions = at(NOW, tmp_path / "state").certificate.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_a_leaf_is_good_for_its_address_and_names_for_a_week(tmp_path: Path) -> None:
    authority = at(NOW, tmp_path / "state")
    leaf = authority.leaf("10.0.0.5", ["db.internal"])
    assert leaf.expires == NOW + LEAF_LIFE
    for name in ("10.0.0.5", "db.internal"):
        verify(authority.certificate, leaf.pem, name, NOW)
        with pytest.raises(VerificationError):
            verify(authority.certificate, leaf.pem, name, NOW + LEAF_LIFE * 1.01)
    for name in ("10.0.0.6", "www.db.internal"):
        with pytest.raises(VerificationError):
            verify(authority.certificate, leaf.pem, name, NOW)
    assert x509.load_pem_x509_certificate(authority.leaf("::1", []).pem).serial_number != 0


def test_no_two_certificates_have_one_number(tmp_path: Path) -> None:
    authority = at(NOW, tmp_path / "state")
    pems = [authority.leaf("10.0.0.5", []).pem for _ in range(10)]
    assert len({x509.load_pem_x509_certificate(pem).serial_number for pem in pems}) == 10


def test_renewed_in_time_the_old_one_and_the_new_one_verify_each_others_leaves(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    old = at(NOW, folder)
    late = NOW + AUTHORITY_LIFE - datetime.timedelta(days=400)
    new = at(late, folder)
    assert new.fingerprint != old.fingerprint
    assert at(late, folder).fingerprint == new.fingerprint
    assert new.certificate.not_valid_after_utc == late + AUTHORITY_LIFE
    verify(old.certificate, new.leaf("10.0.0.5", []).pem, "10.0.0.5", late)
    verify(
        new.certificate, Authority(old._key, old.certificate, lambda: late).leaf("10.0.0.5", []).pem, "10.0.0.5", late
    )


def test_a_leaf_does_not_outlive_its_authority(tmp_path: Path) -> None:
    old = at(NOW, tmp_path / "state")
    end = old.certificate.not_valid_after_utc
    assert Authority(old._key, old.certificate, lambda: end - LEAF_LIFE / 2).leaf("10.0.0.5", []).expires == end


def test_a_file_that_is_none_is_refused_and_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    at(NOW, folder)
    path = folder / FILE
    mine = path.read_bytes()
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificate = mine[mine.index(b"-----BEGIN CERT") :]
    for content, why in (
        (b"", "not a private key and a certificate"),
        (key, "not a private key and a certificate"),
        (key + certificate, "the key is not the certificate's"),
    ):
        path.write_bytes(content)
        with pytest.raises(AuthorityError, match=rf"ca\.pem: {why}"):
            at(NOW, folder)
        assert path.read_bytes() == content
    path.chmod(0o640)
    with pytest.raises(AuthorityError, match="others may read it"):
        at(NOW, folder)
