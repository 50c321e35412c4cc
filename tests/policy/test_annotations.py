from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.policy.annotations import (
    GRANT_SECONDS_MAX,
    HOLD_SECONDS,
    HOLD_SECONDS_IN_TRANSACTION,
    Policy,
    describe,
)
from lockgate.policy.source import BundleError, Piece

ALONE = frozenset(("execute_alone",))
REVEAL = frozenset(("reveal",))


def forbid(actions: frozenset[str], **annotations: str) -> Policy:
    return describe(Piece(Path("/etc/p.cedar"), 4, ""), "forbid", actions, annotations)


def test_a_policy_without_id_is_named_by_its_place_without_the_hosts_folders() -> None:
    policy = forbid(ALONE)
    assert (policy.id, policy.where) == ("p.cedar:4", "/etc/p.cedar:4")


def test_a_hold_has_approvers_and_a_time() -> None:
    policy = forbid(ALONE, id="two people", approvers="dba, security", timeout="90s", reason="writes take two")
    assert (policy.approvers, policy.timeout, policy.reason) == (("dba", "security"), 90.0, "writes take two")
    assert forbid(ALONE, approvers="dba").timeout == HOLD_SECONDS


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("15m", 900), ("24h", 86400), ("86400s", 86400)])
def test_times(text: str, seconds: int) -> None:
    assert forbid(ALONE, approvers="dba", timeout=text).timeout == seconds


@pytest.mark.parametrize(
    "text", ["", "15", "m", "0s", "25h", "1d", "-1s", "1.5h", " 5m", "5m ", "5m\n", "1441m", "٣s", "9999999s"]
)
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(BundleError, match="is not 1s to 24h"):
        forbid(ALONE, approvers="dba", timeout=text)


def test_inside_a_transaction_a_hold_is_shorter() -> None:
    assert forbid(ALONE, approvers="dba").timeout_in_transaction == HOLD_SECONDS_IN_TRANSACTION
    assert forbid(ALONE, approvers="dba", timeout="20s").timeout_in_transaction == 20
    assert forbid(ALONE, approvers="dba", timeout="1h", timeout_in_transaction="5m").timeout_in_transaction == 300
    for longer in ("16m", "0s", "x"):
        with pytest.raises(BundleError, match=r"@timeout_in_transaction\(.* is not 1s to 15m"):
            forbid(ALONE, approvers="dba", timeout_in_transaction=longer)


def test_a_grant_is_none_unless_the_policy_says_how_long() -> None:
    assert forbid(ALONE, approvers="dba").grant == 0
    assert forbid(ALONE, approvers="dba", grant="8h").grant == 8 * 3600
    assert forbid(ALONE, approvers="dba", grant="24h").grant == GRANT_SECONDS_MAX
    for wrong in ("", "25h", "0s", "8"):
        with pytest.raises(BundleError, match=r"@grant\(.* is not 1s to 24h"):
            forbid(ALONE, approvers="dba", grant=wrong)


@pytest.mark.parametrize("key", ["aprovers", "Approvers", "approver", "masks", "timout", "description", "ID"])
def test_a_misspelt_annotation_would_change_the_meaning(key: str) -> None:
    with pytest.raises(BundleError, match=rf"^/etc/p\.cedar:4: @{key} is not an annotation"):
        forbid(ALONE, **{key: "dba"})


@pytest.mark.parametrize("name", ["", " a", "a" * 101, "default-deny", "lockgate:refusal", "b.cedar:3", "a\nb", "ä"])
def test_ids_that_could_be_taken_for_something_else(name: str) -> None:
    with pytest.raises(BundleError, match="@id"):
        forbid(ALONE, id=name)


@pytest.mark.parametrize(
    ("effect", "actions", "annotations"),
    [
        ("permit", ALONE, {"approvers": "dba"}),
        ("forbid", frozenset[str](), {"approvers": "dba"}),
        ("forbid", frozenset(("execute",)), {"approvers": "dba"}),
        ("forbid", frozenset(("execute", "execute_alone")), {"approvers": "dba"}),
        ("permit", REVEAL, {"mask": "redact"}),
        ("forbid", ALONE, {"mask": "redact"}),
        ("forbid", REVEAL, {"timeout": "5m"}),
        ("forbid", frozenset(("execute",)), {"grant": "5m"}),
        ("permit", ALONE, {"timeout_in_transaction": "5m"}),
        ("forbid", frozenset(("reveal", "execute")), {"mask": "redact"}),
    ],
)
def test_annotations_out_of_place(effect: str, actions: frozenset[str], annotations: dict[str, str]) -> None:
    with pytest.raises(BundleError, match="belongs on a forbid"):
        describe(Piece(Path("p"), 1, ""), effect, actions, annotations)


@pytest.mark.parametrize("groups", ["", ",", "dba,", " "])
def test_approvers_that_name_nobody(groups: str) -> None:
    with pytest.raises(BundleError, match="@approvers names groups"):
        forbid(ALONE, approvers=groups)


def test_approvers_named_twice() -> None:
    with pytest.raises(BundleError, match="a group twice"):
        forbid(ALONE, approvers="dba, dba")


def test_a_time_with_nobody_to_wait_for() -> None:
    for key in ("timeout", "timeout_in_transaction", "grant"):
        with pytest.raises(BundleError, match=f"@{key} .*nobody is asked"):
            forbid(ALONE, **{key: "5m"})


@pytest.mark.parametrize("mask", ["", "Redact", "none", "partial "])
def test_maskers_that_do_not_exist(mask: str) -> None:
    with pytest.raises(BundleError, match="is not a masker"):
        forbid(REVEAL, mask=mask)


@pytest.mark.parametrize("mask", ["partial:4", "truncate", "truncate:0", "date_shift:99999"])
def test_parameters_that_a_masker_does_not_take_are_named_with_file_and_line(mask: str) -> None:
    with pytest.raises(BundleError, match=r"^/etc/p\.cedar:4: @mask: "):
        forbid(REVEAL, mask=mask)


@pytest.mark.parametrize("mask", ["hash", "tokenise", "truncate:4", "truncate:month", "date_shift:30"])
def test_maskers_with_their_parameters(mask: str) -> None:
    assert forbid(REVEAL, mask=mask).mask == mask


@pytest.mark.parametrize("reason", ["", " ", "a\nb", "\x1b[31mred", "x" * 301])
def test_reasons_that_no_client_should_print(reason: str) -> None:
    with pytest.raises(BundleError, match="@reason is one line"):
        forbid(ALONE, reason=reason)


@given(st.dictionaries(st.sampled_from(("id", "approvers", "timeout", "mask", "reason", "x")), st.text(), max_size=4))
def test_any_annotations_are_either_kept_or_named_as_wrong(annotations: dict[str, str]) -> None:
    for actions in (ALONE, REVEAL):
        try:
            policy = forbid(actions, **annotations)
        except BundleError as caught:
            error = str(caught)
        else:
            assert 1 <= policy.timeout <= 86400
            assert bool(policy.approvers) == ("approvers" in annotations)
            continue
        assert error.startswith("/etc/p.cedar:4: ")
