"""How a message of a channel is masked: by the channel that it came on, whatever pattern it was listened to by.

A message is one string. It is masked whole (`&news:*`), or at places in it where it is JSON (`&events:*#$.user.email`),
by the rules of a key's value: what is no JSON may hold anything, and is hidden whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from lockgate.masking.keys import Keys
from lockgate.masking.plan import Unmaskable
from lockgate.masking.replies.plan import NameMask, kinds_in, scan_of
from lockgate.masking.replies.resp import Malformed, parse
from lockgate.masking.replies.rules import Treatment, rule_of
from lockgate.masking.replies.shapes import Elements, Work
from lockgate.masking.scan import Scan
from lockgate.values.glob import compile_glob
from lockgate.values.statement import Place

_LENGTHS: Final = {b"message": 3, b"pmessage": 4, b"smessage": 3}
"""Of messages, by their first word. The last thing is what was published; before it stand names (pubsub.c,
`addReplyPubsubMessage`)."""


@dataclass(frozen=True, slots=True)
class MessageMasker:
    """Masks messages of one channel. `treatment` is None where nothing is masked but what detectors find."""

    treatment: Treatment | None
    scan: Scan | None

    def mask(self, push: bytes, *, resp3: bool = False) -> tuple[bytes, int, dict[str, int]]:
        """A message as the server sends it -> as it may be shown, how many values are masked in it, and what was found
        by kind. Names of channels stay as they are.

        `resp3` says which protocol the connection speaks. Raises Unmaskable for what is no message.
        """
        kinds = kinds_in(self.scan, push)
        if self.treatment is None and not kinds:
            return push, 0, {}
        try:
            tree = parse(push)
        except Malformed as error:
            raise Unmaskable(f"the message can't be read: {error}") from error
        items = tree.root.items
        if tree.attributes or not items or _LENGTHS.get(items[0].text(push)) != len(items):
            raise Unmaskable("what was sent is no message")
        work = Work(push, self.scan, kinds, resp3=resp3 or tree.resp3)
        work.guarded = self.treatment is not None
        # an array: names of keys, where a server tells of changed ones by a channel
        Elements(self.treatment).apply(items[-1], work)
        return work.finished(), work.cells, dict(work.found)


def plan_message(
    channel: bytes,
    masks: Sequence[NameMask],
    *,
    keys: Keys,
    detectors: Mapping[str, str] = MappingProxyType({}),
) -> MessageMasker | None:
    """How messages of a channel are masked; None when they pass as they are.

    `masks` are all that who listens has in the datastore. `detectors`: kind -> masker of what is found in messages.

    Raises ValueError for a masker or a detector that there is none of.
    """
    scan = scan_of(tuple(detectors.items()), keys) if detectors else None
    chosen = [
        (mask.name.selector, mask.masker)
        for mask in masks
        if mask.name.place is Place.CHANNEL and compile_glob(mask.name.pattern).fullmatch(channel)
    ]
    treatment = rule_of(tuple(chosen), keys).element
    return None if treatment is None and scan is None else MessageMasker(treatment, scan)
