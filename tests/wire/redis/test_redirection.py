"""Where a redirection leads."""

from __future__ import annotations

import pytest

from lockgate.wire.redis import redirection


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"MOVED 3999 127.0.0.1:6381", ("127.0.0.1", 6381)),
        (b"ASK 1 a.example:1", ("a.example", 1)),
        (b"MOVED 1 ::1:6381", ("::1", 6381)),
        (b"MOVED 1 :6381", ("", 6381)),
        (b"REDIRECT a:6379", ("a", 6379)),
        (b"MOVED 1 a:65536", None),
        (b"MOVED 1 a:0", None),
        (b"MOVED 1 a b:1", None),
        (b"MOVED a:1", None),
        (b"REDIRECT 1 a:1", None),
        (b"MOVED 1 \xff:1", None),
        (b"ASK", None),
    ],
)
def test_an_address(text: bytes, found: tuple[str, int] | None) -> None:
    assert redirection.is_redirection(text)
    assert redirection.address(text) == found


@pytest.mark.parametrize("text", [b"ERR MOVED 1 a:1", b"MOVEDX 1 a:1", b"", b"TRYAGAIN x", b"moved 1 a:1"])
def test_what_is_none(text: bytes) -> None:
    assert not redirection.is_redirection(text)


def test_the_error_in_its_place_is_one_line() -> None:
    assert redirection.elsewhere(("a", 1)).count(b"\r\n") == 1
    assert b"where can't be read" in redirection.elsewhere(None)
