"""Tokens: what is issued verifies, and nothing else does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from lockgate.identity.keys import HostKey
from lockgate.identity.tokens import (
    AGENT_GROUP,
    OPERATOR_GROUP,
    SKEW,
    TOKEN_LIMIT,
    Approval,
    Granting,
    InvalidToken,
    Revocation,
    Token,
    TokenIssuer,
    verify_approval,
    verify_grant,
    verify_revocation,
    verify_with_jwks,
)
from lockgate.values.identity import Claims, Principal, Workload

NOW = 1_800_000_000.5
ANN = Principal("ann", "ann", ("engineers", "dba"))
PSQL = Workload(
    pid=42,
    start_ns=10,
    exec_id=1,
    exe="/usr/bin/psql",
    cmdline=("psql",),
    uid=1000,
    user="ann",
    cgroup="/",
    unit="session-1.scope",
)
ROOT = Workload(pid=43, start_ns=10, exec_id=1, exe="/usr/bin/lockgate", cmdline=(), uid=0, user="root", cgroup="/")


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def key() -> HostKey:
    return HostKey(Ed25519PrivateKey.generate())


@pytest.fixture
def issuer(key: HostKey, clock: Clock) -> TokenIssuer:
    return TokenIssuer(key, "host-1", clock=clock)


def segment(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unpack(token: Token) -> tuple[dict[str, Any], dict[str, Any]]:
    header, body, _ = token.text.split(".")
    return json.loads(base64.urlsafe_b64decode(header + "==")), json.loads(base64.urlsafe_b64decode(body + "=="))


def sign(key: HostKey, header: object, body: object) -> str:
    """A token with a good signature, whatever it says."""
    signing_input = f"{segment(header)}.{segment(body)}"
    return f"{signing_input}.{segment(key.private.sign(signing_input.encode()))}"


def test_what_is_issued_verifies(issuer: TokenIssuer, key: HostKey, clock: Clock) -> None:
    token = issuer.issue(ANN, PSQL)
    claims = issuer.verify(token.text)
    assert claims == token.claims
    assert claims == Claims(
        token=claims.token,
        principal="ann",
        person="ann",
        groups=("engineers", "dba"),
        host="host-1",
        issued_at=1_800_000_000,
        expires_at=1_800_000_300,
    )
    assert verify_with_jwks(token.text, key.jwks(), "host-1", clock=clock) == claims


def test_a_token_says_which_process_it_was_made_for(issuer: TokenIssuer, key: HostKey) -> None:
    header, body = unpack(issuer.issue(ANN, PSQL))
    assert header == {"alg": "EdDSA", "kid": key.kid, "typ": "JWT"}
    assert body["workload"] == {
        "pid": 42,
        "exe": "/usr/bin/psql",
        "uid": 1000,
        "user": "ann",
        "unit": "session-1.scope",
    }
    assert body["aud"] == "lockgate"
    assert body["iss"] == "host-1"
    assert body["sub"] == "ann"


def test_others_can_verify_it_with_an_ordinary_library(key: HostKey) -> None:
    token = TokenIssuer(key, "host-1").issue(ANN, PSQL)
    published = jwt.PyJWKSet.from_dict(key.jwks())[key.kid]
    body = jwt.decode(token.text, published, algorithms=["EdDSA"], audience="lockgate", issuer="host-1")
    assert body["sub"] == "ann"


def test_every_token_has_its_own_id(issuer: TokenIssuer) -> None:
    assert issuer.issue(ANN, PSQL).claims.token != issuer.issue(ANN, PSQL).claims.token


def test_a_service_has_no_person(issuer: TokenIssuer) -> None:
    token = issuer.issue(Principal("billing", None, ()), PSQL)
    assert issuer.verify(token.text).person is None
    assert issuer.verify(token.text).groups == ()


def test_the_text_of_a_token_does_not_show_in_its_repr(issuer: TokenIssuer) -> None:
    token = issuer.issue(ANN, PSQL)
    assert token.text not in repr(token)
    assert token.text.split(".")[2] not in repr(token)


def test_the_agent_speaks_for_its_host(issuer: TokenIssuer) -> None:
    claims = issuer.verify(issuer.issue_service().text)
    assert (claims.principal, claims.person, claims.groups) == ("host:host-1", None, (AGENT_GROUP,))


@pytest.mark.parametrize(
    "principal",
    [
        Principal("host:host-1", None, ()),
        Principal("lockgate:agent", None, ()),
        Principal("eve", None, ("engineers", AGENT_GROUP)),
        Principal("eve", None, (OPERATOR_GROUP,)),
        Principal("eve", "host:host-2", ()),
    ],
)
def test_no_process_is_given_a_name_of_our_own(issuer: TokenIssuer, principal: Principal) -> None:
    with pytest.raises(ValueError, match="Lockgate's own"):
        issuer.issue(principal, PSQL)


def test_only_root_is_an_operator(issuer: TokenIssuer) -> None:
    assert issuer.verify(issuer.issue(ANN, ROOT, operator=True).text).groups == ("engineers", "dba", OPERATOR_GROUP)
    assert OPERATOR_GROUP not in issuer.issue(ANN, ROOT).claims.groups
    with pytest.raises(ValueError, match="uid 1000"):
        issuer.issue(ANN, PSQL, operator=True)


def test_a_token_has_a_bound(issuer: TokenIssuer) -> None:
    with pytest.raises(ValueError, match=str(TOKEN_LIMIT)):
        issuer.issue(Principal("ann", None, tuple(f"group-{n}" for n in range(3000))), PSQL)


def test_it_lives_five_minutes(issuer: TokenIssuer, key: HostKey, clock: Clock) -> None:
    text = issuer.issue(ANN, PSQL).text
    clock.now = 1_800_000_299.9
    issuer.verify(text)
    clock.now = 1_800_000_300.0
    with pytest.raises(InvalidToken, match="expired"):
        issuer.verify(text)
    verify_with_jwks(text, key.jwks(), "host-1", clock=clock)
    clock.now += SKEW
    with pytest.raises(InvalidToken, match="expired"):
        verify_with_jwks(text, key.jwks(), "host-1", clock=clock)


def test_it_is_not_valid_before_its_time(issuer: TokenIssuer, key: HostKey, clock: Clock) -> None:
    text = issuer.issue(ANN, PSQL).text
    clock.now = 1_799_999_999.0
    with pytest.raises(InvalidToken, match="not valid yet"):
        issuer.verify(text)
    verify_with_jwks(text, key.jwks(), "host-1", clock=clock)
    clock.now = 1_799_999_999.0 - SKEW
    with pytest.raises(InvalidToken, match="not valid yet"):
        verify_with_jwks(text, key.jwks(), "host-1", clock=clock)


def test_another_host_is_not_this_one(issuer: TokenIssuer, key: HostKey, clock: Clock) -> None:
    text = issuer.issue(ANN, PSQL).text
    with pytest.raises(InvalidToken, match="not issued by host 'host-2'"):
        TokenIssuer(key, "host-2", clock=clock).verify(text)
    with pytest.raises(InvalidToken, match="not issued by host 'host-2'"):
        verify_with_jwks(text, key.jwks(), "host-2", clock=clock)


def test_another_key_is_not_this_one(issuer: TokenIssuer, clock: Clock) -> None:
    other = HostKey(Ed25519PrivateKey.generate())
    text = TokenIssuer(other, "host-1", clock=clock).issue(ANN, PSQL).text
    with pytest.raises(InvalidToken, match="a key that is not this host's"):
        issuer.verify(text)


def test_another_key_under_this_keys_name_does_not_verify(issuer: TokenIssuer, key: HostKey) -> None:
    header, body = unpack(issuer.issue(ANN, PSQL))
    assert header["kid"] == key.kid
    with pytest.raises(InvalidToken, match="signature"):
        issuer.verify(sign(HostKey(Ed25519PrivateKey.generate()), header, body))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
def test_no_algorithm_is_no_token(issuer: TokenIssuer, algorithm: str) -> None:
    header, body = unpack(issuer.issue(ANN, PSQL))
    start = f"{segment({**header, 'alg': algorithm})}.{segment(body)}."
    for text in (start, start + "A" * 86):
        with pytest.raises(InvalidToken):
            issuer.verify(text)


@pytest.mark.parametrize(
    "encoding", [(Encoding.Raw, PublicFormat.Raw), (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)]
)
def test_the_public_key_is_not_a_shared_secret(
    issuer: TokenIssuer, key: HostKey, encoding: tuple[Encoding, PublicFormat]
) -> None:
    """HS256 with the public key as its secret: what a verifier that trusts `alg` falls for."""
    header, body = unpack(issuer.issue(ANN, PSQL))
    secret = key.private.public_key().public_bytes(*encoding)
    for digest in (hashlib.sha256, hashlib.sha512):
        start = f"{segment({**header, 'alg': 'HS256'})}.{segment({**body, 'sub': 'root'})}"
        mac = hmac.new(secret, start.encode(), digest).digest()
        with pytest.raises(InvalidToken):
            issuer.verify(f"{start}.{segment(mac)}")


@pytest.mark.parametrize(
    "change",
    [
        {"jwk": {"kty": "OKP"}},
        {"jku": "http://127.0.0.1/keys"},
        {"crit": ["exp"]},
        {"b64": False, "crit": ["b64"]},
        {"typ": "at+jwt"},
        {"kid": None},
        {"kid": "../../dev/null"},
        {"alg": "ES256"},
    ],
)
def test_the_header_says_nothing_more_even_when_signed(
    issuer: TokenIssuer, key: HostKey, change: dict[str, object]
) -> None:
    header, body = unpack(issuer.issue(ANN, PSQL))
    assert issuer.verify(sign(key, header, body)).principal == "ann"
    with pytest.raises(InvalidToken):
        issuer.verify(sign(key, {**header, **change}, body))


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "jti", "iat", "nbf", "exp", "groups"])
def test_every_claim_is_needed_and_of_its_type(issuer: TokenIssuer, key: HostKey, claim: str) -> None:
    header, body = unpack(issuer.issue(ANN, PSQL))
    mistaken: tuple[object, ...] = (None, {}, "", [1], 1.5, True)
    for wrong in mistaken:
        with pytest.raises(InvalidToken):
            issuer.verify(sign(key, header, {**body, claim: wrong}))
    del body[claim]
    with pytest.raises(InvalidToken, match="the claims are not"):
        issuer.verify(sign(key, header, body))


def test_a_token_for_others_is_not_for_us(issuer: TokenIssuer, key: HostKey) -> None:
    header, body = unpack(issuer.issue(ANN, PSQL))
    for audience in ("vault", ["lockgate", "vault"], "lockgate "):
        with pytest.raises(InvalidToken):
            issuer.verify(sign(key, header, {**body, "aud": audience}))
    with pytest.raises(InvalidToken):
        issuer.verify(sign(key, header, {**body, "admin": True}))


def test_a_claim_changed_after_signing_is_noticed(issuer: TokenIssuer) -> None:
    token = issuer.issue(ANN, PSQL)
    header, body = unpack(token)
    forged = f"{segment(header)}.{segment({**body, 'sub': 'root'})}.{token.text.split('.')[2]}"
    with pytest.raises(InvalidToken, match="signature"):
        issuer.verify(forged)


def test_no_single_character_can_be_changed(issuer: TokenIssuer) -> None:
    text = issuer.issue(ANN, PSQL).text
    for place, old in enumerate(text):
        for new in ("A", "B", "_", "=", ".", " ", "\n", "é"):
            if new != old:
                with pytest.raises(InvalidToken):
                    issuer.verify(text[:place] + new + text[place + 1 :])
    for more in ("=", "\n", " ", ".", "A"):
        with pytest.raises(InvalidToken):
            issuer.verify(text + more)


@pytest.mark.parametrize("depth", [300, 8000])
def test_nesting_ends_in_a_refusal(issuer: TokenIssuer, key: HostKey, depth: int) -> None:
    header, _ = unpack(issuer.issue(ANN, PSQL))
    with pytest.raises(InvalidToken):
        issuer.verify(sign(key, b'{"alg":' + b"[" * depth, {}))
    with pytest.raises(InvalidToken):
        issuer.verify(sign(key, header, b'{"groups":' + b"[" * depth))


def test_a_key_set_that_cannot_be_used_verifies_nothing(issuer: TokenIssuer, clock: Clock) -> None:
    with pytest.raises(InvalidToken, match="no usable key set"):
        verify_with_jwks(issuer.issue(ANN, PSQL).text, {"keys": []}, "host-1", clock=clock)


FIXED = TokenIssuer(HostKey(Ed25519PrivateKey.generate()), "host-1", clock=Clock())
VALID = FIXED.issue(ANN, PSQL).text


@given(st.text() | st.from_regex(r"\A[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]{86}\Z"))
def test_arbitrary_text_is_no_token(text: str) -> None:
    with pytest.raises(InvalidToken):
        FIXED.verify(text)


@given(st.integers(0, len(VALID)), st.integers(0, len(VALID)), st.text(max_size=8))
def test_a_spliced_token_is_no_token(start: int, end: int, middle: str) -> None:
    text = VALID[:start] + middle + VALID[end:]
    if text != VALID:
        with pytest.raises(InvalidToken):
            FIXED.verify(text)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_whatever_was_signed_is_read_or_refused(header: bytes, body: bytes) -> None:
    key = HostKey(Ed25519PrivateKey.generate())
    issuer = TokenIssuer(key, "host-1")
    with pytest.raises(InvalidToken):
        issuer.verify(sign(key, header, body))
    with pytest.raises(InvalidToken):
        issuer.verify(sign(key, {"alg": "EdDSA", "kid": key.kid, "typ": "JWT"}, body))


DECISION = Approval("hold-0001", "d" * 64, "approve")


def test_an_approval_says_who_decided_what(issuer: TokenIssuer, key: HostKey, clock: Clock) -> None:
    token = issuer.issue_approval(ANN, PSQL, DECISION)
    claims, approval = verify_approval(token.text, key.jwks(), "host-1", clock=clock)
    assert (claims, approval) == (token.claims, DECISION)
    assert (claims.person, claims.groups) == ("ann", ("engineers", "dba"))


def test_an_approval_opens_nothing_else(issuer: TokenIssuer, key: HostKey, clock: Clock) -> None:
    text = issuer.issue_approval(ANN, PSQL, DECISION).text
    with pytest.raises(InvalidToken, match="audience"):
        issuer.verify(text)
    with pytest.raises(InvalidToken, match="audience"):
        verify_with_jwks(text, key.jwks(), "host-1", clock=clock)


def test_a_token_is_no_approval(issuer: TokenIssuer, key: HostKey, clock: Clock) -> None:
    with pytest.raises(InvalidToken, match="audience"):
        verify_approval(issuer.issue(ANN, PSQL).text, key.jwks(), "host-1", clock=clock)
    header, body = unpack(issuer.issue_approval(ANN, PSQL, DECISION))
    with pytest.raises(InvalidToken, match="audience"):
        issuer.verify(sign(key, header, {**body, "aud": "lockgate"}))
    del body["approval"]
    with pytest.raises(InvalidToken, match="decides nothing"):
        verify_approval(sign(key, header, body), key.jwks(), "host-1", clock=clock)


def test_an_approval_of_another_decision_is_not_read(issuer: TokenIssuer, key: HostKey, clock: Clock) -> None:
    header, body = unpack(issuer.issue_approval(ANN, PSQL, DECISION))
    for wrong in ({**body["approval"], "decision": "maybe"}, {"hold": "x"}, "approve"):
        with pytest.raises(InvalidToken, match="not those of a token"):
            verify_approval(sign(key, header, {**body, "approval": wrong}), key.jwks(), "host-1", clock=clock)


def test_nobody_approves_under_a_name_of_ours(issuer: TokenIssuer) -> None:
    with pytest.raises(ValueError, match="own"):
        issuer.issue_approval(Principal("x", "x", ("lockgate:agent",)), PSQL, DECISION)


WORDS: dict[str, Approval | Granting | Revocation] = {
    "approval": Approval("hold-0001", "d" * 64, "approve"),
    "grant": Granting("hold-0001", "d" * 64),
    "revocation": Revocation("hold-0001"),
}
VERIFIERS: dict[str, Callable[..., object]] = {
    "approval": verify_approval,
    "grant": verify_grant,
    "revocation": verify_revocation,
    "bearer": verify_with_jwks,
}


def said(issuer: TokenIssuer, kind: str) -> str:
    who, word = (Principal("bob", "bob", ("dba",)), PSQL), WORDS.get(kind)
    match word:
        case Approval():
            return issuer.issue_approval(*who, word).text
        case Granting():
            return issuer.issue_grant(*who, word, 7200).text
        case Revocation():
            return issuer.issue_revocation(*who, word).text
        case None:
            return issuer.issue(*who).text


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("kind", [*WORDS, "bearer"])
def test_a_token_is_good_for_the_one_thing_it_says(kind: str, verifier: str) -> None:
    key = HostKey(Ed25519PrivateKey.generate())
    text = said(TokenIssuer(key, "host-1"), kind)
    if kind != verifier:
        with pytest.raises(InvalidToken, match="another audience"):
            VERIFIERS[verifier](text, key.jwks(), "host-1")
    else:
        found = VERIFIERS[verifier](text, key.jwks(), "host-1")
        assert not isinstance(found, tuple) or found[1] == WORDS[kind]


def test_no_skew_makes_a_grant_last_longer() -> None:
    key = HostKey(Ed25519PrivateKey.generate())
    issuer = TokenIssuer(key, "host-1", clock=lambda: 1000.0)
    text = issuer.issue_grant(Principal("bob", "bob", ("dba",)), PSQL, Granting("hold-0001", "d" * 64), 60).text
    assert verify_grant(text, key.jwks(), "host-1", clock=lambda: 1059.9)[0].expires_at == 1060
    for late in (1060.0, 1089.0):
        with pytest.raises(InvalidToken, match="expired"):
            verify_grant(text, key.jwks(), "host-1", clock=iter([late, late]).__next__)
    with pytest.raises(InvalidToken, match="not valid yet"):
        verify_grant(text, key.jwks(), "host-1", clock=lambda: 900.0)
