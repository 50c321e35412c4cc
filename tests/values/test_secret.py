"""A secret shows itself to nobody who doesn't ask for it by name."""

from __future__ import annotations

import copy
import pickle
import traceback

import msgspec
import pytest

from lockgate.values.secret import Secret

TEXT = "s3cret"


def test_nothing_that_shows_values_shows_it() -> None:
    secret = Secret(TEXT)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r}", "%s" % secret, repr([secret])]  # noqa: UP031
    assert all(TEXT not in text for text in shown)
    assert not hasattr(secret, "__dict__")


def test_no_traceback_shows_it() -> None:
    secret = Secret(TEXT)
    try:
        raise ValueError(secret)
    except ValueError as error:
        lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
        assert TEXT not in "".join(lines)


def test_nothing_serialises_it() -> None:
    for serialise in (pickle.dumps, copy.deepcopy, msgspec.json.encode, msgspec.msgpack.encode):
        with pytest.raises(TypeError):
            serialise(Secret(TEXT))


def test_it_is_equal_by_value() -> None:
    assert Secret(TEXT) == Secret(TEXT) != Secret("other")
    assert hash(Secret(TEXT)) == hash(Secret(TEXT))
    assert Secret(TEXT) != TEXT
    assert Secret(TEXT).reveal() == TEXT
