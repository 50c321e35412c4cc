"""A YAML file as plain data, with the line of everything in it.

What is read is the part of YAML that means the same to everyone: mappings, lists and scalars of the core schema (YAML
1.2, section 10.3.2). So `no` is text and not False, `010` is no octal number, `12:30` is no base 60. Anchors, tags and
merge keys are refused, and so is a key given twice: YAML 1.1 keeps the last one silently.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import msgspec.inspect
import yaml
from msgspec.inspect import DictType, ListType, LiteralType, StructType, Type, UnionType, VarTupleType

T = TypeVar("T")
Where = Sequence[str | int]
"""The way to a value: keys and list indices."""

FILE_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of a configuration file: a hundred thousand classified columns."""

DEPTH_LIMIT: Final = 32
"""How deep lists and mappings may nest."""

_NULL: Final = re.compile(r"~|null|Null|NULL|")
_BOOL: Final = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,30})?(?:[eE][-+]?[0-9]{1,3})?")
# C0 but for tab and line feed, DEL, C1, surrogates: no name, path or address has them, and terminals obey them
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_STEP: Final = re.compile(r"\.?([A-Za-z_][A-Za-z0-9_]*)|\[(\d+|\.\.\.)\]")
_WORDS: Final = {
    "object": "a mapping",
    "array": "a list",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}


class ConfigError(Exception):
    """A configuration that can't be used. The message reads `FILE:LINE: KEY: what is wrong`."""


class Document:
    """One file. `data` is what it holds: dicts with text for keys, lists, text, int, float, bool and None."""

    def __init__(self, path: str | Path) -> None:
        """Read it. Raises ConfigError."""
        self.path = Path(path)
        self._root = _compose(self.path, _read(self.path))
        self.data = self._plain(self._root, ())

    def convert(self, kind: type[T]) -> T:
        """The data as `kind`, a type of msgspec's. Raises ConfigError for what doesn't fit, and where."""
        try:
            return msgspec.convert(self.data, kind)
        except msgspec.ValidationError as error:
            raise self._misfit(kind, str(error)) from None

    def line(self, where: Where = ()) -> int:
        """The line of the key or list item at `where`, or of the last thing on the way there that is in the file."""
        node = self._root
        line = node.start_mark.line + 1
        for step in where:
            if isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == step), None)
                if pair is None:
                    break
                line, node = pair[0].start_mark.line + 1, pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line + 1
            else:
                break
        return line

    def error(self, where: Where, message: str) -> ConfigError:
        """`FILE:LINE: KEY: message`."""
        key = _spell(where)
        return ConfigError(f"{self.path}:{self.line(where)}: {key + ': ' if key else ''}{message}")

    def _plain(self, node: yaml.Node, where: tuple[str | int, ...]) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, where)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*where, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        text: str = node.value
        if found := _CONTROL.search(text):
            raise self.error(where, f"a control character (U+{ord(found[0]):04X})")
        return text if node.style else _scalar(text)

    def _mapping(self, node: yaml.MappingNode, where: tuple[str | int, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{self.path}:{line}: a key is text, not a list or a mapping")
            name: str = key.value
            if control := _CONTROL.search(name):
                raise ConfigError(f"{self.path}:{line}: a control character (U+{ord(control[0]):04X}) in a key")
            if name in found:
                first = self.line((*where, name))
                raise ConfigError(f"{self.path}:{line}: {_spell((*where, name))}: given twice (first on line {first})")
            found[name] = self._plain(value, (*where, name))
        return found

    def _misfit(self, kind: object, text: str) -> ConfigError:
        """msgspec's `what - at $.a[0].b` in words of the file."""
        message, _, path = text.rpartition(" - at `") if text.endswith("`") and " - at `" in text else (text, "", "")
        where, value = self._steps(path.rstrip("`"))
        if unknown := re.search(r"unknown field `(.*)`", message, re.DOTALL):
            near = difflib.get_close_matches(unknown[1], _names(kind, where), n=1)
            hint = f" (did you mean `{near[0]}`?)" if near else ""
            return self.error((*where, unknown[1]), f"unknown key{hint}")
        if missing := re.search(r"missing required field `(.*)`", message):
            return self.error(where, f"`{missing[1]}` is missing")
        if message.startswith("Invalid enum value"):
            return self.error(where, f"{value!r} is none of {', '.join(_names(kind, where))}")
        words = re.sub(r"`([a-z |]+)`", lambda types: _words(types[1]), message)
        return self.error(where, words[:1].lower() + words[1:])

    def _steps(self, path: str) -> tuple[Where, Any]:
        """`$.a[0].b` as steps, and the value there; `[...]` is the first in a mapping of text that is no text."""
        steps: list[str | int] = []
        value = self.data
        for name, index in _STEP.findall(path.removeprefix("$")):
            step: str | int = name or (int(index) if index != "..." else _odd(value))
            try:
                value = value[step]
            except (LookupError, TypeError):
                # a key of the file that itself reads like the end of such a message
                break
            steps.append(step)
        return steps, value


def _odd(value: object) -> str:
    pairs = value.items() if isinstance(value, dict) else ()
    return next((key for key, found in pairs if not isinstance(found, str)), "")


def _names(kind: object, where: Where) -> list[str]:
    """What may stand at `where` in a `kind`: the keys of a struct, the values of a Literal."""
    types = [msgspec.inspect.type_info(kind)]
    for step in (*where, None):
        types = [part for one in types for part in (one.types if isinstance(one, UnionType) else (one,))]
        if step is None:
            break
        below: list[Type] = []
        for one in types:
            if isinstance(one, StructType):
                below += [field.type for field in one.fields if field.encode_name == step]
            elif isinstance(one, ListType | VarTupleType):
                below.append(one.item_type)
            elif isinstance(one, DictType):
                below.append(one.value_type)
        types = below
    return [
        str(name)
        for one in types
        if isinstance(one, StructType | LiteralType)
        for name in ([field.encode_name for field in one.fields] if isinstance(one, StructType) else one.values)
    ]


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    if len(raw) > FILE_LIMIT:
        raise ConfigError(f"{path}: larger than {FILE_LIMIT} bytes")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 (byte {error.start})") from None


class _Refused(Exception):
    """A part of YAML that is not read here: (line, what)."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(line, what)
        self.line = line
        self.what = what


class _Composer(yaml.SafeLoader):
    """Nodes only: nothing is constructed, so no tag has an effect and no alias can multiply."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1 if event.start_mark else 1
        if getattr(event, "anchor", None) is not None:
            raise _Refused(line, "anchors are not taken here (what begins with & stands in quotes)")
        if getattr(event, "tag", None) is not None:
            raise _Refused(line, "tags are not taken here")
        if self.depth >= DEPTH_LIMIT:
            raise _Refused(line, f"nested deeper than {DEPTH_LIMIT}")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _compose(path: Path, text: str) -> yaml.Node:
    try:
        node = yaml.compose(text, Loader=_Composer)
    except _Refused as error:
        raise ConfigError(f"{path}:{error.line}: {error.what}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{path}:{mark.line + 1 if mark else 1}: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}:{line}: a character that YAML does not allow (U+{error.character:04X})") from None
    except (ValueError, OverflowError) as error:
        # PyYAML reads "\UFFFFFFFF" with chr()
        raise ConfigError(f"{path}:1: an escape that is no character: {error}") from None
    if node is None:
        raise ConfigError(f"{path}:1: the file is empty")
    return node


def _scalar(text: str) -> str | int | float | bool | None:
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text[0] in "tT"
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text


def _spell(where: Where) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where).removeprefix(".")


def _words(types: str) -> str:
    return " or ".join(_WORDS.get(name.strip(), name.strip()) for name in types.split("|"))
