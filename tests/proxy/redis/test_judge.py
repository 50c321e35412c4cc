"""What becomes of a command: by whom, of which keys; how its reply is masked; and what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from lockgate.config import Datastore
from lockgate.masking import RootKey
from lockgate.policy.bundle import load
from lockgate.policy.decide import Engine
from lockgate.policy.reload import Policies
from lockgate.policy.shadow import Shadow
from lockgate.proxy.redis.judge import CACHED_CHARACTERS, CommandJudge, CommandJudgement
from lockgate.understand.redis import Understanding
from lockgate.values.command import Call
from lockgate.values.identity import Asker, Claims
from lockgate.values.statement import Request
from lockgate.values.verdict import Decision
from tests.proxy.redis.house import CLASSIFICATION, MARKER, POLICIES
from tests.support.redis_playbook import array, bulk, message

ANN = Claims("t", "ann", "ann", ("engineers",), "host-1", 0, 300)
BOB = replace(ANN, principal="bob", person="bob")
ASKING = Asker(ANN, "orders", "0", "default")
understand = Understanding().request
DETECT = """
@id("reveals") permit (principal, action == Action::"reveal_detected", resource);
@id("mail") @mask("redact") forbid (principal, action == Action::"reveal_detected", resource == Detector::"email");
"""


class Bench:
    def __init__(
        self,
        folder: Path,
        policies: str = POLICIES,
        *,
        tried: str | None = None,
        classified: Mapping[str, tuple[str, ...]] = CLASSIFICATION,
        mode: Literal["enforce", "observe"] = "enforce",
        cache: int = 64,
    ) -> None:
        self.folder, self.classified = folder, classified
        self.write(policies)
        self.policies = Policies(lambda epoch: self._loaded("p", epoch), [folder / "p"])
        self.shadow = Shadow.none()
        if tried is not None:
            self.write(tried, "next")
            self.shadow = Shadow(lambda epoch: self._loaded("next", epoch), [folder / "next"])
        settings = Datastore(name="orders", protocol="redis", addresses=["127.0.0.1:6379"], mode=mode)
        keys = RootKey(bytes(32)).keys("orders")
        self.judge = CommandJudge(settings, classified, self.policies, self.shadow, keys=keys, cache=cache)

    def _loaded(self, folder: str, epoch: int) -> Any:
        return load([self.folder / folder], {"orders": self.classified}, {"orders": "redis"}, epoch=epoch)

    def write(self, policies: str, folder: str = "p") -> None:
        (self.folder / folder).mkdir(exist_ok=True)
        (self.folder / folder / "a.cedar").write_text(policies)

    def __call__(self, *lines: str, asker: Asker = ASKING) -> CommandJudgement:
        """Of a command, or of several as EXEC has them."""
        return self.judge.judge(asker, whole(*lines))


def parsed(line: str) -> Request:
    return understand(tuple(line.encode().split(b" ")))


def whole(*lines: str) -> Request:
    if len(lines) == 1:
        return parsed(lines[0])
    requests = [parsed(line) for line in (*lines, "EXEC")]
    return replace(
        requests[-1], shape="\1".join(r.shape for r in requests),
        statements=tuple(s for r in requests for s in r.statements), detail=tuple(r.detail for r in requests),
    )  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of what was judged anew, in order."""
    asked: list[str] = []
    judge = CommandJudge._judge

    def counted(self: CommandJudge, engine: Engine, asker: Asker, request: Request, *more: Any) -> CommandJudgement:
        asked.append(request.statements[-1].kind)
        return judge(self, engine, asker, request, *more)

    monkeypatch.setattr(CommandJudge, "_judge", counted)
    return asked


def shown(judgement: CommandJudgement, reply: bytes) -> bytes:
    assert judgement.masking is not None
    return judgement.masking.mask(reply)[0]


# verdicts


def test_a_verdict_comes_with_what_the_record_says(bench: Bench) -> None:
    found = bench("SET a 1")
    assert (found.refusal, found.masking, found.barrier) == (None, None, False)
    assert {name: found.facts[name] for name in ("verdict", "policy", "effects", "kinds", "objects", "mode")} == {
        "verdict": "allow", "policy": "work", "effects": ["write"], "kinds": ["SET"], "objects": ["*"],
        "mode": "enforce",
    }  # fmt: skip
    denied = bench("SET frozen:1 x")
    assert denied.refusal is not None
    assert (denied.refusal.code, denied.refusal.detail) == ("denied", "policy frozen")
    assert denied.facts["objects"] == ["frozen:*"]
    held = bench("SET money:1 5")
    assert (held.refusal, held.verdict.decision) == (None, Decision.HOLD)


def test_what_nobody_understands_is_refused_in_redis_own_words(bench: Bench) -> None:
    for line, why in (("NO.SUCH x", "unknown command 'NO.SUCH'"), ("GET", "wrong number of arguments")):
        found = bench(line)
        assert found.refusal is not None
        assert found.refusal.code == "ERR"
        assert found.refusal.message.startswith(why)


def test_what_touches_anything_meets_every_forbid(bench: Bench) -> None:
    found = bench("EVAL return:1 0")
    assert found.refusal is not None
    assert found.facts["objects"] == ["*"]
    assert bench("KEYS *").refusal is None, "it reads: only writes are frozen"


@pytest.mark.parametrize(
    ("line", "barrier", "listens"),
    [
        ("GET a", False, False),
        ("SELECT 1", True, False),
        ("CLIENT SETNAME x", True, False),
        ("SUBSCRIBE news", True, True),
        ("PSUBSCRIBE n*", True, True),
        ("SSUBSCRIBE news", True, True),
        ("MONITOR", True, True),
        ("CLIENT TRACKING ON", True, True),
        ("WATCH a", True, False),
        ("PUBLISH news x", False, False),
        ("UNSUBSCRIBE news", True, None),
    ],
)
def test_what_lasts_is_a_barrier(tmp_path: Path, line: str, barrier: bool, listens: bool | None) -> None:
    found = Bench(tmp_path, classified={})(line)
    assert found.barrier is barrier
    assert listens is None or found.listens is listens


def test_what_is_found_in_messages_is_masked_by_every_channel(tmp_path: Path) -> None:
    bench = Bench(tmp_path, POLICIES + DETECT, classified={})
    listening = bench("SUBSCRIBE news")
    assert listening.masking is None, "the answer has names"
    found = bench.judge.message(listening, b"any")
    assert found is not None
    assert found.mask(message("any", "ann@example.org")) == (message("any", "***"), 0, {"email": 1})
    assert bench("GET a").masking is not None
    assert bench("MONITOR").refusal is not None, "it quotes what can't be looked through"


NEWS = {"secret:*": ("pii",), "&news:*": ("pii",), "&events:*#$.who": ("pii",), "&open:*": ("public",)}


@pytest.mark.parametrize("line", ["SUBSCRIBE news:1", "PSUBSCRIBE n*", "PSUBSCRIBE [a-z]*", "SSUBSCRIBE x"])
def test_messages_are_masked_by_their_channel_whatever_is_listened_to(tmp_path: Path, line: str) -> None:
    bench = Bench(tmp_path, classified=NEWS)
    listening = bench(line)
    assert listening.refusal is None
    for channel, text, expected in (
        ("news:1", MARKER, "***"),
        ("events:1", f'{{"who": "{MARKER}", "n": 1}}', '{"who": "***", "n": 1}'),
        ("events:1", MARKER, "***"),
    ):
        found = bench.judge.message(listening, channel.encode())
        assert found is not None
        assert found.mask(message(channel, text))[0] == message(channel, expected)
    for channel in ("open:1", "secret:1", "news", "other"):
        assert bench.judge.message(listening, channel.encode()) is None, channel


def test_the_record_says_of_what_messages_may_be(tmp_path: Path) -> None:
    bench = Bench(tmp_path, classified=NEWS)
    news, events = ["&news:*", "redact"], ["&events:*#$.who", "redact"]
    assert bench("SUBSCRIBE news:1").facts["masks"] == [news]
    assert bench("SUBSCRIBE news:1 events:1 open:1").facts["masks"] == [news, events]
    assert bench("PSUBSCRIBE news:*").facts["masks"] == [news]
    assert "masks" not in bench("SUBSCRIBE weather").facts
    assert "masks" not in bench("PUBLISH news:1 x").facts


def test_what_shows_others_commands_is_refused_where_only_messages_are_masked(tmp_path: Path) -> None:
    bench = Bench(tmp_path, classified={"&news:*": ("pii",)})
    assert bench("MONITOR").refusal is not None
    assert bench("SLOWLOG GET").refusal is not None
    assert bench("SCAN 0").refusal is None
    assert bench("SORT a BY nosort GET secret:*").refusal is None


# what is kept


def test_a_verdict_is_taken_once_for_all_keys_that_match_the_same(bench: Bench, decided: list[str]) -> None:
    for number in range(50):
        assert bench(f"SET a:{number} {number}").refusal is None
        assert bench(f"SET frozen:{number} {number}").refusal is not None
    assert decided == ["SET", "SET"]
    bench("SET secret:1 x")
    bench("GET a:1")
    assert decided == ["SET", "SET", "GET"], "a write shows nothing that is classified"


def test_what_is_masked_is_told_of_each_key(bench: Bench) -> None:
    for line, reply, expected in (
        ("MGET a secret:1", array(bulk("x"), bulk(MARKER)), array(bulk("x"), bulk("***"))),
        ("MGET secret:1 a", array(bulk(MARKER), bulk("x")), array(bulk("***"), bulk("x"))),
        ("MGET secret:1 secret:2", array(bulk(MARKER), bulk("x")), array(bulk("***"), bulk("***"))),
    ):
        for _ in range(2):
            assert shown(bench(line), reply) == expected
    assert shown(bench("HGET profile:1 name"), bulk("Ann")) == bulk("Ann")
    assert shown(bench("HGET profile:1 email"), bulk(MARKER)) == bulk("***")


def test_whether_it_can_be_masked_is_told_of_each_command(bench: Bench) -> None:
    """Two of one shape: what is refused of one is not refused of the other, whichever came first."""
    for lines in (("COPY secret:1 a", "COPY a secret:1"), ("COPY b secret:1", "COPY secret:1 b")):
        refused = {line: bench(line).refusal is not None for line in lines}
        assert refused == {line: line.startswith("COPY secret") for line in lines}
    assert bench("GETRANGE secret:1 0 1").refusal is not None
    assert bench("GETRANGE a 0 1").refusal is None


@pytest.mark.parametrize(
    "other",
    [
        Asker(BOB, "orders", "0", "default"),
        Asker(replace(ANN, groups=()), "orders", "0", "default"),
        Asker(ANN, "orders", "1", "default"),
        Asker(ANN, "orders", "0", "root"),
    ],
)
def test_another_asker_is_judged_anew(bench: Bench, decided: list[str], other: Asker) -> None:
    bench("GET a")
    bench("GET a", asker=other)
    assert len(decided) == 2
    assert (bench("GET a", asker=other).refusal is None) == (other.claims.groups == ANN.groups)


def test_an_asker_that_was_made_where_one_was_forgotten_is_not_taken_for_it(bench: Bench) -> None:
    """Askers are known by identity, and CPython gives addresses again."""
    for number in range(200):
        groups = ("engineers",) if number % 2 else ()
        asker = Asker(replace(ANN, groups=groups), "orders", "0", "default")
        assert (bench("GET a", asker=asker).refusal is None) == bool(groups)


def test_other_policies_are_asked_anew(bench: Bench) -> None:
    assert bench("GET a").refusal is None
    bench.write('forbid (principal, action, resource in Keys::"orders/a");' + POLICIES)
    bench.policies.reload()
    assert bench("GET a").refusal is not None
    assert bench("GET b").refusal is None


def test_policies_that_look_at_the_clock_are_asked_every_minute(
    tmp_path: Path, decided: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(
        tmp_path,
        POLICIES
        + """forbid (principal, action == Action::"execute", resource)
        when { context.hour == 25 };""",
    )
    now = [5]
    monkeypatch.setattr(Engine, "minute", property(lambda self: now[0]))
    for minute in (5, 5, 6, 6):
        now[0] = minute
        bench("GET a")
    assert len(decided) == 2


def test_what_is_kept_is_bounded(tmp_path: Path, decided: list[str]) -> None:
    bench = Bench(tmp_path, cache=4)
    lines = [f"{name} a" for name in ("GET", "STRLEN", "LLEN", "SCARD", "HLEN", "ZCARD", "XLEN", "PTTL", "TTL", "TYPE")]
    for line in lines * 2:
        bench(line)
    assert len(bench.judge._kept) <= 8
    long = parsed("GET a")
    bench.judge.judge(ASKING, replace(long, shape="x" * (CACHED_CHARACTERS + 1)))
    asked = len(decided)
    bench.judge.judge(ASKING, replace(long, shape="x" * (CACHED_CHARACTERS + 1)))
    assert len(decided) == asked + 1, "a shape of the client's making keeps no memory"


# masks elsewhere


def test_a_command_that_reaches_further_meets_all_masks(bench: Bench) -> None:
    for line in ("SORT a BY nosort GET secret:*", "EVAL_RO return:1 1 a", "RENAME secret:1 a", "DUMP secret:1",
                 "SORT secret:1 STORE a", "MONITOR"):  # fmt: skip
        found = bench(line)
        assert found.refusal is not None, line
        assert found.refusal.message.startswith("lockgate: ")
    assert bench("SORT a BY nosort GET cart:*").masks != ()


def test_it_is_hidden_from_records_what_may_be_classified(bench: Bench, tmp_path: Path) -> None:
    def hides(line: str, of: Bench = bench) -> bool:
        call = parsed(line).detail
        assert isinstance(call, Call)
        return of.judge.hides(call)

    assert [hides(line) for line in ("SET secret:1 x", "HSET profile:1 name x", "SET a x", "EVAL return:1 0 x")] == [
        True, True, False, True,
    ]  # fmt: skip
    assert [hides(f"{word} news:1 {MARKER}") for word in ("PUBLISH", "SPUBLISH")] == [False, False]
    (folder := tmp_path / "news").mkdir()
    classified = Bench(folder, classified=NEWS)
    lines = ("PUBLISH news:1 x", "SPUBLISH events:1 x", "PUBLISH open:1 x", "PUBLISH secret:1 x", "SET news:1 x")
    assert [hides(line, classified) for line in lines] == [True, True, True, False, False]
    (folder := tmp_path / "none").mkdir()
    assert not hides("EVAL return:1 0 x", Bench(folder, classified={}))


# EXEC


def test_exec_is_judged_as_the_whole_and_masked_in_turn(bench: Bench) -> None:
    found = bench("SET a 1", "GET secret:1", "HGETALL profile:1")
    reply = array(b"+OK\r\n", bulk(MARKER), array(bulk("name"), bulk("Ann"), bulk("email"), bulk(MARKER)))
    assert shown(found, reply) == array(
        b"+OK\r\n", bulk("***"), array(bulk("name"), bulk("Ann"), bulk("email"), bulk("***"))
    )
    assert found.facts["kinds"] == ["EXEC", "GET", "HGETALL", "SET"]
    assert bench("SET a 1", "SET frozen:1 x").facts["policy"] == "frozen"
    assert bench("SET a 1", "SET money:1 5").verdict.decision is Decision.HOLD
    assert bench("SET a 1", "DUMP secret:1").refusal is not None
    assert bench("SET a 1", "GET a").masking is None
    assert bench("EXEC").refusal is None


# observing


def test_in_mode_observe_the_record_says_what_would_be(tmp_path: Path) -> None:
    bench = Bench(tmp_path, mode="observe")
    for line, would, policy in (
        ("SET a 1", "allow", "work"),
        ("SET frozen:1 x", "deny", "frozen"),
        ("SET money:1 5", "hold", "two-for-money"),
        ("GET secret:1", "allow", "work"),
        ("DUMP secret:1", "deny", "lockgate:refused"),
        ("FLUSHALL", "deny", "no-flush"),
    ):
        facts = bench(line).facts
        assert (facts["verdict"], facts["would"], facts["policy"], facts["mode"]) == ("allow", would, policy, "observe")
    assert bench("GET secret:1").facts["masks"] == [["secret:*", "redact"]]
    assert "masked" in bench("DUMP secret:1").facts["reason"]


# policies that are only tried


def test_a_bundle_that_is_tried_may_name_other_patterns(tmp_path: Path) -> None:
    """Commands that are the same to what is in force are not to what is tried."""
    tried = (
        POLICIES + '@id("carts") forbid (principal, action == Action::"execute", resource in Keys::"orders/cart:*");'
    )
    bench = Bench(tmp_path, tried=tried)
    for _ in range(2):
        assert "shadow" not in bench("GET a").facts
        shadow = bench("GET cart:1").facts["shadow"]
        assert (shadow["would"], shadow["policy"]) == ("deny", "carts")
        assert bench("GET cart:1").refusal is None
    assert bench("GET a", "GET cart:1").facts["shadow"]["policy"] == "carts"


def test_one_that_is_tried_may_mask_more_or_what_can_not_be(tmp_path: Path) -> None:
    without = POLICIES.replace('resource in Tag::"pii"', 'resource in Tag::"none"')
    bench = Bench(tmp_path, without, tried=POLICIES)
    found = bench("GET secret:1")
    assert found.masking is None
    assert found.facts["shadow"]["masks"] == [["secret:*", "redact"]]
    shadow = bench("DUMP secret:1").facts["shadow"]
    assert (shadow["would"], shadow["policy"]) == ("deny", "lockgate:refused")
    assert bench("DUMP secret:1").refusal is None


def test_one_that_is_tried_and_replaced_is_asked_anew(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tried=POLICIES)
    assert "shadow" not in bench("GET a").facts
    bench.write(POLICIES + '@id("no") forbid (principal, action == Action::"execute", resource);', "next")
    bench.shadow.reload()
    assert bench("GET a").facts["shadow"]["policy"] == "no"
