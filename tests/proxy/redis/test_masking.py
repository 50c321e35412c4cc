"""What can't be masked is withheld in the session's words."""

from __future__ import annotations

import pytest

from lockgate.masking import RootKey
from lockgate.masking.replies.plan import KeyMask, plan_reply
from lockgate.proxy.redis.masking import Later, Masking
from lockgate.values.command import Call, KeyUse
from lockgate.values.selector import Whole
from lockgate.values.statement import Effect
from lockgate.wire.gate import MaskingError

GET = Call("GET", (b"GET", b"secret"), (KeyUse(b"secret", 1, frozenset((Effect.READ,)), True),))


def masking(masker: str = "redact") -> Masking:
    keys = RootKey(bytes(32)).keys("cache")
    plan = plan_reply(GET, [KeyMask(1, Whole(), masker)], elsewhere=(), keys=keys)
    assert plan is not None
    return Masking(plan)


def test_a_reply_is_masked_as_planned() -> None:
    assert masking().mask(b"$6\r\ns3cret\r\n", resp3=False) == (b"$3\r\n***\r\n", 1, {})
    assert masking("null").mask(b"$6\r\ns3cret\r\n", resp3=True)[0] == b"_\r\n"


def test_what_is_no_reply_of_the_command_is_withheld_or_masked_all_the_same() -> None:
    with pytest.raises(MaskingError, match=r"^lockgate: "):
        masking().mask(b"$6\r\ns3c", resp3=False)
    assert b"s3cret" not in masking().mask(b"*1\r\n$6\r\ns3cret\r\n", resp3=False)[0]


def test_what_comes_late_is_masked_as_is_due_by_then() -> None:
    asked = []

    def due() -> Masking | None:
        asked.append(1)
        return masking() if len(asked) > 1 else None

    later = Later(due)
    assert later.mask(b"$6\r\ns3cret\r\n", resp3=False)[0] == b"$6\r\ns3cret\r\n"
    assert later.mask(b"$6\r\ns3cret\r\n", resp3=False)[0] == b"$3\r\n***\r\n"


def test_what_would_not_be_let_pass_any_more_is_withheld() -> None:
    def due() -> Masking | None:
        raise MaskingError("meanwhile: a policy forbids it")

    with pytest.raises(MaskingError, match="meanwhile"):
        Later(due).mask(b"$6\r\ns3cret\r\n", resp3=False)
