"""The host key: made once, kept to itself, published by its thumbprint."""

from __future__ import annotations

import base64
import os
import stat
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from lockgate.identity.keys import (
    KEY_SET_LIMIT,
    HostKey,
    HostKeyError,
    InvalidKeySet,
    public_keys,
    thumbprint,
    verify_signature,
)

OTHER_UID = 12345


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "keys" / "host.pem"


def test_the_first_start_makes_the_key_and_the_next_finds_it(path: Path) -> None:
    first = HostKey.load_or_create(path)
    assert HostKey.load_or_create(path).kid == first.kid
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["host.pem"]


def test_the_mode_does_not_depend_on_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        HostKey.load_or_create(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_many_starting_at_once_agree_on_one_key(path: Path) -> None:
    found: list[str] = []
    start = threading.Barrier(8)

    def begin() -> None:
        start.wait()
        found.append(HostKey.load_or_create(path).kid)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_a_key_that_others_can_reach_is_refused(path: Path, mode: int) -> None:
    HostKey.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(HostKeyError, match=f"host.pem: others may read it.*{mode:04o}"):
        HostKey.load_or_create(path)


def test_a_key_of_another_user_is_refused(path: Path) -> None:
    HostKey.load_or_create(path)
    os.chown(path, OTHER_UID, OTHER_UID)
    with pytest.raises(HostKeyError, match=f"belongs to uid {OTHER_UID}"):
        HostKey.load_or_create(path)


def test_a_folder_that_others_own_or_write_in_is_refused(path: Path) -> None:
    HostKey.load_or_create(path)
    path.parent.chmod(0o770)
    with pytest.raises(HostKeyError, match="keys: others may write here"):
        HostKey.load_or_create(path)
    path.parent.chmod(0o700)
    os.chown(path.parent, OTHER_UID, OTHER_UID)
    with pytest.raises(HostKeyError, match=f"keys: belongs to uid {OTHER_UID}"):
        HostKey.load_or_create(path)


def test_no_link_is_followed_and_nothing_but_a_file_is_read(path: Path, tmp_path: Path) -> None:
    HostKey.load_or_create(path)
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(HostKeyError, match=r"host\.pem"):
        HostKey.load_or_create(path)
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")  # a dangling link must not make a key at its other end
    with pytest.raises(HostKeyError):
        HostKey.load_or_create(path)
    assert not (tmp_path / "nowhere").exists()
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(HostKeyError, match="not a regular file"):
        HostKey.load_or_create(path)


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_broken_file_is_refused_and_never_replaced(path: Path, content: bytes) -> None:
    HostKey.load_or_create(path)
    path.write_bytes(content)
    with pytest.raises(HostKeyError, match="not a private key in PEM"):
        HostKey.load_or_create(path)
    assert path.read_bytes() == content


def test_a_key_of_another_kind_is_refused(path: Path) -> None:
    HostKey.load_or_create(path)
    path.write_bytes(generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(HostKeyError, match="not an Ed25519 key"):
        HostKey.load_or_create(path)


def test_the_thumbprint_is_that_of_rfc_8037() -> None:
    # RFC 8037, appendix A.3
    assert thumbprint("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo") == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_the_published_set_holds_the_public_half_only() -> None:
    key = HostKey(Ed25519PrivateKey.generate())
    (jwk,) = key.jwks()["keys"]
    assert jwk == {"kty": "OKP", "crv": "Ed25519", "x": jwk["x"], "kid": key.kid, "use": "sig", "alg": "EdDSA"}
    assert list(public_keys(key.jwks())) == [key.kid]


def test_a_signature_holds_for_its_data_and_key() -> None:
    key, other = HostKey(Ed25519PrivateKey.generate()), HostKey(Ed25519PrivateKey.generate())
    signature = key.sign(b"a batch")
    assert verify_signature(key.jwks(), key.kid, b"a batch", signature)
    assert not verify_signature(key.jwks(), key.kid, b"another batch", signature)
    assert not verify_signature(key.jwks(), key.kid, b"a batch", signature[:-1])
    assert not verify_signature(other.jwks(), other.kid, b"a batch", signature)
    assert not verify_signature(other.jwks(), key.kid, b"a batch", signature)


def test_a_signature_is_not_one_over_the_bare_bytes() -> None:
    """Otherwise who can have a record signed could have a token signed."""
    key = HostKey(Ed25519PrivateKey.generate())
    assert key.sign(b"eyJ.eyJ") != key.private.sign(b"eyJ.eyJ")


def test_a_key_under_the_name_of_another_is_refused() -> None:
    key, other = HostKey(Ed25519PrivateKey.generate()), HostKey(Ed25519PrivateKey.generate())
    jwks = other.jwks()
    jwks["keys"][0]["kid"] = key.kid
    with pytest.raises(InvalidKeySet, match="thumbprint"):
        public_keys(jwks)


@pytest.mark.parametrize(
    "change",
    [
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "RSA"},
        {"crv": "X25519"},
        {"x": "AAAA"},
        {"x": base64.urlsafe_b64encode(bytes(32)).decode()},
        {"x": 7},
        {"x": None},
    ],
)
def test_keys_of_other_kinds_are_refused(change: dict[str, object]) -> None:
    jwks = HostKey(Ed25519PrivateKey.generate()).jwks()
    jwks["keys"][0].update(change)
    with pytest.raises(InvalidKeySet):
        public_keys(jwks)


def test_a_set_has_a_bound() -> None:
    keys = [HostKey(Ed25519PrivateKey.generate()).jwks()["keys"][0] for _ in range(KEY_SET_LIMIT + 1)]
    assert len(public_keys({"keys": keys[:-1]})) == KEY_SET_LIMIT
    with pytest.raises(InvalidKeySet):
        public_keys({"keys": keys})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=50),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["keys", "kty", "crv", "x", "kid"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(json_values)
def test_whatever_a_host_publishes_is_read_or_refused(value: object) -> None:
    with pytest.raises(InvalidKeySet):
        public_keys(value)
