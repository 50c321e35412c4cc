"""The agent answers the server: transcripts of every kind of authentication, and of servers that can't be trusted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.wire.postgresql.authentication import Authentication, AuthenticationError, ChannelBinding
from lockgate.wire.postgresql.frames import frame, startup
from lockgate.wire.postgresql.scram import salted_password
from tests.support.playbook import (
    TERMINATE,
    Playbook,
    Split,
    authentication,
    error,
    notice,
    parameter,
    password,
    query,
    ready,
)

CLIENT = {"user": "ann", "database": "orders"}
PASSWORD = "s3cret-p\u00e4ss"
SALT = b"0123456789abcdef"
HASH = hashlib.sha256(b"certificate").digest()
"""Channel binding data: what the server's certificate hashes to."""

KEY = frame(b"K", b"\0\0\0\7abcd")
MECHANISMS = b"SCRAM-SHA-256\0\0"
BOTH = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"


class ALogin:
    """A credential; `later` makes the salted password take its time."""

    def __init__(
        self, channel_binding: ChannelBinding = "prefer", password: str | None = PASSWORD, *, later: bool = False
    ) -> None:
        self.user = "app"
        self.channel_binding: ChannelBinding = channel_binding
        self._password = password
        self._later = later
        self.verified = True
        self.asked: list[tuple[bytes, int]] = []
        self.refusals: list[tuple[str, str]] = []

    def password(self) -> str | None:
        return self._password

    def salted(self, salt: bytes, iterations: int) -> bytes | None:
        self.asked.append((salt, iterations))
        return None if self._later else salted_password(PASSWORD, salt, iterations)

    def refused(self, code: str, message: str) -> None:
        self.refusals.append((code, message))


class Server:
    """The server's side of SCRAM, which knows `password`."""

    def __init__(self, binding: bytes = b"", password: str = PASSWORD) -> None:
        self.binding = binding
        self.salted = salted_password(password, SALT, 4096)
        self.bare = self.challenge = b""

    def first(self, message: bytes) -> bytes:
        """SASLContinue in answer to the message body of a SASLInitialResponse."""
        mechanism, _, rest = message.partition(b"\0")
        data = rest[4:]
        assert struct.unpack("!i", rest[:4])[0] == len(data)
        self.mechanism = mechanism.decode()
        self.header, self.bare = data[: data.index(b"n=")], data[data.index(b"n=") :]
        self.nonce = self.bare.partition(b"r=")[2] + b"theirs"
        self.challenge = b"r=" + self.nonce + b",s=" + base64.b64encode(SALT) + b",i=4096"
        return self.challenge

    def final(self, message: bytes) -> bytes:
        """SASLFinal, once the proof is right."""
        unproven, _, proof = message.rpartition(b",p=")
        assert unproven == b"c=" + base64.b64encode(self.header + self.binding) + b",r=" + self.nonce
        text = b",".join((self.bare, self.challenge, unproven))
        key = hmac.digest(self.salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), text, "sha256")
        assert bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True)) == key
        return b"v=" + base64.b64encode(hmac.digest(hmac.digest(self.salted, b"Server Key", "sha256"), text, "sha256"))


def begun(split: Split, login: ALogin, binding: bytes | None = None, client: dict[str, str] | None = None) -> Playbook:
    play = Playbook(split=split).client(startup(client or CLIENT))
    play.session.connected(binding, login)
    database = (client or CLIENT).get("database") or (client or CLIENT)["user"]
    play.to_server(startup({**(client or CLIENT), "user": "app", "database": database}), typed=False)
    return play


def body(play: Playbook) -> bytes:
    """The body of the one password message that the server was sent."""
    sent = play.session.drain_server()
    assert sent[:1] == b"p"
    assert len(sent) == 1 + int.from_bytes(sent[1:5], "big")
    return sent[5:]


def let_in(play: Playbook) -> None:
    """The client is told of nothing but its success."""
    play.to_client()
    play.server(authentication(0), parameter("client_encoding", "UTF8"), KEY, ready())
    play.to_client(authentication(0), parameter("client_encoding", "UTF8"), KEY, ready())
    assert play.session.ready
    play.client(query("SELECT 1")).to_server(query("SELECT 1"))


def given_up(play: Playbook, why: str) -> None:
    """The connection has ended, the client was told why, and nothing was sent that should not have been."""
    assert play.session.closing
    sent = play.session.drain_server()
    (told,) = play.client_errors()
    assert why in told
    for secret in secrets_of(PASSWORD):
        assert secret not in sent + told.encode()
    assert "app" not in told


def secrets_of(text: str) -> list[bytes]:
    raw = text.encode()
    return [raw, base64.b64encode(raw), raw.hex().encode(), salted_password(text, SALT, 4096)]


# what a server may ask for


def test_nothing(split: Split) -> None:
    let_in(begun(split, ALogin()))


def test_nothing_of_a_credential_without_a_password(split: Split) -> None:
    let_in(begun(split, ALogin(password=None)))


def test_the_password_in_clear_inside_tls(split: Split) -> None:
    play = begun(split, ALogin(), HASH).server(authentication(3))
    play.to_server(password(PASSWORD.encode() + b"\0"))
    let_in(play)


def test_md5(split: Split) -> None:
    play = begun(split, ALogin()).server(authentication(5, b"salt"))
    inner = hashlib.md5(PASSWORD.encode() + b"app").hexdigest().encode()
    play.to_server(password(b"md5" + hashlib.md5(inner + b"salt").hexdigest().encode() + b"\0"))
    let_in(play)


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("binding", "wanted", "offered", "mechanism", "header"),
    [
        (None, "prefer", MECHANISMS, "SCRAM-SHA-256", b"n,,"),
        (None, "disable", MECHANISMS, "SCRAM-SHA-256", b"n,,"),
        (b"", "prefer", MECHANISMS, "SCRAM-SHA-256", b"n,,"),
        (b"", "prefer", BOTH, "SCRAM-SHA-256", b"n,,"),
        (HASH, "prefer", MECHANISMS, "SCRAM-SHA-256", b"y,,"),
        (HASH, "disable", BOTH, "SCRAM-SHA-256", b"n,,"),
        (HASH, "prefer", BOTH, "SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,"),
        (HASH, "require", BOTH, "SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,"),
        (HASH, "require", b"SCRAM-SHA-256-PLUS\0\0", "SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,"),
        (HASH, "prefer", b"OAUTHBEARER\0" + MECHANISMS, "SCRAM-SHA-256", b"y,,"),
    ],
)
def test_scram(
    split: Split, binding: bytes | None, wanted: ChannelBinding, offered: bytes, mechanism: str, header: bytes,
    later: bool,
) -> None:  # fmt: skip
    login = ALogin(wanted, later=later)
    play = begun(split, login, binding).server(authentication(10, offered))
    server = Server(HASH if mechanism.endswith("PLUS") else b"")
    challenge = server.first(body(play))
    assert (server.mechanism, server.header) == (mechanism, header)
    play.server(authentication(11, challenge))
    if later:
        play.to_server().to_client()
        play.session.salted(salted_password(PASSWORD, *login.asked[0]))
    play.server(authentication(12, server.final(body(play)))).to_server()
    assert login.asked == [(SALT, 4096)]
    let_in(play)


# the client meanwhile


def test_what_the_client_sends_early_waits_for_the_server(split: Split) -> None:
    play = begun(split, ALogin()).client(query("SELECT 1")).to_server()
    assert not play.gate.asked
    play.server(authentication(0), parameter("client_encoding", "UTF8"), ready()).to_server(query("SELECT 1"))


def test_a_password_nobody_asked_for_is_what_it_is_to_postgresql(split: Split) -> None:
    play = begun(split, ALogin()).client(password(b"mine\0")).server(authentication(0), ready()).to_server()
    assert play.session.closing
    assert play.client_errors()[0].startswith("08P01")


def test_a_client_that_goes_away_or_sends_too_much(split: Split) -> None:
    play = begun(split, ALogin())
    play.session.client_data(b"x" * 70_000)
    assert play.session.closing
    gone = begun(split, ALogin(later=True)).server(authentication(10, MECHANISMS))
    gone.server(authentication(11, Server().first(body(gone))))
    gone.session.client_gone()
    gone.session.salted(b"k" * 32)
    gone.to_server()


def test_goodbye_before_the_server_is_ready(split: Split) -> None:
    play = begun(split, ALogin()).client(TERMINATE).server(authentication(0), ready()).to_server(TERMINATE)
    assert play.session.closing


def test_a_client_that_names_no_database_means_the_one_called_like_it(split: Split) -> None:
    """Not the one called like the role that the agent uses."""
    let_in(begun(split, ALogin(), client={"user": "ann"}))
    let_in(begun(split, ALogin(), client={"user": "ann", "database": ""}))


# a server that says no


def test_a_role_that_is_refused_is_not_named_to_the_client(split: Split) -> None:
    for code in ("28P01", "28000"):
        login = ALogin()
        play = begun(split, login).server(error(code, 'password authentication failed for user "app"', "FATAL"))
        assert play.client_errors() == [
            f"{code} lockgate: the datastore refused the agent's credential (SQLSTATE {code})"
        ]
        assert login.refusals == [(code, 'password authentication failed for user "app"')]


def test_also_after_it_was_authenticated(split: Split) -> None:
    login = ALogin()
    play = begun(split, login).server(authentication(0), error("28000", 'role "app" is not permitted to log in'))
    assert "app" not in play.client_errors()[0]
    assert len(login.refusals) == 1


@pytest.mark.parametrize("code", ["57P03", "53300", "3D000"])
def test_whatever_else_is_wrong_is_said_in_its_words(split: Split, code: str) -> None:
    login = ALogin()
    refused = error(code, "the database system is starting up", "FATAL")
    begun(split, login).server(refused).to_client(refused)
    assert not login.refusals


def test_a_notice_while_authenticating_is_passed_on(split: Split) -> None:
    play = begun(split, ALogin()).server(notice("hello")).to_client(notice("hello"))
    let_in(play)


# a server that can't be trusted


def test_the_password_is_never_sent_in_clear_outside_verified_tls(split: Split) -> None:
    given_up(begun(split, ALogin()).server(authentication(3)), "in clear outside verified TLS")
    login = ALogin()
    login.verified = False
    for binding in (None, b"", HASH):
        given_up(begun(split, login, binding).server(authentication(3)), "in clear outside verified TLS")


@pytest.mark.parametrize(
    ("binding", "asked"),
    [
        (HASH, authentication(0)),
        (HASH, authentication(3)),
        (HASH, authentication(5, b"salt")),
        (HASH, authentication(10, MECHANISMS)),
        (None, authentication(10, MECHANISMS)),
        (b"", authentication(10, BOTH)),
        (None, authentication(0)),
    ],
    ids=["trust", "cleartext", "md5", "scram", "plain", "no data", "plain trust"],
)
def test_nobody_talks_us_out_of_channel_binding(split: Split, binding: bytes | None, asked: bytes) -> None:
    given_up(begun(split, ALogin("require"), binding).server(asked), "channel binding is required")


def test_an_offer_that_is_only_made_inside_tls(split: Split) -> None:
    given_up(begun(split, ALogin()).server(authentication(10, BOTH)), "outside TLS")


@pytest.mark.parametrize("kind", [2, 6, 7, 9, 99, 2**31])
def test_what_is_not_supported(split: Split, kind: int) -> None:
    asked = frame(b"R", struct.pack("!I", kind))
    given_up(begun(split, ALogin(), HASH).server(asked), "not supported")


@pytest.mark.parametrize("offered", [b"\0", b"", b"OAUTHBEARER\0\0", b"SCRAM-SHA-1\0\0", b"scram-sha-256\0\0"])
def test_mechanisms_nobody_knows(split: Split, offered: bytes) -> None:
    given_up(begun(split, ALogin(), HASH).server(authentication(10, offered)), "no kind of authentication")


@pytest.mark.parametrize("asked", [authentication(3), authentication(5, b"salt"), authentication(10, BOTH)])
def test_a_credential_without_a_password(split: Split, asked: bytes) -> None:
    given_up(begun(split, ALogin(password=None), HASH).server(asked), "the credential has none")


def in_exchange(split: Split, server: Server) -> Playbook:
    play = begun(split, ALogin()).server(authentication(10, MECHANISMS))
    return play.server(authentication(11, server.first(body(play))))


Cheat = Callable[[Playbook, Server], bytes]


@pytest.mark.parametrize(
    "cheat",
    [
        lambda play, server: authentication(0),
        lambda play, server: authentication(12, b"v=" + base64.b64encode(b"x" * 32)),
        lambda play, server: authentication(12, b"e=other-error"),
        lambda play, server: authentication(12),
        lambda play, server: authentication(11, server.challenge),
        lambda play, server: authentication(3),
        lambda play, server: authentication(5, b"salt"),
        lambda play, server: authentication(10, MECHANISMS),
    ],
    ids=["ok", "signature", "error", "empty", "challenge", "cleartext", "md5", "again"],
)
def test_a_server_that_did_not_prove_that_it_knows_the_password(split: Split, cheat: Cheat) -> None:
    server = Server()
    play = in_exchange(split, server)
    body(play)
    given_up(play.server(cheat(play, server), KEY, ready()), "")
    assert not play.gate.keys


def test_a_server_with_another_password_learns_nothing_and_is_not_believed(split: Split) -> None:
    server = Server(password="another")
    play = in_exchange(split, server)
    proof = body(play)
    for secret in secrets_of(PASSWORD):
        assert secret not in proof
    given_up(play.server(authentication(12, b"v=" + base64.b64encode(b"y" * 32))), "does not know the password")


@pytest.mark.parametrize(
    "said",
    [
        [authentication(11, b"r=x,s=AAAA,i=4096")],
        [authentication(12, b"v=AAAA")],
        [authentication(0, b"more")],
        [frame(b"R", b"\0\0\0")],
        [frame(b"R")],
        [authentication(5, b"saltsalt")],
        [authentication(5, b"salt"), authentication(5, b"salt")],
        [authentication(10, MECHANISMS), authentication(0)],
        [authentication(10, MECHANISMS), authentication(11, b"r=notours,s=AAAA,i=4096")],
        [authentication(0), authentication(0)],
        [ready()],
        [KEY],
        [parameter("client_encoding", "UTF8")],
    ],
)
def test_a_server_that_does_not_keep_to_the_order(split: Split, said: list[bytes]) -> None:
    play = begun(split, ALogin()).server(*said)
    assert play.session.closing
    assert len(play.client_errors()) == 1
    assert not play.gate.keys


def test_a_server_that_goes_on_while_the_password_is_being_salted(split: Split) -> None:
    for said in (authentication(0), authentication(12, b"v=AAAA"), authentication(11, b"r=")):
        play = begun(split, ALogin(later=True)).server(authentication(10, MECHANISMS))
        play.server(authentication(11, Server().first(body(play))), said)
        assert play.session.closing
        play.session.salted(b"k" * 32)
        play.to_server()


@given(st.lists(st.binary(max_size=40), max_size=4), st.sampled_from([None, b"", HASH]))
def test_nothing_a_server_says_lets_anybody_in_but_ok(payloads: list[bytes], binding: bytes | None) -> None:
    own = Authentication(ALogin(), binding)
    for payload in payloads:
        try:
            own.answer(payload)
        except AuthenticationError:
            break
    assert not own.accepted or payloads[:1] == [b"\0\0\0\0"] or payloads[0][3] in (3, 5)
