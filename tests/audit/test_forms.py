"""Records by form: the compiled ones are those of the reference, and so are their frames."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.audit import forms
from lockgate.audit._forms import Form, framed
from lockgate.audit.record import MAX_SEQ, decode
from lockgate.audit.segment import encode_frame
from tests.audit.spooling import Clock, begin, on_disk, opened

HASH = bytes(range(32))
_EDGES = [0, 31, 32, 127, 128, 255, 256, 65_535, 65_536]
_TEXTS = st.one_of(st.text(max_size=40), st.sampled_from([letter * size for letter in "xé" for size in _EDGES]))
_NUMBERS = st.one_of(
    st.integers(0, MAX_SEQ), st.sampled_from([edge + more for edge in (127, 255, 65_535, 2**32 - 1) for more in (0, 1)])
)
_VALUES = st.one_of(_TEXTS, _NUMBERS, st.binary(max_size=40), st.sampled_from([bytes(size) for size in _EDGES]))
_NAMES = st.text("abcxyz_", min_size=1, max_size=6).filter(lambda name: name not in ("prev", "seq", "time"))


@given(
    fields=st.dictionaries(
        _NAMES, st.one_of(_TEXTS, st.lists(st.text(max_size=3), max_size=3), st.none()), max_size=20
    ),
    varying=st.lists(_NAMES, max_size=4, unique=True),
    data=st.data(),
    seq=_NUMBERS,
    time=_NUMBERS,
)
def test_a_record_by_form_is_that_of_the_reference(
    fields: dict[str, Any], varying: list[str], data: st.DataObject, seq: int, time: int
) -> None:
    names = tuple(varying)
    compiled, reference = Form(fields, names), forms.Form(fields, names)
    for _ in range(2):
        values = tuple(data.draw(_VALUES) for _ in names)
        assert compiled.record(values, HASH, seq, time) == reference.record(values, HASH, seq, time)


def test_a_form_says_no_to_what_it_can_not_encode() -> None:
    for form in (Form({}, ("a",)), forms.Form({}, ("a",))):
        with pytest.raises(UnicodeEncodeError):
            form.record(("\ud800",), HASH, 1, 1)
        with pytest.raises(ValueError, match=r"value|argument"):
            form.record((), HASH, 1, 1)
        with pytest.raises(OverflowError):
            form.record((2**64,), HASH, 1, 1)
    with pytest.raises(OverflowError):
        Form({}, ("a",)).record((-1,), HASH, 1, 1)
    with pytest.raises(TypeError):
        Form({}, ("a",)).record((None,), HASH, 1, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fields that differ"):
        Form({}, tuple(map(str, range(14))))
    with pytest.raises(ValueError, match="fields that differ"):
        Form({}, ("seq",))


@given(record=st.binary(min_size=1, max_size=300), time=_NUMBERS)
def test_a_frame_is_that_of_the_reference(record: bytes, time: int) -> None:
    assert framed(record, time) == encode_frame(record, time)


def test_records_by_form_are_chained_with_the_others(tmp_path: Any) -> None:
    with opened(tmp_path, clock=Clock()) as spool:
        plain = begin(1)
        form = spool.form(
            {key: value for key, value in plain.items() if key not in ("id", "statement")}, ("id", "statement")
        )
        spool.append(plain)
        spool.append_formed(form, ("c-1", "select 1"), begins=True)
        spool.commit()
    one, other = map(decode, on_disk(tmp_path))
    assert other["prev"] != one["prev"]
    assert {**one, "prev": 0, "seq": 0} == {**other, "prev": 0, "seq": 0}
