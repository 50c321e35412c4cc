"""What may be seen of a result: which classified columns plain, and which findings in all the others.

What a statement is doesn't enter into it, so answers are kept for every statement of the same asker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lockgate.masking import parse_masker
from lockgate.masking.detectors import KINDS
from lockgate.policy import questions
from lockgate.policy.annotations import MASK_DEFAULT, Policy
from lockgate.policy.bundle import Bundle
from lockgate.policy.generations import Generations
from lockgate.policy.questions import Answer
from lockgate.values.identity import Asker
from lockgate.values.verdict import Detect, Mask

KEPT_LENGTH = 8192
"""Characters of a client's making that a kept answer may keep alive."""

Reveal = Mask | str | bool
"""How a column may be seen: True for plain, a Mask, or the error that forbids telling."""


class Sight:
    """Asks one bundle. `cache` bounds the answers kept."""

    def __init__(self, bundle: Bundle, cache: int) -> None:
        self._bundle = bundle
        self._reveals: Generations[tuple[object, ...], Reveal] = Generations(cache)
        self._detecting = bundle.forbids("reveal_detected")
        self._detects: Generations[tuple[object, ...], tuple[Detect, ...] | str] = Generations(cache)

    def masks(
        self, asker: Asker, place: Mapping[str, object], minute: int, columns: Sequence[str]
    ) -> tuple[Mask, ...] | str:
        """A Mask for every column that is not revealed, or the error that forbids telling."""
        who = (asker.key, minute)
        wanted = tuple(dict.fromkeys(columns))
        known = {name: reveal for name in wanted if (reveal := self._reveals.get((who, name))) is not None}
        missing = [name for name in wanted if name not in known]
        if missing:
            known |= zip(missing, self._ask(asker, place, missing), strict=True)
            if len(asker.database) + len(asker.user) <= KEPT_LENGTH:
                for name in missing:
                    self._reveals.put((who, name), known[name])
        reveals = [known[name] for name in wanted]
        error = next((reveal for reveal in reveals if isinstance(reveal, str)), None)
        return error or tuple(reveal for reveal in reveals if isinstance(reveal, Mask))

    def detects(self, asker: Asker, place: Mapping[str, object], minute: int) -> tuple[Detect, ...] | str:
        """What to look for in values that nobody classified, or the error that forbids telling.

        A detector is on when a forbid says so: no policy has to permit what was never hidden.
        """
        if not self._detecting:
            return ()
        who = (asker.key, minute)
        found = self._detects.get(who)
        if found is None:
            found = self._ask_detects(asker, place)
            if len(asker.database) + len(asker.user) <= KEPT_LENGTH:
                self._detects.put(who, found)
        return found

    def _ask_detects(self, asker: Asker, place: Mapping[str, object]) -> tuple[Detect, ...] | str:
        entities = [questions.detector(asker.datastore, kind) for kind in KINDS]
        asked = [questions.question(asker.claims, "reveal_detected", entity, place) for entity in entities]
        known = (questions.principal(asker.claims), questions.store(asker.datastore), *entities)
        found: list[Detect] = []
        for kind, answer in zip(KINDS, questions.ask(self._bundle.rules, asked, known), strict=True):
            if answer.error is not None:
                return answer.error
            if not answer.permitted and answer.policies:
                policy = _strictest(answer.policies)
                found.append(Detect(kind, policy.mask or MASK_DEFAULT, policy.id))
        return tuple(found)

    def _ask(self, asker: Asker, place: Mapping[str, object], names: Sequence[str]) -> list[Reveal]:
        tags = self._bundle.classification.get(asker.datastore, {})
        entities = [questions.column(asker.datastore, name, tags.get(name, ())) for name in names]
        asked = [questions.question(asker.claims, "reveal", entity, place) for entity in entities]
        known = (questions.principal(asker.claims), questions.store(asker.datastore), *entities)
        answers = questions.ask(self._bundle.rules, asked, known)
        found = [_reveal(name, tags.get(name), answer) for name, answer in zip(names, answers, strict=True)]
        # a forbid with a mild mask must not show more than the same policies without it: nothing is seen that no
        # policy permits to be seen
        mild = [n for n, reveal in enumerate(found) if isinstance(reveal, Mask) and not _strict(reveal.masker)]
        permitted = questions.ask(self._bundle.permits, [asked[n] for n in mild], known) if mild else ()
        for n, answer in zip(mild, permitted, strict=True):
            if not answer.permitted:
                found[n] = _reveal(names[n], tags.get(names[n]), answer)
        return found


def _reveal(name: str, tags: tuple[str, ...] | None, answer: Answer) -> Reveal:
    if answer.error is not None:
        return answer.error
    if tags is None:
        # classified when the caller looked, not in this bundle: no policy on a tag can speak of it, so hide it
        return Mask(name, MASK_DEFAULT, "lockgate:unclassified")
    if answer.permitted:
        return True
    if not answer.policies:
        return Mask(name, MASK_DEFAULT, "default-deny", tags)
    policy = _strictest(answer.policies)
    return Mask(name, policy.mask or MASK_DEFAULT, policy.id, tags)


def _strictest(policies: Sequence[Policy]) -> Policy:
    return max(policies, key=lambda policy: parse_masker(policy.mask or MASK_DEFAULT).strictness)


def _strict(masker: str) -> bool:
    return parse_masker(masker).strictness >= parse_masker(MASK_DEFAULT).strictness
