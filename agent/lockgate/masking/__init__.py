"""Masks: what they do to a value, which column gets which, and the compiled kernel that rewrites rows.

`skip_rows` and `mask_rows` are the compiled ones, always: the reference in `rows.py` is some hundred times slower, and
an agent that quietly ran it would look broken under load rather than badly installed.
"""

try:
    from lockgate.masking._rows import mask_rows, skip_rows
except ModuleNotFoundError as error:
    raise ImportError(
        "the compiled row kernel (lockgate.masking._rows) is missing: run `make setup`, or install the package"
    ) from error
from lockgate.masking.classified import Classified, Held, Place, Source, resolve
from lockgate.masking.maskers import MASKERS, stricter
from lockgate.masking.plan import Field, Plan, StaleCatalog, Unmaskable, build_plan, choose_maskers

__all__ = [
    "MASKERS",
    "Classified",
    "Field",
    "Held",
    "Place",
    "Plan",
    "Source",
    "StaleCatalog",
    "Unmaskable",
    "build_plan",
    "choose_maskers",
    "mask_rows",
    "resolve",
    "skip_rows",
    "stricter",
]
