from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lockgate.demo.errors import DemoError
from lockgate.demo.postgres import Postgres, binaries, free_port


def install(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_the_newest_that_is_whole_is_taken(tmp_path: Path) -> None:
    whole = ("initdb", "postgres", "psql")
    install(tmp_path / "9" / "bin", *whole)
    newest = install(tmp_path / "15" / "bin", *whole)
    install(tmp_path / "16" / "bin", "psql")  # its client only
    install(tmp_path / "lib" / "bin", *whole)
    assert binaries(tmp_path) == newest


def test_what_is_missing_is_said_with_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"^PostgreSQL is not installed .*: apt-get install postgresql-15 "):
        binaries(tmp_path)


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass


def test_a_server_of_ones_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Postgres({"work_mem": "'3MB'"}, hba="local all all trust\n") as server:
        assert server.psql("SHOW work_mem") == "3MB\n"
        with pytest.raises(RuntimeError, match="does not exist"):
            server.psql("SELECT * FROM nothing")
        refused = subprocess.run(
            [binaries() / "psql", "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "-c", "SELECT 1"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "no pg_hba.conf entry" in refused.stderr
        folder = server.folder
    assert not folder.exists()


def test_a_server_that_does_not_start_says_why_and_leaves_nothing() -> None:
    server = Postgres({"shared_buffers": "'nonsense'"})
    with pytest.raises(RuntimeError, match="nonsense"), server:
        pass
    assert not server.folder.exists()


@pytest.mark.parametrize("after", [0.2, 0.6])
def test_stopped_while_it_is_made(after: float) -> None:
    script = (
        "import signal; signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        "from lockgate.demo.postgres import Postgres\n"
        "server = Postgres(); print(server.folder, flush=True)\n"
        "with server: print('up', flush=True); signal.pause()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().decode().strip())
        time.sleep(after)
        process.send_signal(signal.SIGTERM)
    assert not folder.exists()
