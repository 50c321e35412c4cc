"""SCRAM-SHA-256 against the RFC's own exchange, and servers that cheat at it."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.wire.postgresql.scram import MAX_ITERATIONS, Scram, ScramError, salted_password

# RFC 7677, section 3, whose client names its user: PostgreSQL's don't, so the transcript's is put in
NONCE = b"rOprNGfwEbeRWgbNEkqO"
CHALLENGE = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")


def begun() -> Scram:
    return Scram(b"n,,", nonce=NONCE)


def rfc() -> Scram:
    scram = begun()
    scram._bare = b"n=user,r=" + NONCE
    return scram


def test_the_exchange_of_the_rfc() -> None:
    scram = rfc()
    assert scram.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    scram.challenged(CHALLENGE)
    assert (scram.salt, scram.iterations) == (SALT, 4096)
    assert scram.final(salted_password("pencil", SALT, 4096)) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    scram.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


def test_nobody_is_named_and_no_nonce_is_used_twice() -> None:
    one, two = Scram(b"y,,").first(), Scram(b"y,,").first()
    assert one.startswith(b"y,,n=,r=")
    assert len(one) == len(b"y,,n=,r=") + 24
    assert one != two


@pytest.mark.parametrize(
    "signature",
    [
        b"v=" + base64.b64encode(b"x" * 32),
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G8=",
        b"v=",
        b"v=not base64",
        b"e=invalid-proof",
        b"x=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        b"",
    ],
)
def test_a_server_that_does_not_know_the_password(signature: bytes) -> None:
    scram = rfc()
    scram.challenged(CHALLENGE)
    scram.final(salted_password("pencil", SALT, 4096))
    with pytest.raises(ScramError) as refused:
        scram.verify(signature)
    assert "pencil" not in str(refused.value)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"r=other,s=AAAA,i=4096", "extend"),
        (b"r=" + NONCE + b",s=AAAA,i=4096", "extend"),
        (b"r=" + NONCE + b" \x7f,s=AAAA,i=4096", "printable"),
        (b"r=" + NONCE + b"x,s=AAAA,i=0", "fewer"),
        (b"r=" + NONCE + b"x,s=AAAA,i=4095", "fewer"),
        (b"r=" + NONCE + b"x,s=AAAA,i=%d" % (MAX_ITERATIONS + 1), "more"),
        (b"r=" + NONCE + b"x,s=AAAA,i=2147483648", "more"),
        (b"r=" + NONCE + b"x,s=AAAA,i=" + b"9" * 2000, "number"),
        (b"r=" + NONCE + b"x,s=AAAA,i=-1", "number"),
        (b"r=" + NONCE + b"x,s=AAAA,i= 4096", "number"),
        (b"r=" + NONCE + b"x,s=AAAA,i=", "number"),
        (b"r=" + NONCE + b"x,s=AA!A,i=4096", "base64"),
        (b"r=" + NONCE + b"x,s=,i=4096", "salt"),
        (b"r=" + NONCE + b"x,s=" + b"A" * 1400 + b",i=4096", "salt"),
        (b"r=" + NONCE + b"x,s=" + b"A" * 5000 + b",i=4096", "doesn't have"),
        (b"m=x,r=" + NONCE + b"x,s=AAAA,i=4096", "extension"),
        (b"s=AAAA,r=" + NONCE + b"x,i=4096", "doesn't have"),
        (b"r=" + NONCE + b"x,s=AAAA", "doesn't have"),
        (b"", "doesn't have"),
        (b"\xff\0", "doesn't have"),
    ],
)
def test_a_challenge_that_is_none(message: bytes, why: str) -> None:
    with pytest.raises(ScramError, match=why):
        begun().challenged(message)


@given(st.binary(max_size=200))
def test_nothing_a_server_says_raises_anything_else(message: bytes) -> None:
    for scram, hear in ((begun(), Scram.challenged), (begun(), Scram.verify)):
        try:
            hear(scram, message)
        except ScramError:
            continue
        raise AssertionError("it was believed")
