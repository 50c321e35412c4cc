"""Each test has a booted system of its own, as it is before Lockgate comes: PostgreSQL with customers, and people."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.packages import repack
from tests.packages.host import DPKG, NEWER, PACKAGES, RPM, Host, Manager
from tests.support.machine import ALL, Abilities, Machine, sweep
from tests.support.roots import CHECKOUT, DEBIAN_12, DEBIAN_13, INSIDE, Recipe, cache, root
from tests.support.roots import RPM as RPM_ROOT

BUILT = Path(os.environ.get("LOCKGATE_PACKAGES", CHECKOUT / "build" / "packages")).absolute()
"""Where `make deb` and `make rpm` leave what they build."""

Boot = Callable[..., Host]


@pytest.fixture(scope="session", autouse=True)
def _swept() -> None:
    """A run that was killed leaves nothing to this one."""
    sweep()
    for folder in (cache() / "machines").glob("*"):
        if not Path(f"/proc/{folder.name.partition('-')[0]}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def built(manager: Manager) -> Path:
    """The package that is tested, the only one of its kind. Fails the test when there is none, or there are several."""
    found = list(BUILT.glob(f"lockgate*{manager.suffix}"))
    assert len(found) == 1, f"{BUILT} has {len(found)} packages *{manager.suffix}: make deb rpm"
    return found[0]


@pytest.fixture(scope="session")
def newer() -> Iterator[Callable[[Path], Path]]:
    """`newer(package)` is the same under the next version, beside it."""
    made: dict[Path, Path] = {}
    folder = cache() / "newer"
    folder.mkdir(parents=True, exist_ok=True)

    def one(package: Path) -> Path:
        if package not in made:
            made[package] = repack.newer(package, folder)
        return made[package]

    yield one
    shutil.rmtree(folder)


@pytest.fixture
def boot() -> Iterator[Boot]:
    """`boot(recipe, manager, abilities)` gives a running Host."""
    with ExitStack() as stack:

        def one(recipe: Recipe = DEBIAN_12, manager: Manager = DPKG, abilities: Abilities = ALL) -> Host:
            package = built(manager)
            work = cache() / "machines" / f"{os.getpid()}"
            (cache() / "newer").mkdir(parents=True, exist_ok=True)
            seen = {CHECKOUT: INSIDE, BUILT: PACKAGES, cache() / "newer": NEWER}
            machine = stack.enter_context(Machine(root(recipe), work, seen, abilities))
            return Host(machine, manager, package)

        yield one


@pytest.fixture(params=[(DEBIAN_12, DPKG), (DEBIAN_13, DPKG), (RPM_ROOT, RPM)], ids=["debian-12", "debian-13", "rpm"])
def host(request: pytest.FixtureRequest, boot: Boot) -> Host:
    """On every kind of system."""
    return boot(*request.param)


@pytest.fixture
def debian(boot: Boot) -> Host:
    return boot()
