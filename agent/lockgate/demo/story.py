"""What the demo shows, step by step, each held against what really came about."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from lockgate.demo.commands import Ran, Running
from lockgate.demo.world import PAUSE_SECONDS, World

SOON_SECONDS = 10.0
"""By when that is there which comes about beside a command: a hold in the collector, a record, a decision."""
HELD_SECONDS = 0.5
"""How long a held client is watched before it is said to wait: anything else has an answer in a tenth of that."""
SHORT = 8
"""Characters of a request's name that approvers type, as a notice has them."""

OLD = "placed < '2020-01-01'"
MONEY = ("money:ann", "money:bob", "money:eve")
CONFIG = ("--config", "agent.yaml")


@dataclass(frozen=True, slots=True)
class Step:
    """One command, what it answered, and whether that is what was `expected`."""

    step: int
    title: str
    command: str
    output: str
    ok: bool
    expected: str


@dataclass(frozen=True, slots=True)
class _Act:
    title: str
    ran: Ran
    expected: str
    ok: bool


def story(world: World) -> Generator[Step, None, None]:
    """Every step as it is done, up to the first that did not do what it says: the next ones build on it."""
    for number, act in enumerate(_acts(world), start=1):
        yield Step(number, act.title, act.ran.typed, act.ran.output, act.ok, act.expected)
        if not act.ok:
            return


def _acts(world: World) -> Iterator[_Act]:
    for part in (_reads, _refusal, _approval, _denial, _cache, _cache_approval, _evidence, _closed_gate):
        yield from part(world)


def _reads(world: World) -> Iterator[_Act]:
    sql = "SELECT id, customer, placed, total FROM orders WHERE id <= 3"
    ran = _psql(world, "ann", sql)
    yield _Act("A read is allowed", ran, "the rows as PostgreSQL has them", ran.rows == world.truth(sql))

    sql = "SELECT name, email, ssn FROM customers WHERE id <= 3"
    plain = world.truth(sql)
    ran = _psql(world, "ann", sql)
    ok = len(ran.rows) == len(plain) and all(map(_is_masked, ran.rows, plain))
    yield _Act("Classified columns are masked", ran, "names in plain, e-mail addresses in part, numbers not at all", ok)

    reader = _psql(world, "cleo", sql)
    yield _Act("Whose work it is sees them", reader, "cleo, of pii-readers, sees what is there", reader.rows == plain)

    sql = "SELECT id, upper(email) AS shout FROM customers WHERE id <= 3"
    plain = world.truth(sql)
    ran = _psql(world, "ann", sql)
    ok = len(ran.rows) == len(plain) and all(
        seen[0] == real[0] and not _shares(seen[1], real[1]) for seen, real in zip(ran.rows, plain, strict=True)
    )
    yield _Act("An expression is no way around a mask", ran, "what depends on a masked column is redacted whole", ok)


def _refusal(world: World) -> Iterator[_Act]:
    before = _count(world, "orders")
    ran = _psql(world, "ann", "DROP TABLE orders")
    ok = ran.status == 1 and ran.output.startswith("ERROR:  lockgate: ") and _count(world, "orders") == before
    yield _Act("A destructive statement is refused", ran, "an error that says why, and the table is still there", ok)


def _approval(world: World) -> Iterator[_Act]:
    doomed, before = _count(world, f"orders WHERE {OLD}"), _count(world, "orders")
    statement = f"DELETE FROM orders WHERE {OLD}"
    with world.begin("ann", "psql", "-c", statement) as delete:
        held = _held(world, "A bulk delete waits for a second person", delete)
        yield held

        hold = _request(delete)
        ran = world.until(
            lambda ran: statement in ran.output, SOON_SECONDS, "bob", "lockgate", "approvals", "list", *CONFIG
        )
        ok = any(line.startswith(hold) and " ann " in line and statement in line for line in ran.output.splitlines())
        yield _Act("Whoever may decide can see it", ran, "who asks, for how long yet, and the statement", ok)

        for person, title in (
            ("ann", "Who asked can't approve"),
            ("ann-admin", "Nor can they with another account, although that one is a dba's"),
        ):
            ran = _lockgate(world, person, "approvals", "approve", hold)
            ok = ran.status == 1 and "it takes a second person" in ran.output and delete.waits
            yield _Act(title, ran, "refused: people are compared, not accounts, and psql waits on", ok)

        ran = _lockgate(world, "bob", "approvals", "approve", hold, "--comment", "cleared with support")
        ok = ran.status == 0 and "Approved by bob" in ran.output
        yield _Act("Somebody else approves", ran, "approved by bob, of the group dba", ok)

        ran = _finished(delete, held.ran)
    ok = ran.output == f"DELETE {doomed}\n" and doomed > 0 and _count(world, "orders") == before - doomed
    yield _Act("And the statement runs", ran, f"ann's psql has its answer: {doomed} rows are gone", ok)


def _denial(world: World) -> Iterator[_Act]:
    before = _count(world, "payments")
    statement = "DELETE FROM payments"
    with world.begin("ann", "psql", "-c", statement) as delete:
        held = _held(world, "Another one waits", delete)
        yield held
        ran = _lockgate(world, "bob", "approvals", "deny", _request(delete), "--comment", "all of them?")
        yield _Act("Somebody else denies", ran, "denied by bob", ran.status == 0 and "Denied by bob" in ran.output)
        ran = _finished(delete, held.ran)
    ok = (
        ran.status == 1
        and ran.output == "ERROR:  lockgate: denied by bob: all of them?\n"
        and _count(world, "payments") == before
    )
    yield _Act("And the statement is refused", ran, "an error with bob's comment, and every row is still there", ok)


def _cache(world: World) -> Iterator[_Act]:
    ran = _redis_cli(world, "ann", "GET", "cart:7")
    ok = ran.output == world.cached("GET", "cart:7") != "\n"
    yield _Act("Redis likewise: a read is allowed", ran, "the value as Redis has it", ok)

    ran = _redis_cli(world, "ann", "GET", "secret:payments")
    ok = ran.output == "***\n" and not _shares(ran.output, world.cached("GET", "secret:payments"))
    yield _Act("A classified value is masked", ran, "nothing of it is seen", ok)

    command = ("HGETALL", "profile:7")
    plain = _fields(world.cached(*command))
    ran = _redis_cli(world, "ann", *command)
    ok = bool(plain) and _fields(ran.output) == {**plain, "email": _partly(plain["email"])}
    yield _Act("Of a hash, the classified field is", ran, "an e-mail address in part, the rest in plain", ok)

    reader = _redis_cli(world, "cleo", *command)
    yield _Act("Whose work it is sees it", reader, "cleo, of pii-readers, sees what is there",
               reader.output == world.cached(*command))  # fmt: skip

    ran = _redis_cli(world, "ann", "COPY", "secret:payments", "cart:8")
    ok = ran.output.startswith("NOPERM lockgate: ") and world.cached("EXISTS", "cart:8") == "0\n"
    yield _Act("A copy is no way around a mask", ran, "refused: under that name it would not be masked", ok)

    before = world.cached("DBSIZE")
    ran = _redis_cli(world, "ann", "FLUSHALL")
    ok = (
        ran.output.startswith("NOPERM lockgate: ")
        and len(ran.output.strip().splitlines()) == 1
        and world.cached("DBSIZE") == before
    )
    yield _Act("A destructive command is refused", ran, "an error that says why, and every key is still there", ok)


def _cache_approval(world: World) -> Iterator[_Act]:
    statement = " ".join(("DEL", *MONEY))
    there = world.cached("EXISTS", *MONEY)
    with world.begin("ann", *_redis_cli_argv(world, "DEL", *MONEY)) as delete:
        _soon(lambda: not delete.waits or world.status()["held"] == 1)
        ok = not _soon(lambda: not delete.waits, HELD_SECONDS) and delete.so_far == ""
        held = Ran(delete.typed, 0, delete.so_far)
        yield _Act("Deleting money waits for a second person", held, "no answer yet, and redis-cli waits", ok)

        ran = world.until(
            lambda ran: statement in ran.output, SOON_SECONDS, "bob", "lockgate", "approvals", "list", *CONFIG
        )
        line = next((line for line in ran.output.splitlines() if " ann " in line and statement in line), "")
        yield _Act("Whoever may decide can see it", ran, "who asks, and the command", line != "")

        ran = _lockgate(world, "bob", "approvals", "approve", line[:SHORT])
        ok = ran.status == 0 and "Approved by bob" in ran.output and there == f"{len(MONEY)}\n"
        yield _Act("Somebody else approves", ran, "approved by bob, of the group dba", ok)

        ran = _finished(delete, held)
    ok = ran.output == there and world.cached("EXISTS", *MONEY) == "0\n"
    yield _Act("And the command runs, where it waited", ran, "ann's redis-cli has its answer: as many are gone", ok)


def _evidence(world: World) -> Iterator[_Act]:
    words = ("DROP TABLE orders", f"DELETE FROM orders WHERE {OLD}", "DELETE FROM payments", "upper(email)",
             "COPY secret:payments cart:8", "FLUSHALL", " ".join(("DEL", *MONEY)))  # fmt: skip
    ran = world.until(
        lambda ran: all(word in ran.output for word in words),
        SOON_SECONDS, "sam", "lockgate", "audit", "search", "--principal", "ann", *CONFIG,
    )  # fmt: skip
    ok = ran.status == 0 and all(word in ran.output for word in words)
    yield _Act("It is all in the collector", ran, "sam, of security, finds all that ann asked, of either", ok)

    approved = next((line for line in ran.output.splitlines() if words[1] in line), "")
    identifier = next(iter(re.findall(r"\b[0-9a-f]{32}-\d+\b", approved)), "none")
    ran = _lockgate(world, "sam", "audit", "show", identifier)
    yield _Act("One record: who asked, who approved, what came of it", ran, "ann, bob and his reason, completed",
               ran.status == 0 and all(word in ran.output for word in ("ann", "bob", "cleared with support",
                                                                       "completed", words[1])))  # fmt: skip

    ran = _lockgate(world, "sam", "audit", "verify")
    ok = ran.status == 0 and ran.output.startswith("demo: intact, ")
    yield _Act("The chain of records is verified", ran, "intact: nothing was changed, taken out or put in", ok)


def _closed_gate(world: World) -> Iterator[_Act]:
    sql = "SELECT count(*) FROM orders"
    ran = world.run("root", "kill", "-9", str(world.pid("agent")))
    killed = ran.status == 0 and world.ended("agent") == -9
    yield _Act("The agent is killed", ran, "gone at once, with no chance to tidy up", killed)

    ran = _psql(world, "ann", sql)
    yield _Act("Without it the gate is closed", ran, "psql can't connect", ran.status == 2 and "failed" in ran.output)

    ran = _redis_cli(world, "ann", "GET", "cart:7")
    ok = ran.status == 1 and ran.output.startswith("Could not connect")
    yield _Act("For Redis too", ran, "nor can redis-cli", ok)

    world.start("agent")
    ran = _psql(world, "ann", sql)
    yield _Act("The agent is back", ran, "and so is the way to the datastore", ran.rows == world.truth(sql))

    ran = world.until(_is_intact, SOON_SECONDS, "sam", "lockgate", "audit", "verify", *CONFIG)
    yield _Act("The chain goes on where it was cut off", ran, "still intact", _is_intact(ran))


def _psql(world: World, person: str, sql: str) -> Ran:
    return world.run(person, "psql", "-c", sql)


def _redis_cli(world: World, person: str, *command: str) -> Ran:
    return world.run(person, *_redis_cli_argv(world, *command))


def _redis_cli_argv(world: World, *command: str) -> tuple[str, ...]:
    return ("redis-cli", "-p", str(world.cache.port), *command)


def _lockgate(world: World, person: str, *argv: str) -> Ran:
    return world.run(person, "lockgate", *argv, *CONFIG)


def _held(world: World, title: str, command: Running) -> _Act:
    """The act of a statement that neither runs nor fails."""
    _soon(lambda: not command.waits or _request(command) != "")
    ok = not _soon(lambda: not command.waits, HELD_SECONDS) and world.status()["held"] == 1
    return _Act(title, Ran(command.typed, 0, command.so_far), "a notice, and psql waits", ok)


def _request(command: Running) -> str:
    """By what name approvers know what a psql waits for, as its notice tells; empty when it tells nothing."""
    return next(iter(re.findall(r"^NOTICE: .* request ([0-9a-f]+)$", command.so_far, re.MULTILINE)), "")


def _finished(command: Running, before: Ran) -> Ran:
    """Its end, with what it printed since `before`; or what can be said of it when it goes on and on."""
    try:
        ran = command.finish(SOON_SECONDS)
    except subprocess.TimeoutExpired:
        return Ran(command.typed, -1, f"(no answer in {SOON_SECONDS:g} s)\n")
    return Ran(ran.typed, ran.status, ran.output.removeprefix(before.output))


def _soon(true: Callable[[], bool], seconds: float = SOON_SECONDS) -> bool:
    """Whether it becomes true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (now := true()) and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
    return now


def _count(world: World, table: str) -> int:
    return int(world.truth(f"SELECT count(*) FROM {table}")[0][0])


def _is_intact(ran: Ran) -> bool:
    return ran.status == 0 and ran.output.startswith("demo: intact, ")


def _is_masked(seen: tuple[str, ...], plain: tuple[str, ...]) -> bool:
    """Name, e-mail address and number: as it is, its first letters and top-level domain, nothing."""
    name, email, number = plain
    return seen[:2] == (name, _partly(email)) and not _shares(seen[2], number)


def _partly(email: str) -> str:
    """An e-mail address as it is seen in part."""
    local, _, domain = email.partition("@")
    return f"{local[0]}***@{domain[0]}***.{domain.rpartition('.')[2]}"


def _fields(printed: str) -> dict[str, str]:
    """A hash as redis-cli prints it: names and values, a line each."""
    lines = printed.splitlines()
    return dict(zip(lines[::2], lines[1::2], strict=False))


def _shares(seen: str, plain: str) -> bool:
    """Whether a letter or digit of `plain` can be read in `seen`."""
    return bool({c for c in seen if c.isalnum()} & {c for c in plain if c.isalnum()})
