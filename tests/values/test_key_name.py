from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.values.key_name import STEPS, KeyName, key_name


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("secret:*", KeyName("secret:*")),
        ("profile:*#email", KeyName("profile:*", field="email")),
        ("profile:*#addr_*", KeyName("profile:*", field="addr_*")),
        ("a#b#c", KeyName("a", field="b#c")),
        (r"a\#b#c", KeyName(r"a\#b", field="c")),
        ("a\\\\#b", KeyName("a\\\\", field="b")),
        ("a\\", KeyName("a\\")),
        (r"a#\$b", KeyName("a", field=r"\$b")),
        ("doc:*#$.user.email", KeyName("doc:*", path=("user", "email"))),
        ("doc:*#$.items[*].card", KeyName("doc:*", path=("items", None, "card"))),
        ("doc:*#$[0][12].*", KeyName("doc:*", path=(0, 12, None))),
        ("doc:*#$.e-mail.größe_2", KeyName("doc:*", path=("e-mail", "größe_2"))),
    ],
)
def test_a_name_is_a_pattern_and_perhaps_what_is_meant_of_the_value(name: str, read: KeyName) -> None:
    assert key_name(name) == read


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "no pattern of keys"),
        ("#a", "no pattern of keys"),
        ("a#", "nothing behind the #"),
        ("k" * 1025, "more than 1024 bytes"),
        ("a#" + "f" * 1025, "more than 1024 bytes"),
        ("ä" * 513, "more than 1024 bytes"),
        ("a#$" + ".b" * (STEPS + 1), f"more than {STEPS} steps"),
        *((f"a#${path}", "is not a path") for path in ("", ".", "..a", ".a.", "a", "[a]", "[-1]", "[01]", "[]", "[0")),
        *((f"a#${path}", "is not a path") for path in ("['a']", ".a b", ".a,b", "[0:2]", "[?(@.a)]", ".a*", ".a$")),
    ],
)
def test_what_is_no_name(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        key_name(name)


@given(st.text(alphabet="a*#$.[]0\\ ", max_size=12))
def test_whatever_is_written_is_read_or_refused(name: str) -> None:
    try:
        read = key_name(name)
    except ValueError:
        return
    assert name.startswith(read.pattern)
    assert read.pattern
    assert (read.field is None) or (read.path is None)
