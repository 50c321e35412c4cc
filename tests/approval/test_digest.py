"""An approval of one statement must never fit another."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.approval.digest import digest, fingerprint
from lockgate.values.identity import Claims

ANN = Claims("jti-1", "ann", "ann", ("engineers",), "host-1", 1, 2)


def of(
    text: str | bytes = "DELETE FROM orders",
    parameters: list[bytes | None] | None = None,
    formats: list[int] | None = None,
    claims: Claims = ANN,
    connection: str = "c1",
    datastore: str = "orders",
    database: str = "shop",
    user: str = "app",
) -> str:
    return digest(text, parameters or [], formats or [], claims, connection, datastore, database, user)


def test_a_digest_is_sha256_in_hex_and_stays_the_same() -> None:
    # a change of this value breaks approvals between agents of two versions: then DOMAIN has to change too
    assert of() == "257e069782d37791465bb1e968d2f4fcf0f32cfb624f4dad39606ce6af8b0f33"


@pytest.mark.parametrize(
    "other",
    [
        of("DELETE FROM orders "),
        of(b"DELETE FROM orders"),
        of(parameters=[b""]),
        of(parameters=[None]),
        of(formats=[0]),
        of(formats=[1]),
        of(claims=replace(ANN, principal="bob")),
        of(claims=replace(ANN, person=None)),
        of(claims=replace(ANN, person="")),
        of(claims=replace(ANN, groups=())),
        of(claims=replace(ANN, host="host-2")),
        of(connection="c2"),
        of(datastore="billing"),
        of(database="shop2"),
        of(user="postgres"),
        of("\udcff"),
    ],
)
def test_every_part_counts(other: str) -> None:
    assert other != of()


def test_null_is_not_empty() -> None:
    assert of(parameters=[None]) != of(parameters=[b""])


def test_a_renewed_token_of_the_same_identity_changes_nothing() -> None:
    assert of(claims=replace(ANN, token="jti-2", issued_at=100, expires_at=400)) == of()


def test_what_is_not_bytes_is_refused_rather_than_guessed() -> None:
    with pytest.raises(TypeError, match="float"):
        of(parameters=[1.5])  # type: ignore[list-item]


PARAMETERS = st.lists(st.none() | st.binary(max_size=4), max_size=4)
INPUT = st.tuples(st.text(max_size=4), PARAMETERS, st.lists(st.integers(0, 1), max_size=3), *[st.text(max_size=3)] * 4)


@given(INPUT, INPUT)
def test_no_two_inputs_run_together(one: tuple[object, ...], two: tuple[object, ...]) -> None:
    def call(value: tuple[object, ...]) -> str:
        text, parameters, formats, connection, datastore, database, user = value
        return of(text, parameters, formats, ANN, connection, datastore, database, user)  # type: ignore[arg-type]

    assert (call(one) == call(two)) == (one == two)


@given(st.text(max_size=6), st.integers(0, 6), st.integers(0, 6))
def test_moving_a_boundary_between_fields_shows(whole: str, a: int, b: int) -> None:
    one = of(connection=whole[:a], datastore=whole[a:])
    two = of(connection=whole[:b], datastore=whole[b:])
    assert (one == two) == (whole[:a] == whole[:b])


def covers(
    shapes: tuple[str, ...] = ("~DELETE FROM orders WHERE id = $1",),
    meaning: tuple[str, ...] = ("16384",),
    claims: Claims = ANN,
    datastore: str = "orders",
    database: str = "shop",
    user: str = "app",
    policy: str = "bulk",
) -> str:
    return fingerprint(shapes, meaning, claims, datastore, database, user, policy)


def test_a_fingerprint_stays_the_same_and_is_no_digest_of_a_statement() -> None:
    # a change of this value ends every grant: then GRANT_DOMAIN has to change too
    assert covers() == "9c402c5bd694ccd75b07ccde868794bef333accd2041a06a8a5e752c41f34ea1"
    assert covers(claims=replace(ANN, token="jti-2", expires_at=400)) == covers()


@pytest.mark.parametrize(
    "other",
    [
        covers(shapes=("~DELETE FROM orders WHERE id = $1", "SELECT 1")),
        covers(shapes=("~DELETE FROM orders WHERE customer = $1",)),
        covers(shapes=("~DELETE FROM orders WHERE id = $1", "16384"), meaning=()),
        covers(meaning=("16385",)),
        covers(claims=replace(ANN, principal="ann-laptop")),
        covers(claims=replace(ANN, person=None)),
        covers(claims=replace(ANN, groups=())),
        covers(claims=replace(ANN, host="host-2")),
        covers(datastore="billing"),
        covers(database="shop2"),
        covers(user="postgres"),
        covers(policy="other"),
    ],
)
def test_every_part_of_a_fingerprint_counts(other: str) -> None:
    assert other != covers()
