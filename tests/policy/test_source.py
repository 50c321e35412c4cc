from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.policy import source
from lockgate.policy.source import BundleError, Piece, find, read, split

HERE = Path("p.cedar")


def pieces(text: str) -> list[tuple[int, str]]:
    return [(piece.line, piece.text) for piece in split(HERE, text)]


def test_a_policy_starts_where_its_first_word_stands() -> None:
    text = '// one\n\n@id("a")\npermit (principal, action, resource);\n\n  // two\n  forbid(principal,action,resource);'
    assert [line for line, _ in pieces(text)] == [3, 7]


def test_semicolons_in_strings_and_comments_end_nothing() -> None:
    text = '// a; b "\npermit (principal == Principal::"x;//\\";", action, resource); // ; "\n'
    assert [line for line, _ in pieces(text)] == [2]


def test_a_policy_without_its_semicolon_is_still_a_piece_for_cedar_to_refuse() -> None:
    assert [line for line, _ in pieces("permit (principal, action, resource)\n// end")] == [1]


def test_nothing_but_comments_is_no_policy() -> None:
    assert pieces(" \n// permit (principal, action, resource);\n") == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        # Cedar ends a comment at a carriage return; cat and most editors show one harmless line
        ("// nothing here \rpermit (principal, action, resource);", 1),
        # an editor shows a forbid on a line of its own; for Cedar the comment goes on
        ("\n// why\u2028forbid (principal, action, resource);", 2),
        ("permit (principal, action, resource)\n\nwhen { true /* \u202e } */ };", 3),
        ('permit (principal == Principal::"a\u200bnn", action, resource);', 1),
        ("\x00", 1),
        ("\ufeffpermit (principal, action, resource);", 1),
    ],
)
def test_what_a_reviewer_cannot_see_is_refused(text: str, line: int) -> None:
    with pytest.raises(BundleError, match=rf"^p\.cedar:{line}: a character that can't be seen"):
        pieces(text)


def test_windows_line_ends_are_line_ends() -> None:
    assert [line for line, _ in pieces("// x\r\npermit (principal, action, resource);\r\n")] == [2]


POLICY = st.sampled_from(
    [
        "permit (principal, action, resource);",
        '@id("a;b")forbid(principal,action,resource)when{context.x=="//"};',
        'permit(principal==P::"\\"",action,resource)unless{true};',
        "// permit (principal, action, resource);\n",
        '// "\n',
        "\n",
        " ",
    ]
)


@given(st.lists(POLICY, max_size=12).map("".join))
def test_splitting_agrees_with_cedar(text: str) -> None:
    found = pieces(text)
    assert len(found) == len(cedarpy.PolicySet.from_str(text))
    for line, piece in found:
        assert len(cedarpy.PolicySet.from_str(piece)) == 1
        assert text.split("\n")[line - 1].strip()
    assert "".join(piece for _, piece in found) == text[: sum(len(piece) for _, piece in found)]


@given(st.text(alphabet='";/\\\n @permit(),', max_size=60))
def test_splitting_loses_nothing_and_never_fails(text: str) -> None:
    found = list(split(HERE, text))
    joined = "".join(piece.text for piece in found)
    assert text.startswith(joined)
    assert all(1 <= piece.line <= text.count("\n") + 1 for piece in found)


def test_folders_are_read_in_sorted_order_and_editors_leftovers_are_not(tmp_path: Path) -> None:
    for name in ("b.cedar", "a.cedar", ".#a.cedar", "a.cedar~", "c.test.yaml"):
        (tmp_path / name).write_text("")
    assert find([tmp_path, tmp_path / "a.cedar"]) == (tmp_path / "a.cedar", tmp_path / "b.cedar")


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"gone:1: No such file"):
        find([tmp_path / "gone"])


def test_a_link_to_nowhere_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").symlink_to(tmp_path / "gone")
    with pytest.raises(BundleError, match=r"a\.cedar:1: No such file"):
        read(find([tmp_path]))


def test_bytes_that_are_not_utf8_are_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_bytes(b"//\n// \xff\n")
    with pytest.raises(BundleError, match=r"a\.cedar:2: not UTF-8"):
        read(find([tmp_path]))


def test_all_files_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "POLICY_BYTES", 10)
    (tmp_path / "a.cedar").write_text("// 567\n")
    assert read(find([tmp_path])) == ()
    (tmp_path / "b.cedar").write_text("// 567\n")
    with pytest.raises(BundleError, match=r"b\.cedar:1: .* larger than 10 bytes"):
        read(find([tmp_path]))


def test_a_piece_knows_its_place() -> None:
    assert Piece(HERE, 7, "").where == "p.cedar:7"


@pytest.mark.parametrize(
    "condition",
    [
        "(" * 3000 + "true" + ")" * 3000,
        "&&".join(["true"] * 3000),
        "context" + ".a" * 3000,
        "context" + '["a"]' * 3000,
        "if true then true else " * 3000 + "true",
        '{"a":' * 3000 + "1" + "}" * 3000 + "==1",
        "1" + " - 1" * 3000 + " == 0",
    ],
)
def test_what_would_overflow_cedars_stack_is_refused_before_cedar_sees_it(condition: str) -> None:
    with pytest.raises(BundleError, match=r"^p\.cedar:2: nested deeper than 64, or over 400 operators"):
        pieces(f"\npermit (principal, action, resource) when {{ {condition} }};")


@pytest.mark.parametrize("text", ["(" * 65, ")" * 401, "." * 401])
def test_the_bounds_hold_for_what_is_no_policy_too(text: str) -> None:
    with pytest.raises(BundleError, match="nested deeper"):
        pieces(text)


def test_brackets_and_operators_in_strings_and_comments_nest_nothing() -> None:
    assert len(pieces(f'permit (principal, action, resource) when {{ "{"(" * 99}" == "" }}; // {"(" * 99}')) == 1


@pytest.mark.parametrize("shape", [lambda n: "(" * n + "true" + ")" * n, lambda n: "&&".join(["true"] * n)])
def test_what_is_just_within_the_bounds_is_within_cedars(shape: Callable[[int], str]) -> None:
    text = f"permit (principal, action, resource) when {{ {shape(60)} }};"
    (piece,) = split(HERE, text)
    assert len(cedarpy.PolicySet.from_str(piece.text)) == 1
