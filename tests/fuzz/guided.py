"""One target under libFuzzer, which keeps what reaches new code.

    python -m tests.fuzz.guided NAME [libFuzzer's options]

Instruments the agent's modules as they are imported, so this is a process of its own for each target.
"""

from __future__ import annotations

import importlib
import sys
from random import Random
from typing import Any

atheris: Any = importlib.import_module("atheris")  # it exports nothing, as far as types go

with atheris.instrument_imports(include=["lockgate"], enable_loader_override=False):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    target = TARGETS[sys.argv.pop(1)]
    if target.mutate is None:
        atheris.Setup(sys.argv, target.run)
    else:
        change = target.mutate

        def mutate(data: bytes, limit: int, seed: int) -> bytes:
            return change(data, limit, Random(seed), atheris.Mutate)

        atheris.Setup(sys.argv, target.run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
