"""Planned requests: the compiled ones are those of the reference, and those that are read without a plan."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.understand.redis import Understanding, _plans, plans
from lockgate.understand.redis.rendering import MAX_BYTES, MAX_CHARACTERS
from lockgate.values.command import Call
from lockgate.values.statement import Request

CALLS = [
    (b"PING",),
    (b"GET", b"k"),
    (b"SET", b"k", b"v"),
    (b"SETEX", b"k", b"1", b"v"),
    (b"MGET", b"a", b"b", b"c"),
    (b"MSET", b"a", b"1", b"b", b"2"),
    (b"DEL", *[b"k"] * 20),
    (b"PUBLISH", b"c", b"m"),
    (b"COPY", b"a", b"b"),
    (b"FLUSHALL",),
    (b"SET", b"k", b"v", b"ex", b"10", b"NX"),
    (b"SET", b"k", b"v", b"GET", b"KEEPTTL"),
    (b"LINSERT", b"l", b"BEFORE", b"a", b"b"),
]


@pytest.mark.parametrize("sample", CALLS, ids=lambda sample: sample[0].decode())
@given(data=st.data())
def test_the_compiled_request_is_that_of_the_reference(sample: tuple[bytes, ...], data: st.DataObject) -> None:
    argument = st.one_of(st.binary(max_size=6), st.sampled_from([b"?", b"", b"...", b"x" * (MAX_BYTES + 1), b"ok:1"]))
    args = (sample[0], *data.draw(st.tuples(*[argument] * (len(sample) - 1))))
    plan = plans.plan(Understanding().request(sample))
    compiled, reference = _plans.made(plan, args), plans.made(plan, args)
    assert compiled == reference
    assert compiled.detail == reference.detail
    assert repr(compiled.detail) == repr(reference.detail)
    assert hash(compiled.detail) == hash(reference.detail)


def test_the_compiled_values_have_all_their_fields_and_are_frozen() -> None:
    """A field that is added to them must be set by `_plans.pyx` too."""
    request = _plans.made(plans.plan(Understanding().request((b"GET", b"k"))), (b"GET", b"k"))
    call = request.detail
    assert isinstance(call, Call)
    published = _plans.made(plans.plan(Understanding().request((b"PUBLISH", b"c", b"m"))), (b"PUBLISH", b"c", b"m"))
    assert isinstance(published.detail, Call)
    for value in (request, call, call.keys[0], published.detail.channels[0]):
        for field in dataclasses.fields(value):
            getattr(value, field.name)
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(value, field.name, None)
    assert isinstance(request, Request)


def test_a_planned_text_is_bounded() -> None:
    request = Understanding().request((b"DEL", *[b"\0" * 4096] * 7))
    assert len(request.text) < MAX_CHARACTERS
    longest = Understanding().request((b"DEL", *[b"\0" * 4096] * 20))
    assert len(longest.text) < MAX_CHARACTERS + 5 * MAX_BYTES


@given(
    st.lists(
        st.sampled_from([b"NX", b"xx", b"GET", b"get\0", b"KEEPTTL", b"EX", b"px", b"10", b"IFEQ", b""]), max_size=5
    )
)
def test_a_set_is_planned_as_it_is_read(options: list[bytes]) -> None:
    understanding = Understanding()
    understanding.request((b"SET", b"a", b"b", *options))
    planned, read = (each.request((b"set", b"k", b"v", *options)) for each in (understanding, Understanding()))
    assert planned == read
    assert planned.detail == read.detail
