"""What is masked of one key's value: all selectors that apply to it, put together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from lockgate.masking.keys import Keys
from lockgate.masking.replies.documents import Place, mask_document
from lockgate.masking.replies.texts import TextMasker, strictest, text_masker
from lockgate.values.glob import compile_glob
from lockgate.values.selector import Document, Field, Selector, Whole


@dataclass(frozen=True, slots=True)
class Treatment:
    """What happens to one string of a value: all of it is masked (`masker`), or those of its places."""

    masker: TextMasker | None
    places: tuple[Place, ...] = ()

    @property
    def veils(self) -> bool:
        """Whether a null is to look like a value."""
        return self.masker is not None and self.masker.veils

    def shown(self, value: bytes) -> tuple[bytes | None, int]:
        """What is shown of it (None: null), and how much was masked."""
        if self.masker is not None:
            return self.masker.shown(value), 1
        masked = mask_document(value, self.places)
        if masked is not None:
            return masked
        # what is no document may hold anything
        chosen = strictest([masker for _, masker in self.places])
        return None if chosen is None else chosen.blank, 1


@dataclass(frozen=True, slots=True)
class Rule:
    """What is masked of a key's value; false when nothing is.

    Whole: elements, members, scores, the names and values of fields, each of them. Fields: the values of those, in
    hashes and streams; in a value of another type there is none. Documents: places in every string of the value, those
    in the fields of a hash or the elements of a list too. The identifiers of a stream's entries say when it was
    written, and are no part of any of this.
    """

    masks: tuple[tuple[Selector, TextMasker], ...] = ()
    whole: TextMasker | None = field(init=False)
    places: tuple[Place, ...] = field(init=False)
    element: Treatment | None = field(init=False)
    """Of a string, or an element or member."""
    name: Treatment | None = field(init=False)
    """Of the name of a field."""
    fields: tuple[tuple[re.Pattern[bytes], TextMasker], ...] = field(init=False)
    """Of those fields whose names match; empty when a field is treated as any element."""

    def __post_init__(self) -> None:
        whole = strictest([masker for selector, masker in self.masks if isinstance(selector, Whole)])
        places = tuple((selector.path, masker) for selector, masker in self.masks if isinstance(selector, Document))
        element = Treatment(None, places) if places else None
        if whole is not None:
            # a part may be masked more strictly than the whole, which then shows no more of it
            element = Treatment(strictest([whole, *(masker for _, masker in places)]))
        object.__setattr__(self, "whole", whole)
        object.__setattr__(self, "places", places)
        object.__setattr__(self, "element", element)
        object.__setattr__(self, "name", None if whole is None else Treatment(whole))
        fields = () if whole is not None else self.masks
        globs = [(compile_glob(one.pattern), masker) for one, masker in fields if isinstance(one, Field)]
        object.__setattr__(self, "fields", tuple(globs))

    def __bool__(self) -> bool:
        return bool(self.masks)

    def named(self, name: bytes) -> Treatment | None:
        """Of the value of a field with this name."""
        maskers = [masker for glob, masker in self.fields if glob.fullmatch(name)]
        if not maskers:
            return self.element
        return Treatment(strictest([*maskers, *(masker for _, masker in self.places)]))

    @property
    def any_field(self) -> Treatment | None:
        """Of the value of a field whose name isn't known."""
        # places in documents are then hidden with all that is around them
        return Treatment(self.strictest) if self.fields else self.element

    @property
    def strictest(self) -> TextMasker | None:
        """The strictest masker of all."""
        return strictest([masker for _, masker in self.masks])

    def covers(self, other: Rule, *, fields: bool) -> bool:
        """Whether what `other` masks is masked here at least as strictly; `fields`: of a hash or stream too."""
        return all(
            any(
                (isinstance(mine, Whole) or mine == selector) and own.masker.strictness >= masker.masker.strictness
                for mine, own in self.masks
            )
            for selector, masker in other.masks
            if fields or not isinstance(selector, Field)
        )


NOTHING = Rule()


@lru_cache(maxsize=1024)
def rule_of(masks: tuple[tuple[Selector, str], ...], keys: Keys) -> Rule:
    """Of selectors and maskers as policies write them. Raises MaskerError."""
    return Rule(tuple((selector, text_masker(masker, keys)) for selector, masker in masks))


def together(rules: Iterable[Rule]) -> Rule:
    """Of what may be from any of several keys."""
    return Rule(tuple(dict.fromkeys(mask for rule in rules for mask in rule.masks)))
