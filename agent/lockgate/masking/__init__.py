"""Masks: what they do to a value, which column gets which, and the compiled kernel that rewrites rows.

`skip_rows` and `mask_rows` are the compiled ones, always: the reference in `rows.py` is some hundred times slower, and
an agent that quietly ran it would look broken under load rather than badly installed.
"""

try:
    from lockgate.masking._rows import Program, mask_value, skip_rows
except ModuleNotFoundError as error:
    raise ImportError(
        "the compiled row kernel (lockgate.masking._rows) is missing: run `make setup`, or install the package"
    ) from error
from lockgate.masking.classified import Classified, Held, Place, Source, resolve
from lockgate.masking.copy_plan import copy_fields, layout_of
from lockgate.masking.copy_stream import CopyStream
from lockgate.masking.keys import Keys, MaskingKeyError, RootKey
from lockgate.masking.plan import Field, Plan, StaleCatalog, Unmaskable, build_plan, choose_maskers
from lockgate.masking.results import mask_rows
from lockgate.masking.spec import MaskerError, parse_masker, stricter

__all__ = [
    "Classified",
    "CopyStream",
    "Field",
    "Held",
    "Keys",
    "MaskerError",
    "MaskingKeyError",
    "Place",
    "Plan",
    "Program",
    "RootKey",
    "Source",
    "StaleCatalog",
    "Unmaskable",
    "build_plan",
    "choose_maskers",
    "copy_fields",
    "layout_of",
    "mask_rows",
    "mask_value",
    "parse_masker",
    "resolve",
    "skip_rows",
    "stricter",
]
