"""What an engineer may try with the server itself, with its users, and with the second key."""

from __future__ import annotations

import time

import pytest

from tests.adversity.attacks.conftest import SERVER, USERS
from tests.support.redis import Redis
from tests.support.redis_attacks import Attacked, RedisAttack, RedisAttacker, refused, works
from tests.support.redis_raw import RedisRaw, encoded

HELD = "nobody of dba approved within 1 s"

ADMINISTERING = [
    refused("CONFIG SET dir", "CONFIG SET dir /etc/cron.d", never=("CONFIG SET",)),
    refused("CONFIG SET dbfilename", "CONFIG SET dbfilename root", never=("CONFIG SET",)),
    refused("CONFIG SET of several", "CONFIG SET maxmemory 1 dir /tmp", never=("CONFIG SET",)),
    refused("CONFIG SET requirepass", "CONFIG SET requirepass x", never=("CONFIG SET",)),
    refused("CONFIG GET requirepass", "CONFIG GET *pass*", never=("CONFIG GET",)),
    refused("CONFIG REWRITE", "CONFIG REWRITE", never=("CONFIG REWRITE",)),
    refused("CONFIG RESETSTAT", "CONFIG RESETSTAT", never=("CONFIG RESETSTAT",)),
    refused("in another case", "cOnFiG sEt dir /tmp", never=("CONFIG SET",)),
    refused("SAVE", "SAVE"),
    refused("BGSAVE", "BGSAVE"),
    refused("BGREWRITEAOF", "BGREWRITEAOF"),
    refused("SLAVEOF", "SLAVEOF 127.0.0.1 1"),
    refused("REPLICAOF", "REPLICAOF 127.0.0.1 1"),
    refused("FAILOVER", "FAILOVER"),
    refused("MODULE LOAD", "MODULE LOAD /tmp/x.so", never=("MODULE LOAD",)),
    refused("MODULE LOADEX", "MODULE LOADEX /tmp/x.so", never=("MODULE LOADEX",)),
    refused("SHUTDOWN", "SHUTDOWN NOSAVE"),
    refused("FLUSHALL", "FLUSHALL"),
    refused("FLUSHDB in another database", "SELECT 1", "FLUSHDB ASYNC"),
    refused("SWAPDB", "SWAPDB 0 1"),
    refused("CLUSTER RESET", "CLUSTER RESET", never=("CLUSTER RESET",)),
    refused("CLIENT KILL of the agent", "CLIENT KILL TYPE normal SKIPME no", never=("CLIENT KILL",)),
    refused("CLIENT PAUSE", "CLIENT PAUSE 300", never=("CLIENT PAUSE",)),
    refused("CLIENT UNBLOCK", "CLIENT UNBLOCK 1", never=("CLIENT UNBLOCK",)),
    refused("CLIENT NO-EVICT", "CLIENT NO-EVICT ON", never=("CLIENT NO-EVICT",)),
    refused("CLIENT REPLY OFF, which puts answers out of step", "CLIENT REPLY OFF", never=("CLIENT REPLY",)),
    refused("CLIENT REPLY SKIP", "CLIENT REPLY SKIP", never=("CLIENT REPLY",)),
    RedisAttack("a command of a module", ["JSON.GET doc:1"], "lockgate: "),
    refused("an unknown command", "NOSUCH secret:1"),
    refused("a sub-command that nobody knows", "CONFIG NOSUCH", never=("CONFIG",)),
    refused("a command without its sub-command", "CONFIG", never=("CONFIG",)),
    refused("a command that was renamed", "b840fc02d524045429941cc15f59e41cb7be6c52 dir"),
    refused("a name with a bar, as INFO writes it", "config|set dir /tmp", never=("CONFIG SET",)),
    refused("a name with a blank", [b"CONFIG SET", "dir", "/tmp"], never=("CONFIG SET",)),
    refused("a name with a zero byte", [b"FLUSHALL\0", "x"], never=("FLUSHALL",)),
    refused("a name that is long", ["F" * 100_000], never=()),
]  # fmt: skip

PERSONS = [
    refused("ACL SETUSER", "ACL SETUSER default on nopass ~* +@all", never=("ACL SETUSER",)),
    refused("ACL SETUSER of a new one", "ACL SETUSER mine on >pw ~* +@all", never=("ACL SETUSER",)),
    refused("ACL DELUSER", "ACL DELUSER other", never=("ACL DELUSER",)),
    refused("ACL LOAD", "ACL LOAD", never=("ACL LOAD",)),
    refused("ACL GETUSER", "ACL GETUSER default", never=("ACL GETUSER",)),
    RedisAttack("AUTH as another user changes nothing of who asks", ["AUTH root hunter2", "GET vault:1"],
        "NOPERM lockgate: ", never=("GET",), refused=True),
    RedisAttack("HELLO AUTH likewise", ["HELLO 3 AUTH root hunter2", "GET vault:1"], "NOPERM lockgate: ",
        never=("GET",), refused=True),
    RedisAttack("RESET likewise", ["RESET", "GET vault:1"], "NOPERM lockgate: ", never=("GET",), refused=True),
    RedisAttack("QUIT and more behind it", [encoded("QUIT") + encoded("GET", "vault:1")], "OK", never=("GET",),
        ends=True),
    RedisAttack("SELECT and a closed key there", ["SELECT 1", "GET vault:1"], "NOPERM lockgate: ", never=("GET",),
        refused=True),
    RedisAttack("SELECT and a classified key there", ["SELECT 1", "SET secret:1 user1@example.org", "GET secret:1",
        "DEL secret:1"], r"\*\*\*"),
    RedisAttack("SELECT and a key behind it in one go",
        [encoded("SELECT", 1) + encoded("GET", "vault:1") + encoded("SELECT", 0)], "NOPERM lockgate: ",
        never=("GET",), answers=3),
    RedisAttack("CLIENT SETNAME with a line's end", [["CLIENT", "SETNAME", "a\r\n+OK"]], "ERR "),
]  # fmt: skip

SECOND_KEY = [
    RedisAttack("plainly", ["SET ledger:1 9"], HELD, never=("SET",), refused=True),
    RedisAttack("among others", ["MSET session:x 1 ledger:1 9"], HELD, never=("MSET",), refused=True),
    RedisAttack("by DEL", ["DEL session:none ledger:1"], HELD, never=("DEL",), refused=True),
    RedisAttack("by UNLINK", ["UNLINK ledger:1"], HELD, never=("UNLINK",), refused=True),
    RedisAttack("by EXPIRE", ["PEXPIRE ledger:1 1"], HELD, never=("PEXPIRE",), refused=True),
    RedisAttack("by GETDEL", ["GETDEL ledger:1"], HELD, never=("GETDEL",), refused=True),
    RedisAttack("by GETEX", ["GETEX ledger:1 PX 1"], HELD, never=("GETEX",), refused=True),
    RedisAttack("by RENAME over it", ["RENAME session:1 ledger:1"], HELD, never=("RENAME",), refused=True),
    RedisAttack("by COPY REPLACE", ["COPY session:1 ledger:1 REPLACE"], HELD, never=("COPY",), refused=True),
    RedisAttack("by SORT STORE", ["SORT ids STORE ledger:1"], HELD, never=("SORT",), refused=True),
    RedisAttack("by a STORE of sets", ["SUNIONSTORE ledger:1 session:none"], HELD, never=("SUNIONSTORE",),
        refused=True),
    RedisAttack("by BITFIELD", ["BITFIELD ledger:1 SET u8 0 1"], HELD, never=("BITFIELD",), refused=True),
    RedisAttack("by SETRANGE", ["SETRANGE ledger:1 0 9"], HELD, never=("SETRANGE",), refused=True),
    RedisAttack("by RESTORE", [["RESTORE", "ledger:1", "0", "x", "REPLACE"]], "lockgate: ", never=("RESTORE",),
        refused=True),
    RedisAttack("in a transaction", ["MULTI", "INCR session:n", "SET ledger:1 9", "EXEC"], HELD, never=("SET", "EXEC"),
        refused=True),
    RedisAttack("in a transaction, all at once",
        [b"".join(encoded(*c.split()) for c in ("MULTI", "SET ledger:1 9", "EXEC", "GET session:1"))], HELD,
        never=("SET",), answers=4),
    RedisAttack("in a script", [["EVAL", "redis.call('SET', 'ledger:1', '9')", "0"]], "lockgate: ", never=("EVAL",),
        refused=True),
    RedisAttack("with a pipeline behind, which neither passes it nor is lost",
        [encoded("SET", "ledger:1", 9) + encoded("INCR", "session:n") + encoded("GET", "session:1")],
        HELD + r".*\n1\nb'session 1'$", never=("SET",), answers=3),
    RedisAttack("with WAIT behind", [encoded("SET", "ledger:1", 9) + encoded("WAIT", 0, 10)], HELD, never=("SET",),
        answers=2),
    RedisAttack("with DISCARD behind",
        [encoded("MULTI") + encoded("SET", "ledger:1", 9) + encoded("EXEC") + encoded("DISCARD")],
        HELD + ".*DISCARD without MULTI", never=("SET",), answers=4),
]  # fmt: skip


@pytest.mark.parametrize("attack", ADMINISTERING, ids=str)
def test_the_server_is_not_an_engineers(redis: RedisAttacker, attack: RedisAttack) -> None:
    redis.run(attack)


@pytest.mark.parametrize("attack", PERSONS, ids=str)
def test_nobody_becomes_somebody_else(redis: RedisAttacker, attack: RedisAttack) -> None:
    redis.run(attack)


@pytest.mark.parametrize("attack", SECOND_KEY, ids=str)
def test_nothing_runs_without_its_second_key(redis: RedisAttacker, attack: RedisAttack) -> None:
    redis.run(attack)


def test_nobody_approves_what_they_asked_for_themselves(redis: RedisAttacker) -> None:
    """Ann has another account, of the dba group."""
    stack = redis.stack
    stack.refill()
    with RedisRaw(stack, "ann") as raw:
        raw.send(encoded("SET", "deed:1", "own"))
        hold = stack.held("deed:1")
        for person in ("ann", "ann-laptop"):
            argv = ("approvals", "approve", hold["id"], "--config", str(stack.agent_yaml))
            assert stack.lockgate(*argv, person=person).returncode == 1
        assert stack.redis.ask("EXISTS", "deed:1") == 0
        stack.decide("deny", hold)
        assert "lockgate: " in str(raw.replies(1)[0])


def test_what_is_sent_while_something_waits_is_not_what_was_approved(redis: RedisAttacker) -> None:
    stack = redis.stack
    stack.refill()
    with RedisRaw(stack, "ann") as raw:
        raw.send(encoded("SET", "deed:1", "approved"), encoded("SET", "deed:1", "smuggled"))
        stack.decide("approve", stack.held("approved"))
        assert raw.replies(1) == [b"OK"]
        assert stack.redis.ask("GET", "deed:1") == b"approved"
        stack.decide("deny", stack.held("smuggled"))
        assert "lockgate: " in str(raw.replies(1)[0])
    assert stack.redis.ask("GET", "deed:1") == b"approved"


def test_an_approval_does_not_carry_over_to_another_connection(redis: RedisAttacker) -> None:
    stack = redis.stack
    stack.refill()
    with RedisRaw(stack, "ann") as one, RedisRaw(stack, "ann") as other:
        one.send(encoded("SET", "deed:2", "x"))
        first = stack.held("deed:2")
        other.send(encoded("SET", "deed:2", "x"))
        deadline = time.monotonic() + 10
        while len(stack.waiting()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        stack.decide("approve", first)
        assert one.replies(1) == [b"OK"]
        assert other.quiet()
        (second,) = stack.waiting()
        stack.decide("deny", second)
        assert "lockgate: " in str(other.replies(1)[0])


def test_who_holds_many_does_not_starve_others(redis: RedisAttacker) -> None:
    stack = redis.stack
    stack.refill()
    held = [RedisRaw(stack, "ann") for _ in range(10)]
    try:
        for number, raw in enumerate(held):
            raw.send(encoded("SET", f"deed:{number}", "x"))
        assert stack.said("cyd", "GET", "session:1") == "session 1"
    finally:
        for raw in held:
            raw.__exit__(None, None, None)


def test_each_works_where_nobody_stands_before_the_server() -> None:
    """So that a row can fail, which proves nothing otherwise."""
    with Redis(SERVER, users=USERS) as server:
        attacked = Attacked(server)
        harmless = [row.name for row in (*ADMINISTERING, *PERSONS, *SECOND_KEY) if not works(row, attacked)]
        attacked.close()
    assert harmless == ["QUIT and more behind it", "CLIENT SETNAME with a line's end"], "these it withstands itself"
