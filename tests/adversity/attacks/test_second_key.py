"""What an engineer may try with the second key: to turn it alone, to have it turned for something else."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

import yaml

from lockgate.approval.ask import socket_path
from tests.support.attacks import written
from tests.support.playbook import SYNC, bind, close, execute, parse
from tests.support.raw import Raw
from tests.support.stack import Stack, environment

HELD = "nobody of dba approved within 1 s"


def test_what_is_sent_while_something_waits_is_another_statement(stack: Stack) -> None:
    """The names of what was approved are made again behind it: that waits for an approval of its own."""
    with Raw(stack, "ann") as raw:
        raw.start()
        harmless, harm = "UPDATE slowly SET id = 1", "DELETE FROM scratch"
        raw.send(parse("s", harmless), bind("p", "s"), execute("p"), SYNC)
        raw.send(close("S", "s"), parse("s", harm), bind("p", "s"), execute("p"), SYNC)
        hold = waiting(stack, harmless)
        assert (
            stack.lockgate("approvals", "approve", hold, "--config", str(stack.agent_yaml), person="bob").returncode
            == 0
        )
        said = written(raw.until(times=2))
        assert re.search(rf"UPDATE 0.*{HELD}", said)
    assert stack.server.psql("SELECT count(*) FROM scratch") == "2\n"


def waiting(stack: Stack, text: str) -> str:
    """The id of the hold of this statement, once there is one."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for status in stack.json("approvals", "list", "--config", str(stack.agent_yaml), person="bob"):
            if status["hold"]["statement"] == text:
                return str(status["hold"]["id"])
    raise AssertionError("it is not held")


def test_a_token_of_another_kind_approves_nothing(stack: Stack) -> None:
    """Whoever speaks to the agent's socket and the collector's API gets tokens of their own, which are not enough."""
    running = subprocess.Popen(
        stack.psql_command("ann", "-c", "TRUNCATE scratch"), stderr=subprocess.PIPE, text=True, env=environment()
    )
    hold = waiting(stack, "TRUNCATE scratch")
    held = stack.json("approvals", "list", "--config", str(stack.agent_yaml), person="bob")
    digest = next(str(status["hold"]["digest"]) for status in held if status["hold"]["id"] == hold)
    api = yaml.safe_load(stack.agent_yaml.read_text())["collector"]["api"]
    ordinary = {"op": "token"}
    signed = {"op": "approval-token", "hold": hold, "digest": digest, "decision": "approve"}
    for person, asked, forge in (
        ("bob", ordinary, str),
        ("ann", signed, str),
        ("ann-laptop", signed, str),
        ("eve", signed, str),
        ("bob", signed | {"hold": "0" * 32}, str),
        ("bob", signed | {"digest": "0" * len(digest)}, str),
        ("bob", signed | {"decision": "deny"}, str),
        ("bob", signed, lambda text: text[:-8] + "AAAAAAAA"),
        ("ann", signed, lambda text: _without_signature(text)),
    ):
        token = forge(_ask(stack, person, asked))
        assert _post(f"{api}/v1/holds/{hold}/approve", token, digest) in (401, 403), (person, asked)
    assert running.poll() is None, "it waits on"
    right = _ask(stack, "bob", signed | {"decision": "deny"})
    assert _post(f"{api}/v1/holds/{hold}/deny", right, digest) == 200
    assert "denied by bob" in running.communicate(timeout=20)[1]
    assert _post(f"{api}/v1/holds/{hold}/approve", _ask(stack, "bob", signed), digest) == 409
    assert stack.server.psql("SELECT count(*) FROM scratch") == "2\n"


def _ask(stack: Stack, person: str, line: dict[str, str]) -> str:
    """The token that the agent's control socket gives to a process of that person."""
    code = """
import json, socket, sys
control = socket.socket(socket.AF_UNIX)
control.connect(sys.argv[1])
control.sendall(sys.argv[2].encode() + b"\\n")
print(json.loads(control.makefile().readline()).get("token", "a.b.c"))
"""
    run = subprocess.run(
        stack.command(person, [sys.executable, "-c", code, str(socket_path(stack.folder / "run")), json.dumps(line)]),
        capture_output=True, text=True, check=True, timeout=20, env=environment(), cwd="/",
    )  # fmt: skip
    return run.stdout.strip()


def _post(url: str, token: str, digest: str) -> int:
    request = urllib.request.Request(
        url,
        json.dumps({"digest": digest}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def _without_signature(text: str) -> str:
    """The same claims under `alg: none`, with bob in them."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims | {'sub': 'bob', 'person': 'bob', 'groups': ['dba']})}."
