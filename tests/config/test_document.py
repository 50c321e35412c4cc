"""YAML as plain data, and every mistake in it by its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
import msgspec.yaml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.config.document import DEPTH_LIMIT, FILE_LIMIT, ConfigError, Document


def data(tmp_path: Path, text: str | bytes) -> Any:
    return document(tmp_path, text).data


def document(tmp_path: Path, text: str | bytes) -> Document:
    path = tmp_path / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Document(path)


def message(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        document(tmp_path, text)
    return str(caught.value).removeprefix(f"{tmp_path}/")


def test_mappings_lists_and_scalars(tmp_path: Path) -> None:
    text = """\
a: {b: [1, -2, 0, 1.5, 1e3, true, False, null, ~, text, "quoted", 'single']}
c: |
  two
  lines
d:
"""
    assert data(tmp_path, text) == {
        "a": {"b": [1, -2, 0, 1.5, 1000.0, True, False, None, None, "text", "quoted", "single"]},
        "c": "two\nlines\n",
        "d": None,
    }


@pytest.mark.parametrize(
    "scalar",
    [
        *("no", "yes", "on", "off", "NO", "y", "12:30", "190:20:30", "010", "0x1f", "0b1", "1_000", "2001-01-01"),
        *(".inf", ".nan", "1e999", "1e9999", "<<", "=", "12e45x", "9" * 64, "4e" * 32, "1" * 19, "+", "1.", ".5"),
        *('"1"', "'true'", '"null"'),
    ],
)
def test_what_yaml_1_1_makes_something_else_of_stays_text(tmp_path: Path, scalar: str) -> None:
    """The country of Norway, a time of day, a container's id."""
    assert data(tmp_path, f"- {scalar}\n") == [scalar.strip("\"'")]


def test_keys_are_text(tmp_path: Path) -> None:
    assert data(tmp_path, "1: a\ntrue: b\nnull: c\nno: d\n") == {"1": "a", "true": "b", "null": "c", "no": "d"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "x.yaml:1: the file is empty"),
        ("# a comment\n", "x.yaml:1: the file is empty"),
        ("a: 1\nb: [1\n", "x.yaml:3: expected ',' or ']'"),
        ("a: 1\n b: 2\n", "x.yaml:2: mapping values are not allowed here"),
        ("a: 1\n\tb: 2\n", "x.yaml:2: "),
        ("a: 1\nb: 2\na: 3\n", "x.yaml:3: a: given twice (first on line 1)"),
        ("x:\n  - a: 1\n    'a': 3\n", "x.yaml:3: x[0].a: given twice (first on line 2)"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2: but found another document"),
        ("a: 1\nb: &x 2\n", "x.yaml:2: anchors are not taken here"),
        ("a: &x [1]\nb: *x\n", "x.yaml:1: anchors are not taken here"),
        ("a: *x\n", "x.yaml:1: anchors are not taken here"),
        ("a:\n  !!python/object/apply:os.system ['true']\n", "x.yaml:2: tags are not taken here"),
        ("a: !!str 1\n", "x.yaml:1: tags are not taken here"),
        ("a: !x 1\n", "x.yaml:1: tags are not taken here"),
        ("? [a]\n: 1\n", "x.yaml:1: a key is text, not a list or a mapping"),
        ('a: 1\nb: "\\0"\n', "x.yaml:2: b: a control character (U+0000)"),
        ('a: 1\nb: ["\\e[2J"]\n', "x.yaml:2: b[0]: a control character (U+001B)"),
        ('a: "\\ud800"\n', "x.yaml:1: a: a control character (U+D800)"),
        ('"\\x9b": 1\n', "x.yaml:1: a control character (U+009B) in a key"),
        ('a: "\\UFFFFFFFF"\n', "x.yaml:1: an escape that is no character"),
        ("a: 1\nb: \x01\n", "x.yaml:2: a character that YAML does not allow (U+0001)"),
        (b"a: 1\nb: \xff\n", "x.yaml:2: not UTF-8 (byte 8)"),
        ("%YAML 9.9\n---\na: 1\n", "x.yaml:1: "),
        ("[" * (DEPTH_LIMIT + 1), f"x.yaml:1: nested deeper than {DEPTH_LIMIT}"),
        ("a: 1\nb: " + "[" * 5000, f"x.yaml:2: nested deeper than {DEPTH_LIMIT}"),
        ("- " * 5000, f"x.yaml:1: nested deeper than {DEPTH_LIMIT}"),
    ],
)
def test_a_broken_file_is_named_by_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert message(tmp_path, text).startswith(said)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: No such file or directory"):
        Document(tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        Document(tmp_path)


def test_a_file_has_a_bound(tmp_path: Path) -> None:
    assert message(tmp_path, b"#" * (FILE_LIMIT + 1)) == f"x.yaml: larger than {FILE_LIMIT} bytes"


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    size: int = 1
    mode: Literal["enforce", "observe"] = "enforce"


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    inner: Inner | None = None
    several: list[Inner] = []
    words: dict[str, str] = {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n", "x.yaml:1: expected a mapping, got a list"),
        ("inner: {}\n", "x.yaml:1: `name` is missing"),
        ("name: 1\n", "x.yaml:1: name: expected text, got a whole number"),
        ("name: x\nnaem: y\n", "x.yaml:2: naem: unknown key (did you mean `name`?)"),
        ("name: x\n\nzzz: y\n", "x.yaml:3: zzz: unknown key"),
        ("name: x\ninner:\n  size: 1\n  sise: 2\n", "x.yaml:4: inner.sise: unknown key (did you mean `size`?)"),
        ("name: x\ninner:\n  size: big\n", "x.yaml:3: inner.size: expected a whole number, got text"),
        ("name: x\ninner:\n  size: 1.5\n", "x.yaml:3: inner.size: expected a whole number, got a number"),
        ("name: x\ninner: [1]\n", "x.yaml:2: inner: expected a mapping or nothing, got a list"),
        ("name: x\ninner:\n  mode: enforced\n", "x.yaml:3: inner.mode: 'enforced' is none of enforce, observe"),
        (
            "name: x\nseveral:\n- size: 1\n- mode: x\n  size: 2\n",
            "x.yaml:4: several[1].mode: 'x' is none of enforce, observe",
        ),
        ("name: x\nseveral:\n- {}\n- 7\n", "x.yaml:4: several[1]: expected a mapping, got a whole number"),
        (
            "name: x\nseveral:\n- {}\n- {modus: a}\n",
            "x.yaml:4: several[1].modus: unknown key (did you mean `mode`?)",
        ),
        ("name: x\nwords:\n  a: b\n  c: 7\n", "x.yaml:4: words.c: expected text, got a whole number"),
        ("name: x\nwords:\n  a.b: {}\n", "x.yaml:3: words.a.b: expected text, got a mapping"),
        ("name: x\n'un`known': 1\n", "x.yaml:2: un`known: unknown key"),
        # a key that reads like the end of msgspec's own message
        ('name: x\n"un - at `$.several[9].x": 1\n', "x.yaml:"),
        ('name: x\n"un - at `$.name[...]": 1\n', "x.yaml:"),
        ('name: x\ninner:\n  "un - at `$.words[...]": 1\n', "x.yaml:3: inner.un - at `$.words[...]: unknown key"),
    ],
)
def test_what_does_not_fit_is_named_by_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    found = document(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        found.convert(Outer)
    assert str(caught.value).removeprefix(f"{tmp_path}/").startswith(said)


def test_what_fits_is_converted(tmp_path: Path) -> None:
    found = document(tmp_path, "name: x\ninner: {size: 2}\nwords: {a: b}\n").convert(Outer)
    assert found == Outer(name="x", inner=Inner(size=2), words={"a": "b"})


def test_lines_of_keys_and_items(tmp_path: Path) -> None:
    found = document(tmp_path, "\na:\n  - b: 1\n    c.d: 2\n  - x\n")
    assert [found.line(w) for w in ((), ("a",), ("a", 0), ("a", 0, "c.d"), ("a", 1))] == [2, 2, 3, 4, 5]
    # what isn't there is looked for as far as it goes
    assert [found.line(w) for w in (("z",), ("a", 9), ("a", 1, "x"), ("a", "b"))] == [2, 2, 5, 2]
    assert str(found.error(("a", 0, "c.d"), "bad")) == f"{found.path}:4: a[0].c.d: bad"


YAML = st.text(st.sampled_from("ab:-,[]{}&*!|>'\"%#?@`\\ \n\t0ud~<="), max_size=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("document")


def refusal(folder: Path, content: bytes, kind: type) -> str | None:
    """What reading and converting is refused with; anything but a ConfigError fails the test."""
    try:
        document(folder, content).convert(kind)
    except ConfigError as error:
        return str(error)
    return None


@given(
    content=st.binary(max_size=60)
    | YAML.map(str.encode)
    | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_file_is_read_or_refused(folder: Path, content: bytes) -> None:
    for kind in (Outer, list[Outer], dict[str, str], list[str]):
        said = refusal(folder, content, kind)
        assert said is None or said.startswith(f"{folder}/x.yaml:")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "inner", "several", "words", "size", "mode", "x"]), inner, max_size=4
        )
    ),
    max_leaves=15,
)


@given(value=JSON)
def test_any_shape_is_taken_or_refused(folder: Path, value: object) -> None:
    said = refusal(folder, msgspec.yaml.encode(value), Outer)
    assert said is None or said.startswith(f"{folder}/x.yaml:")
