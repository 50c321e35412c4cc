"""How the gate last stood, put back: closed where it was enforced, open where it was only observed."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lockgate.demo.cgroup import in_cgroup
from lockgate.kernel.layout import Target
from lockgate.kernel.libbpf import Map
from lockgate.kernel.pins import Pins
from lockgate.kernel.standing import FILE_LIMIT, Standing, StandingError, last, restore
from lockgate.kernel.tables import TARGETS_MAX
from tests.kernel.conftest import isolated, python
from tests.support.cgroup import CgroupTree, run_in

TARGETS = [
    Target(ipaddress.ip_network("10.9.8.0/24"), 5432, 0, 40001),
    Target(None, 6432, 1, 40002, observed=True),
    Target(ipaddress.ip_network("fd99::7/128"), 5432, 0, 40001),
]
ERRNO = """
    s = socket.socket(); s.settimeout(5)
    say(errno=s.connect_ex((sys.argv[1], int(sys.argv[2]))))
"""


def errno_of(tree: CgroupTree, address: str, port: int) -> int:
    done = run_in(tree.apps, python(ERRNO, address, port))
    return int(json.loads(done.stdout)["errno"])


def test_what_is_kept_is_what_stood_with_nobody_behind_it(tmp_path: Path) -> None:
    Standing.of("/apps", tmp_path / "bpf", TARGETS).keep(tmp_path / "gate.json")
    found = Standing.load(tmp_path / "gate.json")
    assert found is not None
    assert found.cgroup == "/apps"
    assert [(t.network, t.port, t.datastore, t.listener_port, t.observed) for t in found.closed()] == [
        (t.network, t.port, t.datastore, 0, t.observed) for t in TARGETS
    ]
    assert (tmp_path / "gate.json").stat().st_mode & 0o077 == 0


def test_nothing_was_kept(tmp_path: Path) -> None:
    assert Standing.load(tmp_path / "gate.json") is None
    assert restore(tmp_path / "gate.json") is False


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", '{"cgroup": "/"}',
        '{"cgroup": "/", "pin_dir": "/", "targets": [{"network": "x", "port": 1, "datastore": 0, "observed": false}]}',
        '{"cgroup": "/", "pin_dir": "/", "targets": [{"network": null, "port": 0, "datastore": 0, "observed": true}]}',
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_an_error_that_names_the_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "gate.json"
    path.write_text(content)
    with pytest.raises(StandingError, match=r"gate\.json"):
        Standing.load(path)


def test_a_file_that_can_not_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StandingError, match="absent"):
        Standing.of("/", tmp_path, []).keep(tmp_path / "absent" / "gate.json")


def test_it_stands_again_without_an_agent(tree: CgroupTree, pin_dir: Path, tmp_path: Path) -> None:
    kept = tmp_path / "gate.json"
    Standing.of(tree.apps, pin_dir, TARGETS).keep(kept)
    script = (
        "import sys; from pathlib import Path; from lockgate.kernel.standing import restore; restore(Path(sys.argv[1]))"
    )
    subprocess.run(in_cgroup(tree.agent, [sys.executable, "-c", script, str(kept)]), check=True, timeout=30)
    assert errno_of(tree, "10.9.8.7", 5432) == errno.ECONNREFUSED, "closed, and at once"
    server = "s = socket.create_server(('127.0.0.1', 6432)); "
    dial = "c = socket.create_connection(('127.0.0.1', 6432)); say(peer=c.getpeername()[:2])"
    done = run_in(tree.apps, isolated(python(server + dial)))
    assert '"peer": ["127.0.0.1", 6432]' in done.stdout, done.stderr


PREPARED = """
import sys; from pathlib import Path; from lockgate.kernel.standing import StandingError, last, restore
try: restore(Path(sys.argv[1]))
except StandingError as error: print(error)
"""


def restored(tree: CgroupTree, path: Path) -> str:
    argv = in_cgroup(tree.agent, [sys.executable, "-c", PREPARED, str(path)])
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout


def test_what_another_account_wrote_makes_root_mount_nothing_in_a_folder_that_is_not_its_own(
    tree: CgroupTree, tmp_path: Path
) -> None:
    """An agent that was taken over can't have the next boot hide /etc behind an empty file system."""
    victim = tmp_path / "etc" / "pam.d"
    victim.mkdir(parents=True)
    theirs = tmp_path / "state"
    theirs.mkdir()
    os.chown(theirs, 64001, 64001)
    (theirs / "link").symlink_to(victim.parent)
    kept = theirs / "gate.json"
    for pin_dir in (victim, theirs / "link" / "pam.d", theirs / ".." / "etc" / "pam.d", Path("relative/bpf")):
        Standing.of(tree.apps, pin_dir, TARGETS).keep(kept)
        os.chown(kept, 64001, 64001)
        assert "is no folder of uid 64001" in restored(tree, kept)
    assert not victim.is_mount()
    assert sorted(path.name for path in victim.parent.iterdir()) == ["pam.d"]


def test_in_a_folder_of_its_own_it_stands_again(tree: CgroupTree, pin_dir: Path, tmp_path: Path) -> None:
    pin_dir.parent.mkdir()
    Standing.of(tree.apps, pin_dir, TARGETS).keep(tmp_path / "gate.json")
    for path in (pin_dir.parent, tmp_path / "gate.json"):
        os.chown(path, 64001, 64001)
    assert restored(tree, tmp_path / "gate.json") == ""
    assert errno_of(tree, "10.9.8.7", 5432) == errno.ECONNREFUSED


def test_who_puts_it_back_is_not_let_past(tree: CgroupTree, pin_dir: Path, tmp_path: Path) -> None:
    """By hand from a shell, the whole session would be."""
    Standing.of(tree.apps, pin_dir, TARGETS).keep(tmp_path / "gate.json")
    restored(tree, tmp_path / "gate.json")
    pins = Pins(pin_dir)
    exempt = pins.get("map_exempt")
    pins.close()
    assert exempt is not None
    assert list(Map("exempt", exempt).keys()) == []
    os.close(exempt)


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/dev/zero"), os.mkfifo, Path.mkdir])
def test_nothing_but_a_file_is_read(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "gate.json")
    with pytest.raises(StandingError, match=r"gate\.json"):
        Standing.load(tmp_path / "gate.json")


def test_a_file_without_end_is_not_read_to_it(tmp_path: Path) -> None:
    with (tmp_path / "gate.json").open("wb") as file:
        file.truncate(FILE_LIMIT + 1)
    with pytest.raises(StandingError, match="more than"):
        Standing.load(tmp_path / "gate.json")


def test_more_than_a_gate_can_hold_is_said(tree: CgroupTree, pin_dir: Path, tmp_path: Path) -> None:
    many = [Target(ipaddress.ip_network(n), 5432, 0, 1) for n in range(TARGETS_MAX + 1)]
    for targets in (many, [*TARGETS, TARGETS[0]]):
        Standing.of(tree.apps, pin_dir, targets).keep(tmp_path / "gate.json")
        assert "not how a gate stood" in restored(tree, tmp_path / "gate.json")


def test_what_was_enforced_and_is_not_declared_now_is_known() -> None:
    stood = Standing.of("/", Path("/run/lockgate/bpf"), TARGETS)
    now = Target(TARGETS[0].network, 5432, 7, 50001, observed=True)
    assert [str(target.network) for target in stood.enforced(besides=[now])] == ["fd99::7/128"]
    assert [target.listener_port for target in stood.enforced(besides=[])] == [0, 0]


def test_how_it_stood_last_is_not_known_where_it_can_not_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert last(tmp_path / "gate.json") is None
    assert caplog.records == []
    (tmp_path / "gate.json").write_text("{")
    assert last(tmp_path / "gate.json") is None
    assert "gate.json" in caplog.text
