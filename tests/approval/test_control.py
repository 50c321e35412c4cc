"""The control socket, asked by real processes: one gets what is one's own, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.approval.ask import AgentAway, AgentRefused, ask
from lockgate.approval.control import LINE_BYTES, ControlSocket
from lockgate.identity.keys import HostKey
from lockgate.identity.tokens import (
    OPERATOR_GROUP,
    Granting,
    InvalidToken,
    Revocation,
    TokenIssuer,
    verify_approval,
    verify_grant,
    verify_revocation,
)
from lockgate.identity.workload import ProcessGone
from lockgate.values.identity import Principal, Workload

ANN = Principal("ann", "ann", ("dba",))
HOLD, DIGEST = "hold-0001", "d" * 64


@dataclass
class Who:
    """As lockgate.identity.cache.Identified."""

    workload: Workload
    principal: Principal


class Scene:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = HostKey(Ed25519PrivateKey.generate())
        self.issuer = TokenIssuer(self.key, "host-1")
        self.asked: list[tuple[int, int, int]] = []
        self.notes: list[tuple[str, str]] = []
        self.answer: Callable[[int, int, int], Who] = self.usual
        self.control = self.another()

    def usual(self, pid: int, uid: int, gid: int) -> Who:
        return Who(Workload(pid, 1, 1, "/usr/bin/psql", (), uid, "ann", "/"), ANN)

    def identify(self, pid: int, uid: int, gid: int) -> Who:
        self.asked.append((pid, uid, gid))
        return self.answer(pid, uid, gid)

    def another(self) -> ControlSocket:
        return ControlSocket(self.folder, self.issuer, self.identify, lambda: {"state": "ready"}, self.note)

    def note(self, event: str, detail: str) -> None:
        self.notes.append((event, detail))

    async def ask(self, op: str, **fields: str | int) -> dict[str, Any]:
        return await asyncio.to_thread(ask, self.folder, op, **fields)


def play(folder: Path, use: Callable[[Scene], Awaitable[None]], loop: Any = asyncio) -> None:
    async def run() -> None:
        scene = Scene(folder)
        await scene.control.start()
        try:
            async with asyncio.timeout(20):
                await use(scene)
        finally:
            await scene.control.close()

    loop.run(run())


@pytest.mark.parametrize("loop", [asyncio, uvloop])
def test_a_caller_gets_a_token_of_its_own(tmp_path: Path, loop: Any) -> None:
    async def use(scene: Scene) -> None:
        scene.answer = lambda pid, uid, gid: replace_uid(scene.usual(pid, uid, gid), uid)
        found = await scene.ask("token")
        claims = scene.issuer.verify(found["token"])
        assert (claims.principal, claims.person, claims.host) == ("ann", "ann", "host-1")
        assert (found["principal"], found["person"], found["expires_at"]) == ("ann", "ann", claims.expires_at)
        assert (OPERATOR_GROUP in claims.groups) == (os.getuid() == 0)
        assert scene.asked == [(os.getpid(), os.getuid(), os.getgid())]

    play(tmp_path, use, loop)


def replace_uid(who: Who, uid: int) -> Who:
    return Who(replace(who.workload, uid=uid), who.principal)


def test_a_decision_is_signed_for_one_hold(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        found = await scene.ask("approval-token", hold=HOLD, digest=DIGEST, decision="deny")
        claims, approval = verify_approval(found["token"], scene.key.jwks(), "host-1")
        assert (claims.person, approval.hold, approval.digest, approval.decision) == ("ann", HOLD, DIGEST, "deny")
        # root's command line decides as the person it is, not as the operator
        assert OPERATOR_GROUP not in claims.groups
        with pytest.raises(InvalidToken):
            scene.issuer.verify(found["token"])

    play(tmp_path, use)


def test_a_grant_is_signed_for_one_fingerprint_and_so_many_seconds(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        found = await scene.ask("grant-token", hold=HOLD, fingerprint=DIGEST, seconds=7200)
        claims, granting = verify_grant(found["token"], scene.key.jwks(), "host-1")
        assert (claims.person, granting) == ("ann", Granting(HOLD, DIGEST))
        assert claims.expires_at - claims.issued_at == 7200
        for seconds in (59, 24 * 3600 + 1, -1, 10**30):
            with pytest.raises(AgentRefused):
                await scene.ask("grant-token", hold=HOLD, fingerprint=DIGEST, seconds=seconds)

    play(tmp_path, use)


def test_a_revocation_is_recorded_when_it_is_signed(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        found = await scene.ask("revocation-token", grant=HOLD, comment="the incident is over")
        claims, revocation = verify_revocation(found["token"], scene.key.jwks(), "host-1")
        assert (claims.person, revocation) == ("ann", Revocation(HOLD))
        assert scene.notes == [("revoke", f"grant {HOLD} by ann (ann): the incident is over")]

    play(tmp_path, use)


def test_the_longest_comment_fits(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        await scene.ask("revocation-token", grant=HOLD, comment="\x01" * 1000)
        assert len(scene.notes) == 1

    play(tmp_path, use)


def test_the_status_is_for_everybody(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        assert await scene.ask("status") == {"status": {"state": "ready"}}
        assert stat.S_IMODE(os.stat(tmp_path / "agent.sock").st_mode) == 0o666
        assert scene.asked == []

    play(tmp_path, use)


def test_who_can_not_be_told_gets_nothing(tmp_path: Path) -> None:
    def gone(pid: int, uid: int, gid: int) -> Who:
        raise ProcessGone(f"pid {pid} has ended")

    async def use(scene: Scene) -> None:
        scene.answer = gone
        with pytest.raises(AgentRefused, match="has ended"):
            await scene.ask("token")
        scene.answer = lambda pid, uid, gid: replace_uid(scene.usual(pid, uid, gid), uid + 1)
        with pytest.raises(AgentRefused, match="changed its user"):
            await scene.ask("token")
        scene.answer = lambda pid, uid, gid: Who(scene.usual(pid, uid, gid).workload, Principal("host:x", None, ()))
        with pytest.raises(AgentRefused, match="own"):
            await scene.ask("token")

    play(tmp_path, use)


def test_root_of_a_container_is_no_operator(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        def contained(pid: int, uid: int, gid: int) -> Who:
            found = scene.usual(pid, uid, gid)
            return Who(replace(found.workload, container="c" * 64), found.principal)

        scene.answer = contained
        found = await scene.ask("token")
        assert OPERATOR_GROUP not in found["groups"]

    play(tmp_path, use)


def test_a_caller_that_ended_before_it_was_looked_at_gets_nothing(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        # a child connects and ends; its parent, who has the socket too, asks in its name
        with socket.socket(socket.AF_UNIX) as sock:
            child = os.fork()
            if not child:
                sock.connect(str(tmp_path / "agent.sock"))
                os._exit(0)
            await asyncio.to_thread(os.waitpid, child, 0)
            sock.sendall(b'{"op":"token"}\n')
            sock.setblocking(False)
            answer = await asyncio.get_running_loop().sock_recv(sock, 4096)
        assert b"not_identified" in answer
        assert b'"token"' not in answer

    play(tmp_path, use)


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b'{"op":"root"}',
        b'{"op":"token","uid":0}',
        b'{"op":"approval-token"}',
        b'{"op":"approval-token","hold":"x","digest":"d","decision":"approve"}',
        b'{"op":"approval-token","hold":"hold-0001","digest":"' + b"d" * 64 + b'","decision":"maybe"}',
        b"[" * 2000,
        b"\xff",
        b"token",
    ],
)
def test_anything_else_is_refused(tmp_path: Path, line: bytes) -> None:
    async def use(scene: Scene) -> None:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "agent.sock"))
        writer.write(line + b"\n")
        assert b'"error":"bad_request"' in await reader.read()
        writer.close()
        await writer.wait_closed()
        assert scene.asked == []

    play(tmp_path, use)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=6))
def test_garbage_never_stops_it(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    async def use(scene: Scene) -> None:
        for line in lines:
            reader, writer = await asyncio.open_unix_connection(str(scene.folder / "agent.sock"))
            writer.write(line)
            writer.write_eof()
            await reader.read()
            writer.close()
            await writer.wait_closed()
        assert (await scene.ask("status"))["status"]

    play(tmp_path_factory.mktemp("run"), use)


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "agent.sock"))
        writer.write(b"x" * LINE_BYTES * 3)
        # what was not read of the line may turn the end into a reset
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        assert await scene.ask("status")

    play(tmp_path, use)


def test_what_is_in_the_way_is_said_or_taken_over(tmp_path: Path) -> None:
    async def use(scene: Scene) -> None:
        with pytest.raises(FileExistsError, match="another agent"):
            await scene.another().start()
        assert await scene.ask("status")

    play(tmp_path, use)
    assert not (tmp_path / "agent.sock").exists()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "agent.sock"))

    async def status(scene: Scene) -> None:
        assert await scene.ask("status")

    play(tmp_path, status)
    (tmp_path / "agent.sock").write_text("a file")
    with pytest.raises(FileExistsError, match="no socket"):
        play(tmp_path, status)


def test_an_agent_that_is_away_is_said(tmp_path: Path) -> None:
    with pytest.raises(AgentAway, match=r"agent\.sock: the agent does not answer"):
        ask(tmp_path, "status")
