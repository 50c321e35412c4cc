from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.masking import MaskerError, RootKey, Unmaskable
from lockgate.masking.replies import KeyMask, NameMask, ReplyMasker, key_masks, plan_exec, plan_reply
from lockgate.values.command import Call, KeyUse
from lockgate.values.selector import Whole, parse_name
from lockgate.values.statement import Effect
from tests.masking.replies.server import Client, as_bytes, parsed

KEYS = RootKey(bytes(32)).keys("cache")
WHOLE = NameMask(parse_name("secret:*"), "redact")
DETECTORS = {"email": "partial", "card": "redact"}
MAIL = b"ann@example.org"


def named(*args: str, keys: tuple[int, ...] = (1,)) -> Call:
    sent = as_bytes(args)
    uses = tuple(KeyUse(sent[place], place, frozenset({Effect.READ}), True) for place in keys)
    return Call(args[0], sent, uses)


def planned(call: Call, *masks: NameMask, detectors: dict[str, str] | None = None) -> ReplyMasker | None:
    return plan_reply(call, key_masks(call, masks), elsewhere=masks, keys=KEYS, detectors=detectors or {})


def detecting(call: Call, *masks: NameMask) -> ReplyMasker:
    found = planned(call, *masks, detectors=DETECTORS)
    assert found is not None
    return found


GET = named("GET", "plain:1")
SECRET = named("GET", "secret:1")


def test_where_nothing_is_masked_there_is_no_plan() -> None:
    assert planned(GET) is None
    assert planned(GET, WHOLE) is None
    assert planned(Call("MONITOR", (b"MONITOR",))) is None
    assert planned(Call("SCAN", (b"SCAN", b"0")), detectors=DETECTORS) is None


def test_masks_are_found_by_the_patterns_of_keys() -> None:
    call = named("MGET", "secret:1", "plain:1", "secret:2", keys=(1, 2, 3))
    assert key_masks(call, [WHOLE]) == (KeyMask(1, Whole(), "redact"), KeyMask(3, Whole(), "redact"))


def test_what_there_is_no_masker_or_detector_of_is_an_error() -> None:
    with pytest.raises(MaskerError):
        planned(SECRET, NameMask(parse_name("secret:*"), "blur"))
    with pytest.raises(ValueError, match="is not detected"):
        planned(GET, detectors={"name": "redact"})


def test_the_strictest_of_all_masks_of_a_key_counts() -> None:
    masks = [NameMask(parse_name("secret:*"), "partial"), NameMask(parse_name("*:1"), "redact")]
    masks.append(NameMask(parse_name("secret:*#$.a"), "null"))
    found = planned(SECRET, *masks)
    assert found is not None
    assert found.mask(b"$10\r\ns3cret-one\r\n") == (b"$-1\r\n", 1, {})
    less = planned(SECRET, *masks[:2])
    assert less is not None
    assert less.mask(b"$10\r\ns3cret-one\r\n") == (b"$3\r\n***\r\n", 1, {})


def test_a_reply_of_another_shape_is_withheld() -> None:
    found = planned(SECRET, WHOLE)
    assert found is not None
    for reply in (b"*1\r\n*1\r\n$6\r\ns3cret\r\n", b"$6\r\ns3cre\r\n", b"", b"$6\r\ns3cret\r\n+OK\r\n"):
        with pytest.raises(Unmaskable) as withheld:
            found.mask(reply)
        assert "s3cret" not in str(withheld.value)
    for call, reply in (
        (named("HGETALL", "secret:1"), b"*1\r\n$6\r\ns3cret\r\n"),
        (named("HGETALL", "secret:1"), b"$6\r\ns3cret\r\n"),
        (named("MGET", "secret:1"), b"*2\r\n$6\r\ns3cret\r\n$6\r\ns3cret\r\n"),
        (named("HMGET", "secret:1", "f"), b"*2\r\n$6\r\ns3cret\r\n$6\r\ns3cret\r\n"),
        (named("SET", "secret:1", "x"), b"$6\r\ns3cret\r\n"),
        (named("LLEN", "secret:1"), b"$6\r\ns3cret\r\n"),
        (named("XRANGE", "secret:1", "-", "+"), b"*1\r\n$6\r\ns3cret\r\n"),
        (named("XRANGE", "secret:1", "-", "+"), b"*1\r\n*2\r\n$6\r\ns3cret\r\n*0\r\n"),
        (named("XRANGE", "secret:1", "-", "+"), b"*1\r\n*3\r\n$3\r\n1-1\r\n*0\r\n*1\r\n$6\r\ns3cret\r\n"),
        (named("XCLAIM", "secret:1", "g", "c", "0", "1-1", "JUSTID"), b"*1\r\n$6\r\ns3cret\r\n"),
        (named("BLPOP", "secret:1", "0"), b"*2\r\n$6\r\nsecret\r\n$6\r\ns3cret\r\n"),
        (named("BZPOPMIN", "secret:1", "0"), b"*3\r\n$6\r\nsecret\r\n$6\r\ns3cret\r\n$1\r\n1\r\n"),
        (named("XREAD", "STREAMS", "secret:1", "0", keys=(2,)), b"*1\r\n*2\r\n$1\r\nx\r\n*0\r\n"),
        (named("ZRANGE", "secret:1", "0", "1", "WITHSCORES"), b"*1\r\n$6\r\ns3cret\r\n"),
        (named("ZRANGE", "secret:1", "0", "1", "WITHSCORES"), b"*1\r\n*1\r\n$6\r\ns3cret\r\n"),
        (named("INCR", "secret:1"), b"*1\r\n:7777\r\n"),
        (named("LINDEX", "secret:1", "0"), b"*1\r\n*1\r\n:7777\r\n"),
    ):
        found = planned(call, WHOLE)
        assert found is not None
        with pytest.raises(Unmaskable):
            found.mask(reply)


def test_a_value_in_any_type_is_masked_in_its_type() -> None:
    found = planned(SECRET, WHOLE)
    assert found is not None
    for reply, expected in (
        (b"$6\r\ns3cret\r\n", b"$3\r\n***\r\n"),
        (b"+s3cret\r\n", b"+***\r\n"),
        (b"=10\r\ntxt:s3cret\r\n", b"=7\r\ntxt:***\r\n"),
        (b"$?\r\n;3\r\ns3c\r\n;3\r\nret\r\n;0\r\n", b"$3\r\n***\r\n"),
        (b":7777\r\n", b":0\r\n"),
        (b",77.77\r\n", b",0\r\n"),
        (b"(7777\r\n", b"(0\r\n"),
        (b"#t\r\n", b"#f\r\n"),
        (b"$-1\r\n", b"$-1\r\n"),
        (b"_\r\n", b"_\r\n"),
        (b"~1\r\n$6\r\ns3cret\r\n", b"~1\r\n$3\r\n***\r\n"),
        (b"*?\r\n$6\r\ns3cret\r\n.\r\n", b"*?\r\n$3\r\n***\r\n.\r\n"),
    ):
        assert found.mask(reply)[0] == expected
    withheld = found.mask(b"!10\r\nERR s3cret\r\n")[0]
    assert withheld.startswith(b"!")
    assert b"s3cret" not in withheld


def test_attributes_of_a_masked_reply_are_masked() -> None:
    found = planned(SECRET, WHOLE)
    assert found is not None
    reply = b"|1\r\n+s3cret\r\n*2\r\n$6\r\ns3cret\r\n,7777\r\n$6\r\ns3cret\r\n"
    assert found.mask(reply)[0] == b"|1\r\n+***\r\n*2\r\n$3\r\n***\r\n,0\r\n$3\r\n***\r\n"


def test_a_line_stays_a_line() -> None:
    found = planned(SECRET, NameMask(parse_name("secret:*"), "partial"))
    assert found is not None
    assert found.mask(b"+Annabel\r\n")[0] == b"+A******\r\n"


def test_exec_masks_each_reply_by_its_command(client: Client) -> None:
    client.ask("MSET", "secret:1", "s3cret", "plain:1", "open")
    client.ask("RPUSH", "secret:l", "s3cret")
    lines = ("GET secret:1", "GET plain:1", "LRANGE secret:l 0 -1", "INCR secret:1", "LPOP secret:1", "EXISTS secret:1")
    client.ask("MULTI")
    for line in lines:
        assert parsed(client.ask(*line.split())) == b"QUEUED"
    reply = client.ask("EXEC")
    found = plan_exec([planned(client.call(*line.split()), WHOLE) for line in lines])
    assert found is not None
    shown, cells, _ = found.mask(reply, resp3=client.resp3)
    one, two, three, four, five, six = parsed(shown)
    assert (one, two, three, six) == (b"***", b"open", [b"***"], 1)
    assert str(four).startswith("ERR value is not an integer")
    assert str(five).startswith("WRONGTYPE")
    assert cells == 2
    for aborted in (b"*-1\r\n", b"_\r\n", b"-EXECABORT Transaction discarded because of previous errors.\r\n"):
        assert found.mask(aborted)[0] == aborted
    with pytest.raises(Unmaskable, match="not as many"):
        found.mask(b"*1\r\n$6\r\ns3cret\r\n")
    assert plan_exec([None, None]) is None


def test_errors_of_an_exec_are_guarded_one_by_one() -> None:
    script = Call("EVAL", (b"EVAL", b"x", b"1", b"secret:1"), (KeyUse(b"secret:1", 3, frozenset(), True),), script="0")
    found = plan_exec([planned(script, WHOLE), planned(GET, WHOLE), planned(SECRET, WHOLE)])
    assert found is not None
    shown = found.mask(b"*3\r\n-NOGROUP s3cret\r\n-ERR told\r\n-NOGROUP no such group\r\n")[0]
    assert b"s3cret" not in shown
    assert b"-ERR told\r\n" in shown
    assert b"-NOGROUP no such group\r\n" in shown


def test_detectors_look_into_every_string() -> None:
    found = detecting(named("HGETALL", "plain:1"))
    for reply, expected in (
        (b"$15\r\n%b\r\n" % MAIL, b"$13\r\na***@e***.org\r\n"),
        (b"+%b\r\n" % MAIL, b"+a***@e***.org\r\n"),
        (b"-ERR %b\r\n" % MAIL, b"-ERR a***@e***.org\r\n"),
        (b"!19\r\nERR %b\r\n" % MAIL, b"!17\r\nERR a***@e***.org\r\n"),
        (b"=19\r\ntxt:%b\r\n" % MAIL, b"=17\r\ntxt:a***@e***.org\r\n"),
        (b"%%1\r\n$15\r\n%b\r\n_\r\n" % MAIL, b"%1\r\n$13\r\na***@e***.org\r\n_\r\n"),
        (b">2\r\n+x\r\n~1\r\n+%b\r\n" % MAIL, b">2\r\n+x\r\n~1\r\n+a***@e***.org\r\n"),
        (b"|1\r\n+a\r\n+%b\r\n:1\r\n" % MAIL, b"|1\r\n+a\r\n+a***@e***.org\r\n:1\r\n"),
        (b"$?\r\n;5\r\nann@e\r\n;10\r\nxample.org\r\n;0\r\n", b"$13\r\na***@e***.org\r\n"),
        (b"$?\r\n;4\r\nann@\r\n;11\r\nexample.org\r\n;0\r\n", b"$13\r\na***@e***.org\r\n"),
    ):
        shown, cells, kinds = found.mask(reply)
        assert shown == expected
        assert (cells, kinds) == (0, {"email": 1})


def test_what_detectors_find_nothing_in_passes_unread() -> None:
    found = detecting(GET)
    for reply in (b"$4\r\nopen\r\n", b"not even a reply"):
        assert found.mask(reply) == (reply, 0, {})


def test_what_is_found_in_a_document_leaves_it_one() -> None:
    found = detecting(GET)
    document = b'{"a": "%b", "n": 4111111111111111}' % MAIL
    reply, _, kinds = found.mask(b"$%d\r\n%b\r\n" % (len(document), document))
    assert parsed(reply) == b'"***"'
    assert kinds == {"email": 1, "card": 1}
    document = b'{"a": "%b"}' % MAIL
    assert parsed(found.mask(b"$%d\r\n%b\r\n" % (len(document), document))[0]) == b'{"a": "a***@e***.org"}'


def test_detectors_look_at_what_masks_leave() -> None:
    fields = NameMask(parse_name("profile:*#name"), "redact")
    found = detecting(named("HGETALL", "profile:1"), fields)
    reply = b"*4\r\n$4\r\nname\r\n$15\r\n%b\r\n$4\r\nnote\r\n$15\r\n%b\r\n" % (MAIL, MAIL)
    assert found.mask(reply) == (
        b"*4\r\n$4\r\nname\r\n$3\r\n***\r\n$4\r\nnote\r\n$13\r\na***@e***.org\r\n",
        1,
        {"email": 1},
    )
    places = detecting(named("GET", "doc:1"), NameMask(parse_name("doc:*#$.a"), "redact"))
    document = b'{"a": "x", "b": "%b"}' % MAIL
    shown, cells, kinds = places.mask(b"$%d\r\n%b\r\n" % (len(document), document))
    assert parsed(shown) == b'{"a": "***", "b": "a***@e***.org"}'
    assert (cells, kinds) == (1, {"email": 1})


def test_null_is_what_a_found_value_may_become() -> None:
    found = planned(GET, detectors={"email": "null"})
    assert found is not None
    assert found.mask(b"$15\r\n%b\r\n" % MAIL)[0] == b"$-1\r\n"
    assert found.mask(b"$15\r\n%b\r\n" % MAIL, resp3=True)[0] == b"_\r\n"


@pytest.mark.parametrize("name", ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "PUBLISH", "PUBSUB CHANNELS"])
def test_commands_about_channels_are_answered_with_names(name: str) -> None:
    call = Call(name, (name.encode(), MAIL))
    assert planned(call, detectors=DETECTORS) is None
    assert planned(call, WHOLE, NameMask(parse_name("&*"), "redact")) is None


def test_what_is_masked_of_messages_is_no_keys() -> None:
    news = NameMask(parse_name("&*"), "redact")
    assert planned(SECRET, news) is None
    assert planned(Call("SWAPDB", (b"SWAPDB", b"0", b"1")), news) is None
    assert planned(named("SORT", "ids", "BY", "nosort", "GET", "secret:*"), news) is None
    script = Call("EVAL", (b"EVAL", b"return 1", b"0"), anywhere=frozenset({Effect.READ}), script="0" * 40)
    assert planned(script, news) is None, "no script can listen"
    with pytest.raises(Unmaskable, match="nobody has reviewed"):
        planned(script, news, WHOLE)


@pytest.mark.parametrize("line", ["MONITOR", "SLOWLOG GET", "COMMANDLOG GET", "PSYNC", "NOBODY KNOWS"])
def test_what_shows_the_commands_of_others_shows_what_they_publish(line: str) -> None:
    call = Call(line, tuple(line.encode().split()))
    assert planned(call) is None
    with pytest.raises(Unmaskable):
        planned(call, NameMask(parse_name("&news:*"), "redact"))


def test_what_detectors_cannot_look_through_is_refused() -> None:
    for call in (Call("MONITOR", (b"MONITOR",)), named("DUMP", "plain:1"), Call("SLOWLOG GET", (b"SLOWLOG", b"GET"))):
        with pytest.raises(Unmaskable, match="isn't looked through"):
            planned(call, detectors=DETECTORS)
    with pytest.raises(Unmaskable, match="can't be read"):
        detecting(GET).mask(b"$99\r\n" + MAIL)


DOCUMENT = b'{"user":{"email":"s3cret","name":"Ann"},"n":1}'


@pytest.mark.parametrize(
    ("asked", "reply", "expected"),
    [
        ("", DOCUMENT, DOCUMENT.replace(b"s3cret", b"***")),
        (".", DOCUMENT, DOCUMENT.replace(b"s3cret", b"***")),
        ("$", b"[%b]" % DOCUMENT, b"[%b]" % DOCUMENT.replace(b"s3cret", b"***")),
        ("$.user", b'[{"email":"s3cret"}]', b'[{"email":"***"}]'),
        ("$.user.email", b'["s3cret"]', b'["***"]'),
        ("$['user']['email']", b'["s3cret"]', b'["***"]'),
        ("$.*.email", b'["s3cret"]', b'["***"]'),
        ("user.email", b'"s3cret"', b'"***"'),
        (".user.email", b'"s3cret"', b'"***"'),
        ('["user"]', b'{"email":"s3cret"}', b'{"email":"***"}'),
        ("$.n", b"[1]", b"[1]"),
        ("user.name", b'"Ann"', b'"Ann"'),
        ("$.n $.user", b'{"$.n":[1],"$.user":[{"email":"s3cret"}]}', b'{"$.n":[1],"$.user":[{"email":"***"}]}'),
        (".n .user", b'{".n":1,".user":{"email":"s3cret"}}', b'{".n":1,".user":{"email":"***"}}'),
        ("INDENT x NEWLINE y SPACE z", DOCUMENT, DOCUMENT.replace(b"s3cret", b"***")),
    ],
)
def test_documents_of_redisjson(asked: str, reply: bytes, expected: bytes) -> None:
    place = NameMask(parse_name("doc:*#$.user.email"), "redact")
    found = planned(named("JSON.GET", "doc:1", *asked.split()), place)
    assert found is not None
    assert parsed(found.mask(b"$%d\r\n%b\r\n" % (len(reply), reply))[0]) == expected
    whole = planned(named("JSON.GET", "doc:1", *asked.split()), NameMask(parse_name("doc:*"), "redact"))
    assert whole is not None
    assert parsed(whole.mask(b"$%d\r\n%b\r\n" % (len(reply), reply))[0]) == b"***"


def test_documents_of_several_keys() -> None:
    call = named("JSON.MGET", "doc:1", "other:1", "$.user.email", keys=(1, 2))
    found = planned(call, NameMask(parse_name("doc:*#$.user.email"), "redact"))
    assert found is not None
    assert parsed(found.mask(b'*2\r\n$10\r\n["s3cret"]\r\n$8\r\n["open"]\r\n')[0]) == [b'["***"]', b'["open"]']


@pytest.mark.parametrize(
    "asked", ["$..email", "$.user[?(@.email)]", "$.a[-1]", "..email", "$.user.em\\u0061il", "FORMAT X"]
)
def test_a_path_that_cannot_be_compared_is_refused(asked: str) -> None:
    place = NameMask(parse_name("doc:*#$.user.email"), "redact")
    for call in (named("JSON.GET", "doc:1", *asked.split()), named("JSON.MGET", "doc:1", asked)):
        with pytest.raises(Unmaskable):
            planned(call, place)


@pytest.mark.parametrize(
    ("line", "reply", "expected"),
    [
        ("HGETEX k EX 10 FIELDS 2 name email", b"*2\r\n+Ann\r\n+s3cret\r\n", [b"Ann", b"***"]),
        ("HGETDEL k FIELDS 2 email name", b"*2\r\n+s3cret\r\n$-1\r\n", [b"***", None]),
        ("HSCAN k 0 NOVALUES", b"*2\r\n+0\r\n*2\r\n+email\r\n+name\r\n", [b"0", [b"email", b"name"]]),
        (
            "XRANGE k - +",
            b"*1\r\n*4\r\n+1-1\r\n*2\r\n+email\r\n+s3cret\r\n:9\r\n:1\r\n",
            [[b"1-1", [b"email", b"***"], 9, 1]],
        ),
        ("XAUTOCLAIM k g c 0 0", b"*3\r\n+0-0\r\n*1\r\n$-1\r\n*1\r\n+1-1\r\n", [b"0-0", [None], [b"1-1"]]),
    ],
)
def test_commands_of_later_servers(line: str, reply: bytes, expected: object) -> None:
    found = planned(named(*line.split()), NameMask(parse_name("k#email"), "redact"))
    assert found is not None
    assert parsed(found.mask(reply)[0]) == expected


@pytest.mark.parametrize(
    "line",
    ["SET k v IFEQ x", "SET k v GET IFNE x", "DELEX k IFEQ x", "DELIFEQ k x", "DIGEST k", "VSIM k ELE x", "VEMB k x"],
)
def test_questions_of_later_servers(line: str) -> None:
    with pytest.raises(Unmaskable, match="answers a question"):
        planned(named(*line.split()), NameMask(parse_name("k"), "redact"))
    assert planned(named("DELEX", "k"), NameMask(parse_name("k"), "redact")) is not None


def test_elements_masked_by_their_place_do_not_move() -> None:
    for name in ("JSON.ARRINSERT", "JSON.ARRTRIM", "JSON.DEL"):
        call = named(name, "doc:1", "$.a", "0", "1")
        with pytest.raises(Unmaskable, match="moves elements"):
            planned(call, NameMask(parse_name("doc:*#$.a[0]"), "redact"))
        assert planned(call, NameMask(parse_name("doc:*#$.a[*]"), "redact")) is not None


@given(st.binary(max_size=80))
def test_whatever_a_server_sends_is_masked_or_withheld(reply: bytes) -> None:
    for call in (SECRET, named("HGETALL", "secret:1"), named("XRANGE", "secret:1", "-", "+")):
        found = detecting(call, WHOLE)
        try:
            found.mask(reply)
        except Unmaskable:
            continue
