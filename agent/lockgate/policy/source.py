"""Policy files as text: which files, and where in them each policy starts.

Cedar's parser gives no line for a policy, and a line is what a person needs. A `;` ends a policy and stands nowhere
else outside strings and comments, so splitting there is enough; every piece is then parsed by Cedar alone and has to
be exactly one policy, which makes any disagreement between this splitter and Cedar's own lexer an error, never a guess.
"""

from __future__ import annotations

import re
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

POLICY_BYTES = 4 * 1024 * 1024
"""All policy files together. Amazon Verified Permissions bounds one policy to 10 KB: room for four hundred of those."""

NESTING = 64
"""Brackets open at once in a policy. Cedar's parser recurses: 800 of them end the process, 300 don't (cedarpy 4.12)."""

OPERATORS = 400
"""Operators and brackets in a policy. A chain of them is as deep a tree: 2000 end the process, 800 don't."""

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n\r]*|;|[^";/]+|.', re.DOTALL)
_OPERATOR = re.compile(r"[(\[{)\]}.+*-]|&&|\|\||\bif\b")
_INVISIBLE = frozenset(("Cc", "Cf", "Zl", "Zp", "Cs"))


class BundleError(Exception):
    """Policies that can't be used. The message reads `FILE:LINE: what is wrong`."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The text of one policy, comments before it included. `line` (from 1) is where the policy itself starts."""

    path: Path
    line: int
    text: str

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"


def find(paths: Sequence[str | Path]) -> tuple[Path, ...]:
    """The policy files that `paths` (files, or folders of `*.cedar`) stand for, each once, sorted within a folder.

    Names that start with a dot are left to editors and to Kubernetes' `..data`. Raises BundleError for a path that is
    not there: a folder lost in an upgrade must not mean "no forbids".
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        try:
            if stat.S_ISDIR(path.stat().st_mode):
                names = sorted(p.name for p in path.iterdir())
                found |= dict.fromkeys(path / n for n in names if n.endswith(".cedar") and not n.startswith("."))
            else:
                found[path] = None
        except OSError as error:
            raise BundleError(f"{path}:1: {error.strerror or error}") from None
    return tuple(found)


def read(paths: Sequence[Path]) -> tuple[Piece, ...]:
    """The policies of these files, in order. Raises BundleError (unreadable, too large, invisible characters)."""
    pieces: list[Piece] = []
    room = POLICY_BYTES
    for path in paths:
        try:
            with path.open("rb") as file:
                data = file.read(room + 1)
        except OSError as error:
            raise BundleError(f"{path}:1: {error.strerror or error}") from None
        room -= len(data)
        if room < 0:
            raise BundleError(f"{path}:1: the policy files together are larger than {POLICY_BYTES} bytes")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise BundleError(f"{path}:{line}: not UTF-8 (byte {error.start})") from None
        pieces += split(path, text)
    return tuple(pieces)


def split(path: Path, text: str) -> Iterator[Piece]:
    """Cut `text` at every `;` that ends a policy.

    Raises BundleError for characters that hide what a reader sees, and for a policy that is too deep to be parsed.
    """
    text = text.replace("\r\n", "\n")
    _no_hidden_characters(path, text)
    line, start, begun = 1, 0, 0
    depth = operators = 0
    for token in _TOKEN.finditer(text):
        word = token[0]
        if not begun and word.strip() and not word.startswith("//"):
            begun = line + word[: len(word) - len(word.lstrip())].count("\n")
        line += word.count("\n")
        if not word.startswith(("//", '"')):
            for operator in _OPERATOR.findall(word):
                depth += (operator in "([{") - (operator in ")]}")
                operators += 1
                if depth > NESTING or operators > OPERATORS:
                    raise BundleError(f"{path}:{begun}: nested deeper than {NESTING}, or over {OPERATORS} operators")
        if word == ";":
            yield Piece(path, begun, text[start : token.end()])
            start, begun, depth, operators = token.end(), 0, 0, 0
    if begun:
        yield Piece(path, begun, text[start:])


def _no_hidden_characters(path: Path, text: str) -> None:
    """A reviewer must see what Cedar sees.

    A carriage return ends a comment for Cedar and not for most editors, a line separator the other way round, and
    bidirectional controls reorder what is shown (CVE-2021-42574): each can hide a permit or make a forbid a comment.
    """
    for offset, character in enumerate(text):
        if character not in "\n\t" and unicodedata.category(character) in _INVISIBLE:
            line = text.count("\n", 0, offset) + 1
            raise BundleError(f"{path}:{line}: a character that can't be seen (U+{ord(character):04X})")
