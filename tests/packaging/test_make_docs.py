"""Man pages and completion as the packages ship them: whole, clean, the same twice, and true of the program."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from lockgate.cli import main

PACKAGING = Path(__file__).parents[2] / "packaging"
EPOCH = "1764288000"  # 2025-11-28


def make(target: Path, packaging: Path = PACKAGING, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(packaging / "make_docs.py"), str(target)]
    given = {"PATH": os.environ["PATH"], "SOURCE_DATE_EPOCH": EPOCH, **environment}
    return subprocess.run(command, env=given, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("docs")
    done = make(target)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return target


@pytest.fixture(scope="module")
def rendered(made: Path) -> dict[str, str]:
    """Each page as a reader sees it."""
    return {path.stem: _render(path) for path in sorted((made / "man").iterdir())}


def _render(path: Path) -> str:
    command = ["mandoc", "-T", "utf8", "-O", "width=200", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return re.sub(r".\x08", "", text)


def commands(*above: str) -> dict[str, str]:
    """Every command by the name of its page, and its help, as the program tells both."""
    text = CliRunner().invoke(main, [*above, "--help"]).output
    found = {"-".join(("lockgate", *above)): text}
    _, _, below = text.partition("\nCommands:\n")
    for name in re.findall(r"^  ([a-z][a-z-]*)", below, re.M):
        found |= commands(*above, name)
    return found


def test_every_command_has_a_page_and_nothing_else(rendered: dict[str, str]) -> None:
    told = commands()
    assert len(told) > 20
    assert rendered.keys() == told.keys()


def test_a_page_has_the_options_that_the_help_has(rendered: dict[str, str]) -> None:
    for name, text in commands().items():
        listed = text.partition("\nOptions:\n")[2]  # prose may mention others, at the start of a line too
        options = set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", listed, re.M))
        page = set(re.findall(r"^ {5,7}(?:-h, )?(--[a-z-]+)", rendered[name], re.M))
        assert (name, page) == (name, options)
        assert "--help" in page


def test_a_page_says_where_the_configuration_is(rendered: dict[str, str]) -> None:
    configured = {name for name, text in rendered.items() if re.search(r"^ {5,7}--config FILE$", text, re.M)}
    leaves = {name for name, text in rendered.items() if "\nCOMMANDS\n" not in text}
    assert leaves - configured == {"lockgate-demo"}
    for name in configured:
        _, _, files = rendered[name].partition("\nFILES\n")
        assert re.search(r"/etc/lockgate/(agent|collector)\.yaml", files), name


def test_every_page_has_what_a_reader_looks_for(rendered: dict[str, str]) -> None:
    for name, text in rendered.items():
        sections = re.findall(r"^([A-Z]+(?: [A-Z]+)*)$", text, re.M)
        for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"):
            assert section in sections, (name, section)
        assert re.search(rf"^NAME\n +{name} (–|-) [a-zA-Z]", text, re.M), name


def test_every_option_says_what_it_does(rendered: dict[str, str]) -> None:
    for name, text in rendered.items():
        _, _, options = text.partition("\nOPTIONS\n")
        options, _, _ = options.partition("\nEXIT STATUS\n")
        assert not re.findall(r"^ {5,7}--[a-z-]+(?: [A-Z[]\S*)?\n\n", options, re.M), name


def test_pages_refer_to_pages_that_there_are(rendered: dict[str, str]) -> None:
    for name, text in rendered.items():
        referred = set(re.findall(r"\b(lockgate[a-z-]*)\(1\)", text.partition("\nDESCRIPTION\n")[2]))
        assert referred - {name}, name
        assert referred <= rendered.keys()


def test_pages_are_clean(made: Path) -> None:
    pages = [str(path) for path in sorted((made / "man").iterdir())]
    lint = subprocess.run(["mandoc", "-T", "lint", *pages], capture_output=True, text=True, check=False)
    assert (lint.stdout, lint.stderr) == ("", "")
    for page in pages:
        command = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page]  # as lintian has it
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        )
        assert (page, done.returncode, done.stderr) == (page, 0, "")


def test_whatis_finds_them(made: Path) -> None:
    pages = [str(path) for path in sorted((made / "man").iterdir())]
    lines = subprocess.run(["lexgrog", *pages], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [re.search(r': "(\S+) - ', line)[1] for line in lines] == [Path(page).stem for page in pages]  # type: ignore[index]


def test_two_runs_are_the_same_and_carry_the_day_they_are_told(made: Path, tmp_path: Path) -> None:
    assert make(tmp_path, TZ="Pacific/Auckland", PYTHONHASHSEED="7", LC_ALL="C", COLUMNS="40").returncode == 0
    first = {path.relative_to(made): path.read_bytes() for path in made.rglob("*") if path.is_file()}
    assert {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == first
    assert b"2025-11-28" in first[Path("man/lockgate.1")]
    assert make(tmp_path, SOURCE_DATE_EPOCH="0").returncode == 0
    assert b"1970-01-01" in (tmp_path / "man/lockgate.1").read_bytes()


@pytest.mark.parametrize(
    ("addition", "words"),
    [
        ("[exit_status_of.lockgate-fly]\n0 = 'It flew.'\n", "exit_status_of: there is no lockgate-fly"),
        ("[[examples.lockgate-swim]]\ntext = 'x'\ncommand = 'y'\n", "examples: there is no lockgate-swim"),
    ],
)
def test_what_is_said_of_a_command_that_is_gone_is_an_error(addition: str, words: str, tmp_path: Path) -> None:
    for name in ("make_docs.py", "man.toml"):
        shutil.copy(PACKAGING / name, tmp_path)
    with (tmp_path / "man.toml").open("a") as file:
        file.write(f"\n{addition}")
    done = make(tmp_path / "out", tmp_path)
    assert done.returncode == 1
    assert words in done.stderr
    assert not (tmp_path / "out").exists()


# --- what help texts become


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    from importlib import util

    spec = util.spec_from_file_location("make_docs", PACKAGING / "make_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules["make_docs"] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["make_docs"]
    return module


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("as `lockgate status` says", r"as \fBlockgate status\fR says"),
        ("see --since.", r"see \fB\-\-since\fR."),
        ("well-known", r"well\-known"),
        ("the statement ID of IDEA", r"the statement \fIID\fR of IDEA"),
        (r"a\b ^C ~ '\"'", r"a\eb \(haC \(ti '\e\(dq'"),
    ],
)
def test_markup(maker: ModuleType, text: str, markup: str) -> None:
    assert maker.prose(text, frozenset({"ID"})) == markup


def test_no_line_of_text_is_a_request(maker: ModuleType) -> None:
    roff = maker.Roff()
    roff.text(".so /etc/passwd")
    roff.text("'quoted' " + "x" * 75 + " .end")
    assert str(roff) == "\\&.so /etc/passwd\n\\&'quoted'\n" + "x" * 75 + "\n\\&.end\n"


# --- completion


def environment() -> dict[str, str]:
    """The program is found in PATH, as an installed one is."""
    return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}


def shell(command: list[str]) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(), timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def bash(made: Path, *words: str) -> list[str]:
    """What bash would offer for the last word; `compopt`, which has bash offer files, is noted."""
    script = """
        compopt() { local IFS=' '; echo "compopt $*"; }
        source "$0"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        eval "$(complete -p lockgate | sed 's/.*-F \\([^ ]*\\) .*/\\1/') lockgate"
        [ ${#COMPREPLY[@]} = 0 ] || printf '%s\\n' "${COMPREPLY[@]}"
    """
    return shell(["bash", "--norc", "-c", script, str(made / "completion/bash/lockgate"), *words])


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("lockgate", "pol"), ["policy"]),
        (("lockgate", "a"), ["agent", "approvals", "audit"]),
        (("lockgate", "policy", ""), ["check", "explain", "test"]),
        (("lockgate", "policy", "explain", "--est"), ["--estimated-rows"]),
        (("lockgate", "trace", "--agent-"), ["--agent-cgroup"]),
        (("lockgate", "audit", "search", "--verdict", "d"), ["deny"]),
        (("lockgate", "approvals", "list", "--state", ""), ["waiting", "approved", "denied", "expired", "cancelled"]),
        (("lockgate", "agent", "--config", "/etc/lock"), ["compopt -o default"]),
        (("lockgate", "ca", "install", "--anchors", "/usr"), ["compopt -o dirnames"]),
        (("lockgate", "exec", "--", "./"), ["compopt -o default"]),
    ],
)
def test_bash_completes(made: Path, words: tuple[str, ...], offered: list[str]) -> None:
    assert bash(made, *words) == offered


def test_every_option_with_a_file_completes_files(made: Path) -> None:
    configured = [name.split("-") for name, text in commands().items() if re.search(r"^  --config FILE", text, re.M)]
    assert len(configured) > 15
    for words in configured:
        assert bash(made, *words, "--config", "") == ["compopt -o default"], words


def test_zsh_completes(made: Path) -> None:
    script = """
        _describe() { print -rl -- $completions_with_descriptions }
        compadd() { print -rl -- $completions }
        compdef() { }
        source $0
        words=("$@") CURRENT=$#
        _lockgate_completion
    """
    place = str(made / "completion/zsh/_lockgate")
    assert Path(place).read_text().startswith("#compdef lockgate\n")
    (offered,) = shell(["zsh", "-fc", script, place, "lockgate", "pol"])
    assert offered == "policy:Check, test and explain the policies."
    (offered,) = shell(["zsh", "-fc", script, place, "lockgate", "policy", "explain", "--est"])
    assert offered.startswith("--estimated-rows:")


def test_fish_completes(made: Path, tmp_path: Path) -> None:
    place = made / "completion/fish/lockgate.fish"
    for line, offered in (("lockgate pol", "policy"), ("lockgate policy explain --est", "--estimated-rows")):
        command = f"source {place}; complete -C '{line}'"
        found = shell(["env", f"HOME={tmp_path}", "fish", "--no-config", "-c", command])
        assert [one.split("\t")[0] for one in found] == [offered]
