"""What is looked for in values that nobody classified: by form, and by checksum wherever there is one.

Each detector has a `hint`, a pattern that some part of everything it finds matches whatever stands around it: one look
for all hints tells whether a whole buffer of rows can go on as it is. What passes that is read value by value.

Values are bytes and patterns Latin-1, so that nothing needs to be decoded: a character outside ASCII is bytes from 0x80
on, which stand for letters where letters may stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import re2

from lockgate.masking.checksums import card, codice_fiscale, dni, iban, jwt, nir, pesel, ssn

Span = tuple[int, int]
"""Where something was found in a value: its first byte and the one behind its last."""

CANDIDATES: Final = 10_000
"""Places of one value that look like something and are none. A value with more was made to keep us busy."""

MEMORY: Final = 32 * 1024 * 1024
"""Bytes an automaton's states may take. What is behind is thrown away and made again, or read by slower means; for a
set it is an error that is not told, so this is far more than the few hundred states that hints make."""


class TooManyCandidates(Exception):
    """A value holds more than CANDIDATES: it can't be said what it holds, and is hidden whole."""


def options() -> Any:
    """How every pattern here is compiled."""
    found = re2.Options()
    found.encoding = re2.Options.Encoding.LATIN1
    found.max_mem = MEMORY
    found.log_errors = False
    return found


def compiled(pattern: str) -> Any:
    """A pattern over bytes."""
    return re2.compile(pattern.encode("latin-1"), options())  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Detector:
    """`hint` is a pattern; `find` gives what a value holds, in order. It raises TooManyCandidates."""

    hint: str
    find: Callable[[bytes], Iterator[Span]]


def _matches(pattern: str, check: Callable[[bytes], bool] = lambda _: True) -> Callable[[bytes], Iterator[Span]]:
    """All that matches, stands alone (no letter or digit beside one at its ends) and holds."""
    return _beginnings(pattern, lambda found: len(found) if check(found) else 0)


def _beginnings(pattern: str, shorten: Callable[[bytes], int]) -> Callable[[bytes], Iterator[Span]]:
    """All that a match begins with and stands alone: `shorten` tells how many bytes of it, 0 for none."""
    form = compiled(pattern)

    def find(value: bytes) -> Iterator[Span]:
        at, failed = 0, 0
        while (match := form.search(value, at)) is not None:
            start, end = match.span()
            size = shorten(value[start:end])
            if size and _alone(value, start, start + size):
                yield start, start + size
                at = start + size
            else:
                at = start + 1
                failed += 1
                if failed > CANDIDATES:
                    raise TooManyCandidates

    return find


def _alone(value: bytes, start: int, end: int) -> bool:
    before = start > 0 and value[start - 1 : start].isalnum() and value[start : start + 1].isalnum()
    return not before and not (value[end : end + 1].isalnum() and value[end - 1 : end].isalnum())


def _private_key(value: bytes) -> Iterator[Span]:
    """PEM (RFC 7468) and OpenPGP armour, to the end that belongs to it, or to the end of the value."""
    at = 0
    while (begin := _PEM_BEGIN.search(value, at)) is not None:
        end = _PEM_END.search(value, begin.end())
        at = len(value) if end is None else end.end()
        yield begin.start(), at


_PEM_BEGIN: Final = compiled("-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----")
_PEM_END: Final = compiled("-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----")

# of RFC 5322's atext only what addresses are made of in practice: braces and quotes belong to what stands around
_LOCAL: Final = r"A-Za-z0-9._%+\-\x80-\xff"
_HOST: Final = r"A-Za-z0-9\-\x80-\xff"
_CLOUD_KEY: Final = "|".join((
    # AWS: identifiers of keys, and secrets by the name they are given
    r"A(?:KIA|SIA)[A-Z0-9]{16}",
    r"(?i:aws_?secret_?(?:access_?)?key)[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9/+]{40}",
    # Google: API keys and access tokens
    r"AIza[A-Za-z0-9_\-]{35}",
    r"ya29\.[A-Za-z0-9_\-]{20,}",
    # Azure: storage accounts and application secrets
    r"AccountKey=[A-Za-z0-9+/]{86}==",
    r"[A-Za-z0-9_~.\-]{3}8Q~[A-Za-z0-9_~.\-]{31,34}",
    # GitHub, Slack, Stripe
    r"gh[oprsu]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,}",
    r"xox[abeoprs]-[A-Za-z0-9\-]{10,}|hooks\.slack\.com/services/[A-Za-z0-9/]{20,}",
    r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{20,}",
))  # fmt: skip
_CLOUD_HINT: Final = (
    r"A(?:KIA|SIA)[A-Z0-9]{4}|(?i:aws_?secret)|AIza[A-Za-z0-9_\-]{4}|ya29\.|AccountKey=|8Q~|gh[oprsu]_[A-Za-z0-9]{4}"
    r"|github_pat_|xox[abeoprs]-|hooks\.slack\.com/services/|[rs]k_(?:live|test)_|whsec_"
)
_SSN: Final = r"[0-9]{3}[ \-][0-9]{2}[ \-][0-9]{4}"
_NINO: Final = r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?: ?[0-9]{2}){3} ?[A-D]"
_DNI: Final = r"(?:[0-9]{8}|[XYZ]-?[0-9]{7})-?[A-Z]"
_DIGIT: Final = "[0-9LMNPQRSTUV]"
_CODICE_FISCALE: Final = f"[A-Z]{{6}}{_DIGIT}{{2}}[A-EHLMPRST]{_DIGIT}{{2}}[A-Z]{_DIGIT}{{3}}[A-Z]"
_NIR: Final = r"[1-478] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}"
_PHONE: Final = (
    r"\+[1-9](?:[ ./()\-]{0,2}[0-9]){7,14}"  # E.123, international
    r"|(?:\([2-9][0-9]{2}\)|[2-9][0-9]{2})[ .\-]{1,2}[2-9][0-9]{2}[ .\-][0-9]{4}"  # North American
)
_PHONE_HINT: Final = r"\+[1-9][0-9 ./()\-]{7}|[2-9][0-9]{2}\)?[ .\-]{1,2}[2-9][0-9]{2}[ .\-][0-9]{4}"
_UNUSED_NINO: Final = frozenset((b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"))

DETECTORS: Final[Mapping[str, Detector]] = MappingProxyType({
    "email": Detector(
        f"[{_LOCAL}]@[{_HOST}]",
        _matches(rf"[{_LOCAL}]+@[{_HOST}]+(?:\.[{_HOST}]+)*\.[A-Za-z\x80-\xff][{_HOST}]*[A-Za-z\x80-\xff]"),
    ),
    "phone": Detector(_PHONE_HINT, _matches(_PHONE)),
    "card": Detector(
        r"[2-6](?:[ \-]?[0-9]){12}", _beginnings(r"[2-6](?:[ \-]?[0-9]){12,18}", card)
    ),
    "iban": Detector(
        r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11}",
        _beginnings(r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}", iban),
    ),
    "us_ssn": Detector(_SSN, _matches(_SSN, ssn)),
    "uk_nino": Detector(_NINO, _matches(_NINO, lambda found: found[:2] not in _UNUSED_NINO)),
    "es_dni": Detector(_DNI, _matches(_DNI, dni)),
    "it_codice_fiscale": Detector(_CODICE_FISCALE, _matches(_CODICE_FISCALE, codice_fiscale)),
    "fr_nir": Detector(_NIR, _matches(_NIR, nir)),
    "pl_pesel": Detector(r"[0-9]{11}", _matches(r"[0-9]{11}", pesel)),
    "cloud_key": Detector(_CLOUD_HINT, _matches(_CLOUD_KEY)),
    "private_key": Detector("-----BEGIN ", _private_key),
    "jwt": Detector(
        r"eyJ[A-Za-z0-9_\-]{8}", _matches(r"eyJ[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*){2,4}", jwt)
    ),
})  # fmt: skip

KINDS: Final = tuple(DETECTORS)
"""The kinds there are, as policies, records and metrics name them."""
