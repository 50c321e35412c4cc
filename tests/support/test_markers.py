"""A marker is found in whatever dress it comes."""

from __future__ import annotations

import base64

import pytest

from tests.support.markers import marker

VALUE = b"user17@example.org"


@pytest.mark.parametrize(
    "dressed",
    [
        VALUE,
        VALUE.upper(),
        VALUE[::-1],
        VALUE.hex().encode(),
        b"f" + VALUE.hex().upper().encode(),
        base64.b64encode(VALUE),
        base64.urlsafe_b64encode(b"x" + VALUE),
        base64.b64encode(b"xy" + VALUE + b"z"),
        b"".join(b"=%02X" % byte for byte in VALUE),
        b"".join(b"%%%02x" % byte for byte in VALUE),
        b"".join(b"\\x%02x" % byte for byte in VALUE),
        b"".join(b"\\u%04x" % byte for byte in VALUE),
        b"".join(b"\\%03o" % byte for byte in VALUE),
        b"".join(b"&#%d;" % byte for byte in VALUE),
        VALUE.decode().encode("utf-16"),
    ],
)
def test_a_marker_is_found_in_any_dress(dressed: bytes) -> None:
    assert marker(b"before " + dressed + b" after") is not None


def test_what_is_masked_is_none() -> None:
    assert marker(b"u***@e***.org *** " + base64.b64encode(b"u***@e***.org") + b"1980") is None
