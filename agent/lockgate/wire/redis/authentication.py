"""Who is upstream, in which database and which version of RESP: AUTH, HELLO, SELECT, RESET.

Each of them changes how what comes behind is judged or read, so that waits for the answer. Where the agent has a
credential of its own (`Login`), it authenticates before anything else and again behind RESET, and the client's is
swallowed: AUTH is answered as a server does that takes it, HELLO is sent without it.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from lockgate.wire.gate import ProtocolError, Refusal, Run, Why
from lockgate.wire.redis import errors, frames
from lockgate.wire.redis._resp import encode_command
from lockgate.wire.redis.conversation import Awaited, Conversation
from lockgate.wire.redis.gate import Login

if TYPE_CHECKING:
    from lockgate.wire.redis.commands import Commands

DEFAULT: Final = "default"
"""The user of a connection that nobody has authenticated."""


_NAMED: Final = re.compile(rb"[!-~]*")
"""Names that a client may have (networking.c, `validateClientName`)."""


class AuthenticationError(Exception):
    """The server did not take the agent's credential. `refusal` is what the client is told."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class LoggingIn(Awaited):
    """The agent's own AUTH: the client hears nothing of it."""

    __slots__ = ("_login",)

    def __init__(self, login: Login) -> None:
        super().__init__()
        self._login = login

    def take(self, conversation: Conversation, reply: bytes) -> bytes:
        if reply == frames.OK:
            conversation.ready = True
            conversation.gate.became(user=self._login.user or DEFAULT)
            return b""
        text = errors.text_of(reply)
        if text is None:
            raise ProtocolError("the server answered AUTH with something else")
        self._login.refused()
        # the first word only: what else it says could quote anything
        why = f"lockgate: the datastore did not take the agent's credential ({errors.code_of(text)})"
        raise AuthenticationError(Refusal(Why.NO_ROLE, why))


class Authenticating(Awaited):
    """The client's AUTH."""

    __slots__ = ("_user",)

    def __init__(self, user: str, run: Run) -> None:
        super().__init__(run)
        self._user = user

    def take(self, conversation: Conversation, reply: bytes) -> bytes:
        if reply == frames.OK:
            conversation.gate.became(user=self._user)
        elif errors.text_of(reply) is None:
            raise ProtocolError("the server answered AUTH with something else")
        return reply


class Greeting(Awaited):
    """HELLO: its answer comes in the version that is spoken from there on. `user` is whom it authenticates."""

    __slots__ = ("_user",)

    def __init__(self, user: str | None, run: Run) -> None:
        super().__init__(run)
        self._user = user

    def take(self, conversation: Conversation, reply: bytes) -> bytes:
        if errors.text_of(reply) is None:
            resp = {b"%": 3, b"*": 2}.get(reply[:1])
            if resp is None:
                raise ProtocolError("the server answered HELLO with something else")
            conversation.resp = resp
            conversation.weigh()
            if self._user is not None:
                conversation.gate.became(user=self._user)
        return reply


class Selecting(Awaited):
    """SELECT."""

    __slots__ = ("_database",)

    def __init__(self, database: int | None, run: Run) -> None:
        super().__init__(run)
        self._database = database

    def take(self, conversation: Conversation, reply: bytes) -> bytes:
        if reply == frames.OK and self._database is not None:
            conversation.gate.became(database=self._database)
        elif errors.text_of(reply) is None:
            raise ProtocolError("the server answered SELECT with something else")
        return reply


class Resetting(Awaited):
    """RESET: the connection is as new, whatever it was (networking.c, `resetCommand`)."""

    __slots__ = ()

    def take(self, conversation: Conversation, reply: bytes) -> bytes:
        if reply != frames.RESET:
            if errors.text_of(reply) is None:
                raise ProtocolError("the server answered RESET with something else")
            return reply
        conversation.resp = 2
        conversation.queue = None
        conversation.aborted = conversation.watching = conversation.monitoring = False
        conversation.monitor = conversation.tracking = None
        conversation.subscriptions.clear()
        conversation.weigh()
        conversation.gate.became(user=DEFAULT, database=0)
        if conversation.login is not None:
            log_in(conversation, conversation.login)
        return reply


def log_in(conversation: Conversation, login: Login) -> None:
    """The agent authenticates; what the client wants waits."""
    name = () if login.user is None else (login.user.encode(),)
    command = encode_command((b"AUTH", *name, login.password.reveal().encode()))
    conversation.send(command, LoggingIn(login), barrier=True)


# what the client sends


def auth(commands: Commands, args: tuple[bytes, ...]) -> None:
    conversation = commands.conversation
    if len(args) < 2:
        commands.refuse("wrong number of arguments for 'auth' command")
    elif len(args) > 3:
        commands.refuse("syntax error")
    elif conversation.queue is not None:
        commands.refuse("lockgate: AUTH is refused inside MULTI")
    elif conversation.login is not None:
        conversation.say(frames.OK)
    elif (user := _name(args[1]) if len(args) == 3 else DEFAULT) is None:
        commands.refuse("lockgate: the name of the user is not UTF-8")
    else:
        commands.ask(args, partial(Authenticating, user), barrier=True)


def hello(commands: Commands, args: tuple[bytes, ...]) -> None:
    conversation = commands.conversation
    if conversation.queue is not None:
        commands.refuse("lockgate: HELLO is refused inside MULTI")
        return
    rest, user, at = list(args[:2]), None, 2
    while at < len(args):
        # options are compared as C strings: what stands behind a NUL is nothing to the server
        option, left = args[at].partition(b"\0")[0].upper(), len(args) - at - 1
        if option == b"AUTH" and left >= 2:
            if user is not None:
                commands.refuse("lockgate: HELLO with AUTH twice is refused")
                return
            user, taken = args[at + 1], 3
        elif option == b"SETNAME" and left:
            if not _NAMED.fullmatch(args[at + 1]):
                # the server authenticates before it comes to this, and stays so
                commands.refuse("Client names cannot contain spaces, newlines or special characters.")
                return
            taken = 2
        else:
            shown = args[at].decode("ascii", "replace")
            commands.refuse(f"Syntax error in HELLO option '{shown[:64]}'")
            return
        if option != b"AUTH" or conversation.login is None:
            rest += (option, *args[at + 1 : at + taken])
        at += taken
    name = None if user is None or conversation.login is not None else _name(user)
    if name is None and user is not None and conversation.login is None:
        commands.refuse("lockgate: the name of the user is not UTF-8")
        return
    commands.ask(tuple(rest), partial(Greeting, name), barrier=True)


def select(commands: Commands, args: tuple[bytes, ...]) -> None:
    if commands.conversation.queue is not None:
        commands.refuse("lockgate: SELECT is refused inside MULTI")
        return
    database = frames.integer(args[1]) if len(args) == 2 else None
    commands.ask(args, partial(Selecting, database), barrier=True)


def reset(commands: Commands, args: tuple[bytes, ...]) -> None:
    if len(args) != 1:
        commands.refuse("wrong number of arguments for 'reset' command")
    else:
        commands.ask(args, Resetting, barrier=True)


def _name(user: bytes) -> str | None:
    try:
        return user.decode()
    except UnicodeDecodeError:
        return None
