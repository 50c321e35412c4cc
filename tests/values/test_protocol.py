"""What there is to know of a protocol stands in one place, and everything that has a line for each has one for all."""

from __future__ import annotations

from typing import get_args

import pytest

from lockgate.config import Datastore
from lockgate.policy.languages import LANGUAGES
from lockgate.proxy.protocols import PROTOCOLS
from lockgate.values.protocol import NATURES, Protocol, by_pattern


def test_whatever_has_a_line_for_each_protocol_has_one_for_all() -> None:
    assert set(NATURES) == set(get_args(Protocol)) == set(PROTOCOLS) == set(LANGUAGES)


def test_keys_of_a_protocols_own_are_keys_of_a_datastores() -> None:
    for nature in NATURES.values():
        assert nature.own <= set(Datastore.__struct_fields__)


def test_policies_name_by_pattern_what_has_keys() -> None:
    assert [by_pattern(protocol) for protocol in ("redis", "postgresql", None)] == [True, False, False]


@pytest.mark.parametrize(
    ("protocol", "name", "problem"),
    [
        ("postgresql", "a" * 63, None),
        ("postgresql", "a b", None),
        ("postgresql", "a" * 64, "is not the name of a role (at most 63 bytes, printable)"),
        ("postgresql", "ä" * 32, "is not the name of a role (at most 63 bytes, printable)"),
        ("postgresql", "a\n", "is not the name of a role (at most 63 bytes, printable)"),
        ("redis", "a" * 1024, None),
        ("redis", "a" * 1025, "is not the name of a user (at most 1024 bytes, printable, no blanks)"),
        ("redis", "a b", "is not the name of a user (at most 1024 bytes, printable, no blanks)"),
    ],
)
def test_what_users_can_be_called(protocol: str, name: str, problem: str | None) -> None:
    expected = None if problem is None else f"{name!r} {problem}"
    assert NATURES[protocol].users.problem(name) == expected
