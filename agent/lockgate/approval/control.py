"""The agent's control socket: a process on this host asks for a token of its own, a signed decision, or the status.

One JSON object a line in, one out. Anybody may connect (mode 0666): what one gets is for oneself only, told by the
kernel (SO_PEERCRED), never by what is said.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import msgspec

from lockgate.approval.ask import socket_path
from lockgate.approval.grant import GRANT_SECONDS_MAX, GRANT_SECONDS_MIN
from lockgate.approval.hold import Comment, Digest, HoldId
from lockgate.approval.peer import Peer, PeerGone
from lockgate.identity.tokens import Approval, Granting, Revocation, Token, TokenIssuer
from lockgate.identity.workload import IdentityError
from lockgate.values.identity import Principal, Workload

LINE_BYTES = 16384
"""One request. The longest, a revocation-token, has a comment of up to 1000 characters."""
CONNECTIONS = 64
"""Callers at once; one of them takes milliseconds."""
IDLE_SECONDS = 5.0
"""How long a caller may take to ask."""

log = logging.getLogger(__name__)


class Identified(Protocol):
    """What `identify` tells of a caller; `lockgate.identity.cache.Identified` is one."""

    @property
    def workload(self) -> Workload: ...

    @property
    def principal(self) -> Principal: ...


class _Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="token", tag_field="op"):
    pass


class _ApprovalToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="approval-token", tag_field="op"):
    hold: HoldId
    digest: Digest
    decision: Literal["approve", "deny"]


class _GrantToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="grant-token", tag_field="op"):
    hold: HoldId
    fingerprint: Digest
    seconds: Annotated[int, msgspec.Meta(ge=GRANT_SECONDS_MIN, le=GRANT_SECONDS_MAX)]


class _RevocationToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="revocation-token", tag_field="op"):
    grant: HoldId
    comment: Comment = ""


class _Status(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="status", tag_field="op"):
    pass


_Wanted = _Token | _ApprovalToken | _GrantToken | _RevocationToken

_decode = msgspec.json.Decoder(_Wanted | _Status).decode


class ControlSocket:
    """`await start()`, then `await close()`.

    `identify(pid, uid, gid)` tells who a process is; it may raise IdentityError. `uid` and `gid` are those at
    connect(), and the workload it returns must have that uid. `status` gives what `lockgate status` shows: nothing in
    it may be secret. `note(event, detail)` records what this host's word was given for, where no record of a statement
    says it.
    """

    def __init__(
        self,
        run_dir: str | Path,
        issuer: TokenIssuer,
        identify: Callable[[int, int, int], Identified],
        status: Callable[[], dict[str, Any]],
        note: Callable[[str, str], None],
    ) -> None:
        self.path = socket_path(run_dir)
        self._issuer = issuer
        self._identify = identify
        self._status = status
        self._note = note
        self._callers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listens. Raises OSError; FileExistsError when another agent answers there."""
        listening = await asyncio.to_thread(_bind, self.path)
        self._server = await asyncio.start_unix_server(self._accept, sock=listening, limit=LINE_BYTES)

    async def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for caller in self._callers:
            caller.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)
        await self._server.wait_closed()
        self.path.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._callers) >= CONNECTIONS:
            writer.close()
            return
        caller = asyncio.create_task(self._serve(reader, writer))
        self._callers.add(caller)
        caller.add_done_callback(self._callers.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                line = await reader.readuntil(b"\n")
            writer.write(msgspec.json.encode(self._answer(line, writer.get_extra_info("socket"))) + b"\n")
            async with asyncio.timeout(IDLE_SECONDS):
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            log.info("control: a caller was closed: no request of one line of at most %d bytes", LINE_BYTES)
        except ConnectionError:
            log.info("control: a caller went away")
        finally:
            writer.close()

    def _answer(self, line: bytes, sock: socket.socket) -> dict[str, Any]:
        try:
            request = _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return {"error": "bad_request", "message": str(error)}
        if isinstance(request, _Status):
            return {"status": self._status()}
        try:
            with Peer(sock) as peer:
                found = self._identify(peer.pid, peer.uid, peer.gid)
                peer.check()
                if found.workload.uid != peer.uid:
                    raise IdentityError(f"pid {peer.pid} has changed its user")
                # root of a container that has this socket is not root of the host
                operator = peer.uid == 0 and found.workload.container is None
                return self._token(request, found, operator)
        except (PeerGone, IdentityError) as error:
            return {"error": "not_identified", "message": str(error)}

    def _token(self, request: _Wanted, found: Identified, operator: bool) -> dict[str, Any]:
        try:
            token = self._issue(request, found, operator)
        except ValueError as error:
            return {"error": "not_identified", "message": str(error)}
        claims = token.claims
        return {
            "token": token.text,
            "host": claims.host,
            "principal": claims.principal,
            "person": claims.person,
            "groups": claims.groups,
            "expires_at": claims.expires_at,
        }

    def _issue(self, request: _Wanted, found: Identified, operator: bool) -> Token:
        """Raises ValueError."""
        who = found.principal, found.workload
        match request:
            case _Token():
                return self._issuer.issue(*who, operator=operator)
            case _ApprovalToken():
                return self._issuer.issue_approval(*who, Approval(request.hold, request.digest, request.decision))
            case _GrantToken():
                return self._issuer.issue_grant(*who, Granting(request.hold, request.fingerprint), request.seconds)
            case _RevocationToken():
                token = self._issuer.issue_revocation(*who, Revocation(request.grant))
                by = f"{found.principal.name} ({found.principal.person or 'no person'})"
                self._note("revoke", f"grant {request.grant} by {by}: {request.comment}")
                return token


def _bind(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()  # left behind by an agent that was killed
            else:
                raise FileExistsError(f"{path}: another agent listens there")
    elif os.path.lexists(path):
        raise FileExistsError(f"{path}: is in the way and is no socket")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
        os.chmod(path, 0o666)
        listening.listen(CONNECTIONS)
    except OSError:
        listening.close()
        raise
    return listening
