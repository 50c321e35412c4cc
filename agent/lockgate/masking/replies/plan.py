"""How the reply of one command is masked: decided before the command is sent, applied to what comes back.

A reply is masked, and looked through, whole: there is no masking of what isn't all there. So a session holds each reply
that has a plan up to its bound (`row_bytes`), and of a larger one it sends nothing but an error in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from lockgate.masking.keys import Keys
from lockgate.masking.plan import Unmaskable
from lockgate.masking.replies import resp
from lockgate.masking.replies.commands import KEPT, NAMES, conceals, shape_of, shows_names
from lockgate.masking.replies.resp import Malformed, parse
from lockgate.masking.replies.rules import rule_of
from lockgate.masking.replies.shapes import InTurn, Shape, Work, apply
from lockgate.masking.replies.texts import TextMasker, text_masker
from lockgate.masking.replies.view import View
from lockgate.masking.scan import Scan, Watch
from lockgate.values.command import Call
from lockgate.values.glob import compile_glob
from lockgate.values.selector import ClassifiedName, Selector
from lockgate.values.statement import Place


@dataclass(frozen=True, slots=True)
class KeyMask:
    """What of the key in a place of `Call.args` is masked, and with which masker (as policies write it)."""

    place: int
    selector: Selector
    masker: str


@dataclass(frozen=True, slots=True)
class NameMask:
    """The same of all keys, or channels, in the datastore that a classified name is about."""

    name: ClassifiedName
    masker: str


def key_masks(call: Call, masks: Sequence[NameMask]) -> tuple[KeyMask, ...]:
    """Those of the keys that a command names."""
    return tuple(
        KeyMask(use.place, mask.name.selector, mask.masker)
        for mask in masks
        for use in call.keys
        if mask.name.place is Place.KEY and compile_glob(mask.name.pattern).fullmatch(use.key)
    )


@dataclass(frozen=True, slots=True)
class Guarded:
    """A shape whose errors may quote a masked value, written by a script or not."""

    shape: Shape
    script: bool

    def apply(self, node: resp.Node, work: Work) -> None:
        outside = work.guarded, work.script
        work.guarded, work.script = True, self.script
        self.shape.apply(node, work)
        work.guarded, work.script = outside


@dataclass(frozen=True, slots=True)
class ReplyMasker:
    """Masks replies of one command (or of EXEC)."""

    shape: Shape
    scan: Scan | None
    hidden: TextMasker | None
    """Masks what attributes say; None when nothing is masked but what detectors find."""

    def mask(self, reply: bytes, *, resp3: bool = False) -> tuple[bytes, int, dict[str, int]]:
        """A whole reply -> as it may be shown, how many values are masked in it, and what was found by kind.

        `resp3` says which protocol the connection speaks, and so how a null is written. Raises Unmaskable when the
        reply is none, or not what the command is known to be answered with.
        """
        kinds = kinds_in(self.scan, reply)
        if self.hidden is None and not kinds:
            return reply, 0, {}
        try:
            tree = parse(reply)
        except Malformed as error:
            raise Unmaskable(f"the reply can't be read: {error}") from error
        work = Work(reply, self.scan, kinds, resp3=resp3 or tree.resp3)
        apply(self.shape, tree, work, self.hidden)
        return work.finished(), work.cells, dict(work.found)


def kinds_in(scan: Scan | None, data: bytes) -> Sequence[int]:
    """Numbers of the detectors to be tried: those whose hints are anywhere in the data."""
    if scan is None:
        return ()
    # a string that comes in pieces could be cut anywhere
    return range(len(scan.hints.kinds)) if b"$?\r\n" in data else scan.hints.kinds_in(data)


def plan_reply(
    call: Call,
    masks: Sequence[KeyMask],
    *,
    elsewhere: Sequence[NameMask],
    keys: Keys,
    detectors: Mapping[str, str] = MappingProxyType({}),
) -> ReplyMasker | None:
    """How the reply of a command is masked; None when it passes as it is.

    `masks` are those of its keys (`key_masks`), `elsewhere` all that its principal has in the datastore, whatever the
    command names: scripts and SORT reach other keys, and MONITOR all. `detectors`: kind -> masker of what is found in
    values that nobody classified.

    Raises Unmaskable when the command would show, compute or copy what is masked in a way that can't be masked, and
    ValueError for a masker or a detector that there is none of.
    """
    scan = scan_of(tuple(detectors.items()), keys) if detectors else None
    if masks or elsewhere:
        others = [mask.name.pattern for mask in elsewhere if mask.name.place is Place.KEY]
        selected: dict[int, list[tuple[Selector, str]]] = {}
        for mask in masks:
            selected.setdefault(mask.place, []).append((mask.selector, mask.masker))
        rules = {place: rule_of(tuple(pairs), keys) for place, pairs in selected.items()}
        shape = shape_of(View(call, rules, others))
        if rules:
            return ReplyMasker(Guarded(shape, call.script is not None), scan, text_masker("redact", keys))
    if scan is None:
        return None
    if shows_names(call.name):
        return None
    if conceals(call.name):
        raise Unmaskable(f"{call.name} shows values in a form that isn't looked through for what nobody classified")
    return ReplyMasker(KEPT, scan, None)


@lru_cache(maxsize=256)
def scan_of(detectors: tuple[tuple[str, str], ...], keys: Keys) -> Scan | None:
    """Made once for each combination that policies ask for."""
    return Scan.of(dict(detectors), bytes((Watch.TEXT,)), keys, utf8=True)


def plan_exec(plans: Sequence[ReplyMasker | None]) -> ReplyMasker | None:
    """EXEC's: the plans of what it runs, in order, put together. None when all of it passes."""
    some = [plan for plan in plans if plan is not None]
    if not some:
        return None
    return ReplyMasker(
        # with detectors none is what shows but names
        InTurn(tuple(NAMES if plan is None else plan.shape for plan in plans)),
        next((plan.scan for plan in some if plan.scan is not None), None),
        next((plan.hidden for plan in some if plan.hidden is not None), None),
    )
