"""Makes man pages and shell completion from the program itself.

    python packaging/make_docs.py OUTDIR

with a Python that can import lockgate makes OUTDIR/man/lockgate*.1, a page a command, and
OUTDIR/completion/{bash,zsh,fish}/..., each under the name that its shell looks for. What help texts lack comes from
man.toml beside this file. Two runs are byte-identical: pages carry the day of SOURCE_DATE_EPOCH (today without it).
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from lockgate import __version__
from lockgate.cli import main as program

EXTRAS = Path(__file__).with_name("man.toml")
NAME = "lockgate"
LINE_LENGTH = 78
COMPLETIONS: dict[str, type[ShellComplete]] = {
    "bash/lockgate": BashComplete,
    "zsh/_lockgate": ZshComplete,
    "fish/lockgate.fish": FishComplete,
}


@dataclass(frozen=True, slots=True)
class Page:
    """One command; `name` is that of its page, as lockgate-policy-check."""

    name: str
    command: click.Command
    context: click.Context

    @property
    def words(self) -> str:
        """As it is typed."""
        return self.name.replace("-", " ")

    @property
    def children(self) -> list[Page]:
        if not isinstance(self.command, click.Group):
            return []
        names = self.command.list_commands(self.context)
        return [_page(found, self.context) for name in names if (found := self.command.get_command(self.context, name))]


def pages(root: Page | None = None) -> Iterator[Page]:
    """Every command of the program, hidden ones left out, each before those below it."""
    page = root or _page(program, None)
    yield page
    for child in page.children:
        if not child.command.hidden:
            yield from pages(child)


def _page(command: click.Command, above: click.Context | None) -> Page:
    context = click.Context(
        command, info_name=command.name if above else NAME, parent=above, **command.context_settings
    )
    name = context.command_path.replace(" ", "-")
    return Page(name, command, context)


class Roff:
    """man(7), line by line."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def request(self, name: str, *arguments: str) -> None:
        quoted = (f'"{one}"' if " " in one or not one else one for one in arguments)
        self._lines.append(" ".join((f".{name}", *quoted)))

    def text(self, markup: str) -> None:
        # a dot or an apostrophe at the beginning of a line would be a request
        lines = textwrap.wrap(markup, LINE_LENGTH, break_long_words=False, break_on_hyphens=False)
        self._lines += [rf"\&{one}" if one[:1] in (".", "'") else one for one in lines]

    def literal(self, text: str) -> None:
        self._lines.append(escaped(text))

    def terms(self, entries: dict[str, str]) -> None:
        for term, markup in entries.items():
            self.request("TP")
            self._lines.append(term)  # one line, whatever its length
            self.text(markup)

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"


_SIGNS = {"\\": r"\e", "-": r"\-", "^": r"\(ha", "~": r"\(ti", "`": r"\(ga", '"': r"\(dq"}


def escaped(text: str) -> str:
    return "".join(_SIGNS.get(sign, sign) for sign in text)


def bold(text: str) -> str:
    return rf"\fB{escaped(text)}\fR"


def italic(text: str) -> str:
    return rf"\fI{escaped(text)}\fR"


def prose(text: str, arguments: frozenset[str] = frozenset()) -> str:
    """A help text: `code` and options become bold, the names of arguments italic."""
    parts = re.split(r"(`[^`]+`|(?<!\S)--[a-z][a-z-]*)", text)
    marked = []
    for number, part in enumerate(parts):
        if number % 2:
            marked.append(bold(part.strip("`")))
        else:
            words = re.split(r"(\b[A-Z]+\b)", part)
            marked.append("".join(italic(word) if word in arguments else escaped(word) for word in words))
    return "".join(marked)


def reference(page: str) -> str:
    """lockgate-agent or cgroups(7)."""
    name, _, section = page.rstrip(")").partition("(")
    return rf"\fB\%{escaped(name)}\fR({section or 1})"  # \%: never hyphenated


def usage(page: Page) -> str:
    pieces = [bold(page.words)]
    for piece in page.command.collect_usage_pieces(page.context):
        pieces.append(re.sub(r"[A-Z]+", lambda word: italic(word[0]), escaped(piece).replace(r"\-", "-")))
    return " ".join(pieces)


def option_term(text: str) -> str:
    """`-h, --help`, `--config FILE` or `--verdict [allow|deny]`."""
    parts = re.split(r"(--?[a-z][a-z-]*)", text)
    marked = []
    for number, part in enumerate(parts):
        if number % 2:
            marked.append(bold(part))
        else:
            marked.append(re.sub(r"[A-Za-z][A-Za-z ]*", lambda word: italic(word[0]), escaped(part)))
    return "".join(marked)


def paragraphs(text: str) -> list[str]:
    return [" ".join(one.split()) for one in re.split(r"\n\s*\n", text.strip())]


def summary(command: click.Command) -> str:
    """What the help begins with, as the NAME section has it: not capitalised, without what is in brackets or follows a
    colon or a full stop."""
    first = re.sub(r" \([^)]*\)", "", paragraphs(command.help or "")[0])
    first = re.split(r"[:;]|\.(?: |$)", first)[0]
    return first if first[:2].isupper() else first[:1].lower() + first[1:]


def man_page(page: Page, extras: dict[str, Any], day: str) -> str:
    roff, name = Roff(), page.name
    arguments = frozenset(
        word for one in page.command.params if isinstance(one, click.Argument)
        for word in re.findall("[A-Z]+", one.make_metavar(page.context))
    )  # fmt: skip
    roff.request("TH", escaped(name.upper()), "1", day, f"{NAME} {__version__}", "Lockgate")
    roff.request("nh")
    roff.request("ad", "l")
    roff.request("SH", "NAME")
    roff.text(rf"{escaped(name)} \- {escaped(summary(page.command))}")
    roff.request("SH", "SYNOPSIS")
    roff.text(usage(page))
    roff.request("SH", "DESCRIPTION")
    for number, paragraph in enumerate(paragraphs(page.command.help or "")):
        if number:
            roff.request("PP")
        roff.text(prose(paragraph, arguments))
    given = (one for one in page.command.get_params(page.context) if isinstance(one, click.Option))
    options = {option_term(found[0]): prose(found[1]) for one in given if (found := one.get_help_record(page.context))}
    roff.request("SH", "OPTIONS")
    roff.terms(options)
    if page.children:
        roff.request("SH", "COMMANDS")
        shown = (child for child in page.children if not child.command.hidden)
        roff.terms({reference(child.name): prose(paragraphs(child.command.help or "")[0]) for child in shown})
    _sections(roff, page, extras)
    return str(roff)


def _sections(roff: Roff, page: Page, extras: dict[str, Any]) -> None:
    """What the help lacks."""
    name = page.name
    statuses = extras["exit_status_of"].get(name, extras["exit_status"])
    roff.request("SH", "EXIT STATUS")
    roff.terms({bold(status): prose(statuses[status]) for status in sorted(statuses, key=int)})
    variables = extras["environment_of"].get(name)
    if variables:
        roff.request("SH", "ENVIRONMENT")
        roff.terms({bold(variable): prose(text) for variable, text in variables.items()})
    files = extras["files_of"].get(name, _configured(page))
    if files:
        roff.request("SH", "FILES")
        roff.terms({italic(path): prose(extras["files"][path]) for path in files})
    examples = extras["examples"].get(name, ())
    if examples:
        roff.request("SH", "EXAMPLES")
    for number, example in enumerate(examples):
        if number:
            roff.request("PP")
        roff.text(prose(example["text"]))
        roff.request("PP")
        roff.request("RS", "4")
        roff.request("EX")
        roff.literal(example["command"])
        roff.request("EE")
        roff.request("RE")
    roff.request("SH", "SEE ALSO")
    roff.text(", ".join(map(reference, _see_also(page, extras["see_also"].get(name, [])))))


def _configured(page: Page) -> list[str]:
    """The file that its --config is by default."""
    found = [one.default for one in page.command.params if "--config" in one.opts and isinstance(one.default, str)]
    return found or (["/etc/lockgate/agent.yaml"] if any("--config" in one.opts for one in page.command.params) else [])


def _see_also(page: Page, further: list[str]) -> list[str]:
    """Above, below and beside it, in the order of the program; then what man.toml says."""
    above, _, _ = page.name.rpartition("-")
    near = []
    for other in pages():
        their, _, _ = other.name.rpartition("-")
        beside = their == above and above != NAME
        if other.name != page.name and (other.name in (above, NAME) or their == page.name or beside):
            near.append(f"{other.name}(1)")
    return list(dict.fromkeys([*near, *further]))


def check(extras: dict[str, Any], names: set[str]) -> None:
    """Raises ValueError for what man.toml says of a command that there isn't."""
    for section in ("exit_status_of", "files_of", "environment_of", "see_also", "examples"):
        unknown = extras[section].keys() - names
        if unknown:
            raise ValueError(f"{EXTRAS.name}: {section}: there is no {', '.join(sorted(unknown))}")
    for name, others in extras["see_also"].items():
        for other in others:
            if other.startswith(NAME) and other.removesuffix("(1)") not in names:
                raise ValueError(f"{EXTRAS.name}: see_also: {name}: there is no {other}")


def main(target: Path) -> None:
    extras = tomllib.loads(EXTRAS.read_text(encoding="utf-8"))
    every = list(pages())
    check(extras, {page.name for page in every})
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    day = time.strftime("%Y-%m-%d", time.gmtime(seconds))
    (target / "man").mkdir(parents=True, exist_ok=True)
    for page in every:
        (target / "man" / f"{page.name}.1").write_text(man_page(page, extras, day), encoding="utf-8")
    for place, shell in COMPLETIONS.items():
        path = target / "completion" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        made = shell(program, {}, NAME, f"_{NAME.upper()}_COMPLETE")
        # not made.source(): bash's asks for the version of the bash that is here
        path.write_text((made.source_template % made.source_vars()).strip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_docs.py OUTDIR")
    main(Path(sys.argv[1]))
