"""The agent's half of the approval protocol: post a hold, wait for its end, believe nothing unsigned."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from lockgate.approval.hold import (
    COMMENT_CHARACTERS,
    Became,
    Decided,
    Hold,
    HoldState,
    Locks,
    NotAllowed,
    check_decision,
    check_grant,
)
from lockgate.identity.tokens import SKEW, InvalidToken, verify_approval, verify_grant
from lockgate.values.identity import Claims

if TYPE_CHECKING:
    import httpx

WAIT_SECONDS = 25.0
"""One long poll: below the 30 seconds after which proxies and firewalls begin to cut idle connections."""
TIMEOUT_SECONDS = 10.0
"""For an answer that is due at once."""
BACKOFF_SECONDS = (0.2, 5.0)
"""The first and the longest pause before the collector is asked again."""
ANSWER_BYTES = 16 * 1024 * 1024
"""The longest answer: it has the hold, of at most `collector.http.BODY_BYTES`, and what was said of it."""
CONNECTIONS = 1100
"""Each statement that waits has one: `limits.held_statements` and some to spare."""

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not the JSON they should be."""

Outcome = Literal["approved", "denied", "expired", "cancelled"]


class ApprovalError(Exception):
    """The hold can't be answered, or its answer can't be believed: the statement is refused. Says why."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a hold ended. `approver`, `token` (its text) and `comment` are set when a person decided.

    `by_grant` is the grant that let it run, signed by `approver` when it was made; `granted` the one made with the
    decision.
    """

    outcome: Outcome
    approver: Claims | None = None
    token: str | None = None
    comment: str = ""
    by_grant: str | None = None
    granted: str | None = None


class _KeyAnswer(msgspec.Struct, frozen=True):
    jwks: dict[str, object]
    trusted: bool


class _Unreachable(Exception):
    """No answer, or none that says anything of the hold: ask again."""


class _Refused(Exception):
    """The collector says no; `code` is its word for why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Problem(msgspec.Struct, frozen=True):
    error: str = ""
    message: str = ""


class ApprovalClient:
    """`host_token` gives the text of a fresh token of the agent itself, `jwks` are this host's own public keys.

    Use it on one event loop and `await close()` it. httpx is loaded with the first call, so that an idle agent stays
    small.
    """

    def __init__(
        self,
        api_url: str,
        host: str,
        jwks: Mapping[str, object],
        host_token: Callable[[], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = api_url.rstrip("/")
        self._host = host
        self._jwks = jwks
        self._host_token = host_token
        self._clock = clock
        self._http: httpx.AsyncClient | None = None

    async def publish_key(self) -> None:
        """Shows this host's key to the collector. Raises ApprovalError: it is away, or pinned another key."""
        try:
            await self._publish()
        except _Unreachable as error:
            raise ApprovalError(f"the collector does not answer: {error}") from error
        except _Refused as error:
            raise ApprovalError(f"the collector does not take the key of this host: {error}") from error

    async def hold(self, hold: Hold, looked: Callable[[], None] = lambda: None) -> Resolution:
        """Waits until `hold` is decided, cancelled or expired; at most until `hold.expires`. `looked` is called when
        the collector has it, and then whenever somebody looks at it.

        A collector that is away is asked again until then. Raises ApprovalError when the collector refuses the hold
        or its answer doesn't verify. When the task is cancelled the hold is left as it is: call `cancel`.
        """
        pause = BACKOFF_SECONDS[0]
        posted = False
        seen = -1.0
        try:
            async with asyncio.timeout(max(0.0, hold.expires - self._clock())):
                while True:
                    try:
                        if posted:
                            path, wait = f"/v1/holds/{hold.id}?wait={WAIT_SECONDS}&seen={seen!r}", WAIT_SECONDS
                            state = await self._state("GET", path, None, wait)
                        else:
                            state = await self._post(hold)
                            posted = True
                        pause = BACKOFF_SECONDS[0]
                    except _Unreachable:
                        # half of the pause by chance: a thousand statements don't come back in the same moment
                        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                        pause = min(pause * 2, BACKOFF_SECONDS[1])
                        continue
                    except _Refused as error:
                        if posted and error.code in ("no_such_hold", "unknown_host"):
                            # a collector that lost its store: the statement still waits here, so it is told again
                            posted = False
                            await asyncio.sleep(pause)
                            continue
                        raise ApprovalError(f"the collector refused: {error}") from error
                    if state.state != "waiting":
                        return await self._resolve(hold, state)
                    if state.looked > seen:
                        seen = state.looked
                        looked()
        except TimeoutError:
            return Resolution("expired")

    async def cancel(self, hold_id: str) -> None:
        """Tells the collector that nobody waits any more. Raises ApprovalError when it can't be told."""
        try:
            await self._request("POST", f"/v1/holds/{hold_id}/cancel", b"{}", TIMEOUT_SECONDS)
        except (_Unreachable, _Refused) as error:
            raise ApprovalError(f"the hold could not be cancelled: {error}") from error

    async def tell_locks(self, hold_id: str, locks: Locks) -> None:
        """Tells the collector what a statement that waits keeps locked. Raises ApprovalError when it can't be told."""
        await self._tell(f"/v1/holds/{hold_id}/locks", locks)

    async def tell_became(self, hold_id: str, refused: str | None) -> None:
        """Tells the collector what became of an approval: None when the statement was released, or why not. Raises
        ApprovalError when it can't be told."""
        outcome: Literal["released", "refused"] = "released" if refused is None else "refused"
        reason = (refused or "")[:COMMENT_CHARACTERS]
        await self._tell(f"/v1/holds/{hold_id}/became", Became(outcome=outcome, at=self._clock(), reason=reason))

    async def _tell(self, path: str, word: Locks | Became) -> None:
        try:
            await self._request("POST", path, msgspec.json.encode(word), TIMEOUT_SECONDS)
        except (_Unreachable, _Refused) as error:
            raise ApprovalError(f"the collector could not be told of a hold: {error}") from error

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def _post(self, hold: Hold) -> HoldState:
        body = msgspec.json.encode(hold)
        try:
            return await self._state("POST", "/v1/holds", body, 0.0)
        except _Refused as error:
            if error.code != "unknown_host":
                raise
            await self._publish()
            return await self._state("POST", "/v1/holds", body, 0.0)

    async def _publish(self) -> None:
        body = msgspec.json.encode(self._jwks)
        await self._request("PUT", f"/v1/hosts/{self._host}/key", body, TIMEOUT_SECONDS)

    async def _resolve(self, hold: Hold, state: HoldState) -> Resolution:
        """What the state means here. The collector's word alone opens nothing: the approver's signature does."""
        if state.state in ("expired", "cancelled"):
            return Resolution("expired" if state.state == "expired" else "cancelled")
        decided = state.decided
        if decided is None or decided.token is None or decided.outcome != state.state:
            raise ApprovalError(f"the collector says {state.state}, but not who decided")
        verify = self._verify if decided.by_grant is None else self._verify_grant
        claims = await verify(hold, decided, decided.token)
        return Resolution(decided.outcome, claims, decided.token, decided.comment, decided.by_grant, decided.granted)

    async def _verify(self, hold: Hold, decided: Decided, token: str) -> Claims:
        jwks = await self._key(decided.host)
        # the decision may have been taken when the collector was away from us: the token counts as of that moment,
        # and that moment has to lie within the hold
        moment = min(decided.decided, self._clock())
        if moment < hold.created - SKEW:
            raise ApprovalError("the decision is older than the hold")
        try:
            claims, approval = verify_approval(token, jwks, decided.host, clock=lambda: moment)
            check_decision(hold, claims, approval, moment)
        except (InvalidToken, NotAllowed) as error:
            raise ApprovalError(f"the decision on the hold is not valid: {error}") from error
        if {"approve": "approved", "deny": "denied"}[approval.decision] != decided.outcome:
            raise ApprovalError("the approver signed the opposite of what the collector says")
        return claims

    async def _verify_grant(self, hold: Hold, decided: Decided, token: str) -> Claims:
        """A grant counts as of now, by this host's clock, whatever the collector says of when."""
        jwks = await self._key(decided.host)
        try:
            claims, granting = verify_grant(token, jwks, decided.host, clock=self._clock)
            check_grant(hold, claims, granting, self._clock())
        except (InvalidToken, NotAllowed) as error:
            raise ApprovalError(f"the grant is not valid: {error}") from error
        if decided.outcome != "approved" or decided.by_grant != claims.token:
            raise ApprovalError("the collector names another grant than the one that was signed")
        return claims

    async def _key(self, host: str) -> Mapping[str, object]:
        if host == self._host:
            return self._jwks
        try:
            answer = await self._request("GET", f"/v1/hosts/{host}/key", None, TIMEOUT_SECONDS)
            found = msgspec.json.decode(answer, type=_KeyAnswer)
        except (_Unreachable, _Refused, *UNREADABLE) as error:
            raise ApprovalError(f"the key of the approver's host {host!r} can't be had: {error}") from error
        if not found.trusted:
            raise ApprovalError(f"the approver's host {host!r} is not named in the collector's configuration")
        return found.jwks

    async def _state(self, method: str, path: str, body: bytes | None, wait: float) -> HoldState:
        answer = await self._request(method, path, body, wait + TIMEOUT_SECONDS)
        try:
            return msgspec.json.decode(answer, type=HoldState)
        except UNREADABLE as error:
            raise ApprovalError(f"the collector's answer can't be read: {error}") from error

    async def _request(self, method: str, path: str, body: bytes | None, timeout: float) -> bytes:
        """The body of a good answer, had within `timeout` seconds. Raises _Refused for a 4xx but 429, _Unreachable for
        anything else.
        """
        import httpx

        if self._http is None:
            # what stands in the environment must not send holds through somebody's proxy
            limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=10)
            self._http = httpx.AsyncClient(base_url=self._url, trust_env=False, limits=limits)
        headers = {"Authorization": f"Bearer {self._host_token()}", "Content-Type": "application/json"}
        answer = bytearray()
        try:
            # of the whole: httpx's own timeouts begin anew with every byte
            async with (
                asyncio.timeout(timeout),
                self._http.stream(method, path, content=body, headers=headers, timeout=timeout) as response,
            ):
                async for piece in response.aiter_bytes():
                    answer += piece
                    if len(answer) > ANSWER_BYTES:
                        raise _Unreachable(f"an answer of more than {ANSWER_BYTES} bytes")
        except (httpx.RequestError, TimeoutError) as error:
            raise _Unreachable(str(error) or type(error).__name__) from error
        if response.is_success:
            return bytes(answer)
        problem = _problem(bytes(answer))
        if response.is_client_error and response.status_code != 429:
            raise _Refused(problem.error, problem.message or f"status {response.status_code}")
        raise _Unreachable(problem.message or f"status {response.status_code}")


def _problem(body: bytes) -> _Problem:
    try:
        return msgspec.json.decode(body, type=_Problem)
    except UNREADABLE:
        return _Problem()  # not the collector's own words: a proxy between, say
