"""Trying commands without a datastore: what they show, in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.policy import cases, trial
from lockgate.policy.commands import CommandLines
from lockgate.values.identity import Asker
from tests.policy.redis import EMAIL, EXECUTE, PATH, SECRET, engine

POLICIES = f"""
permit (principal, {EXECUTE}, resource in Datastore::"cache");
@approvers("dba") forbid (principal, action == Action::"execute_alone", resource in Keys::"cache/secret:*");
permit (principal, action == Action::"reveal", resource);
@mask("partial") forbid (principal, action == Action::"reveal", resource in Tag::"email");
@id("one") forbid (principal, action == Action::"reveal", resource == Column::"cache.doc:*#$.user.email");
@id("secret") forbid (principal, action == Action::"reveal", resource == Column::"cache.secret:*");
forbid (principal, action == Action::"infer", resource);
"""


def tried(folder: Path, text: str) -> trial.Trial:
    asker = Asker(trial.stand_in("ann", "ann", ()), "cache", "0", "app")
    return trial.run(engine(folder, POLICIES), CommandLines(), asker, text)


@pytest.mark.parametrize(
    ("text", "masks"),
    [
        ("GET secret:1", {SECRET: "redact"}),
        ("HGETALL profile:7", {EMAIL: "partial"}),
        ("GET doc:7", {PATH: "redact"}),
        ("GET secret:1\nHGETALL profile:7", {SECRET: "redact", EMAIL: "partial"}),
        ("MGET cart:1 secret:1 doc:1", {SECRET: "redact", PATH: "redact"}),
        ("SET secret:1 x", {}),
        ("SET secret:1 x GET", {SECRET: "redact"}),
        ("EXISTS secret:1", {}),
        ("GET cart:1", {}),
        ("PING", {}),
        ("EVAL 'return 1' 0", {SECRET: "redact", EMAIL: "partial", PATH: "redact"}),
    ],
)
def test_what_is_masked_of_a_command(tmp_path: Path, text: str, masks: dict[str, str]) -> None:
    """Names with `*`, `:`, `#`, `$` and `.` are ids of Column like any other."""
    verdict = tried(tmp_path, text).verdict
    assert {mask.column: mask.masker for mask in verdict.masks} == masks


def test_a_tag_of_a_name_reaches_policy(tmp_path: Path) -> None:
    (mask,) = tried(tmp_path, "HGET profile:7 email").verdict.masks
    assert (mask.column, mask.tags) == (EMAIL, ("pii", "email"))


def test_a_held_command_in_a_sentence(tmp_path: Path) -> None:
    one = tried(tmp_path, "DEL secret:1")
    said = trial.sentence(engine(tmp_path, POLICIES).bundle, one)
    assert said.startswith("ann has to wait for a second person on cache: someone in dba, within 15 minutes")


def test_a_denied_command_in_a_sentence(tmp_path: Path) -> None:
    judge = engine(tmp_path, f'permit (principal, {EXECUTE}, resource in Keys::"cache/session:*");')
    asker = Asker(trial.stand_in("ann", "ann", ()), "cache", "0", "app")
    one = trial.run(judge, CommandLines(), asker, "SET cart:1 s3cret")
    assert trial.sentence(judge.bundle, one) == (
        "ann may not run this on cache: no policy permits ann to write keys of cache (SET). "
        "Decided by default-deny (no policy permits it)."
    )
    assert "s3cret" not in one.request.text


def test_a_case_of_redis_is_in_database_0(tmp_path: Path) -> None:
    (tmp_path / "x.test.yaml").write_text(
        """
- {name: a, principal: ann, datastore: cache, statement: GET session:1, expect: allow}
- {name: b, principal: ann, datastore: cache, database: "3", statement: GET session:1, expect: deny}
- {name: c, principal: ann, datastore: cache, statement: "SELECT 3\\nGET cart:1", expect: deny, masks: {}}
"""
    )
    judge = engine(tmp_path, f'permit (principal, {EXECUTE}, resource in Keys::"cache/session:*") when '
                             '{ context.database == "0" && context.protocol == "redis" };')  # fmt: skip
    for placed in cases.load(cases.find([tmp_path])):
        assert cases.run(judge, CommandLines(), placed).wrong == ()
