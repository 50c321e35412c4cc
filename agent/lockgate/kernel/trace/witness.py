"""The witness itself: prints every TCP connect to given ports as the kernel makes it, one JSON object a line.

A script for the distribution's own Python (3.9 or later), which alone can import BCC: it needs python3-bpfcc (Debian,
Ubuntu) or python3-bcc (EL, Fedora) and the headers of the running kernel, and nothing of Lockgate.

It stands at the tracepoint sock:inet_sock_set_state. tcp_v4_connect() and tcp_v6_connect() pass it in the context of
who connects, after every cgroup hook has rewritten the address and before the first packet leaves; TCP Fast Open,
io_uring and the subflows of MPTCP pass it too. Its fields are the tracepoint's own, so that no structure of the kernel
is read by its layout. A program at a tracepoint runs with preemption off, and nothing enters SYN_SENT from an
interrupt: none is skipped because another one runs.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import glob
import ipaddress
import json
import os
import platform
import re
import signal
import sys
import tempfile
import time
from typing import Any, NoReturn

RING_PAGES = 256
"""1 MiB: some ten thousand events that wait to be read. BCC's own tools take 64 pages a processor."""
DIALLING_MAX = 65536
"""Connects whose outcome is waited for: Linux has some 28,000 ephemeral ports for each address."""
LISTENERS_MAX = 1024
"""Ports on which the agent listens: one a datastore and network namespace."""
POLL_MILLISECONDS = 50
"""How often it is looked whether the agent's cgroup has been made anew: an agent needs longer to start to listen."""

PROGRAM = r"""
enum { SYN_SENT = 2, ESTABLISHED = 1, LISTEN = 10, TCP = 6 };
enum { BY_AGENT = 1, TO_LISTENER = 2, OTHER_PIDS = 4 };

struct event {
    u64 socket, time, cgroup;
    u32 pid, uid;
    u16 port, state, flags;
    u8 address[16];
    char comm[16];
};

BPF_HASH(ports, u16, u8, PORTS_MAX);
BPF_HASH(agents, u64, u8, 64);
BPF_HASH(listeners, u16, u8, LISTENERS_MAX);
BPF_HASH(dialling, u64, u8, DIALLING_MAX);
BPF_ARRAY(lost, u64, 1);
BPF_RINGBUF_OUTPUT(events, RING_PAGES);

static void count_lost(void)
{
    int key = 0;
    u64 *count = lost.lookup(&key);

    if (count)
        lock_xadd(count, 1);
}

static int is_loopback(const u8 *a)
{
    u32 *word = (u32 *)a;

    if (word[0] || word[1])
        return 0;
    if (!word[2])
        return word[3] == bpf_htonl(1);
    return word[2] == bpf_htonl(0xffff) && a[12] == 127;
}

TRACEPOINT_PROBE(sock, inet_sock_set_state)
{
    u64 cgroup = bpf_get_current_cgroup_id(), socket = (u64)args->skaddr;
    u16 port = args->dport, local = args->sport, flags = 0;
    u8 address[16], one = 1;
    int state = args->newstate;
    struct event *event;

    if (args->protocol != TCP)
        return 0;
    if (state == LISTEN) {
        if (agents.lookup(&cgroup) && listeners.update(&local, &one))
            count_lost();
        return 0;
    }
    if (state == SYN_SENT) {
        __builtin_memcpy(address, args->daddr_v6, sizeof(address));
        if (listeners.lookup(&port) && is_loopback(address))
            flags |= TO_LISTENER;
        else if (!ports.lookup(&port))
            return 0;
        if (agents.lookup(&cgroup))
            flags |= BY_AGENT;
        dialling.update(&socket, &one); /* when it is full the outcome stays unknown, who connects doesn't */
    } else {
        if (args->oldstate != SYN_SENT || !dialling.lookup(&socket))
            return 0;
        dialling.delete(&socket);
    }
    event = events.ringbuf_reserve(sizeof(*event));
    if (!event) {
        count_lost();
        return 0;
    }
    event->socket = socket;
    event->time = bpf_ktime_get_ns();
    event->cgroup = cgroup;
    event->uid = bpf_get_current_uid_gid();
    event->port = port;
    event->state = state;
#ifdef PIDS_INODE
    struct bpf_pidns_info own = {};
    if (bpf_get_ns_current_pid_tgid(PIDS_DEVICE, PIDS_INODE, &own, sizeof(own))) {
        own.tgid = bpf_get_current_pid_tgid() >> 32;
        flags |= OTHER_PIDS;
    }
    event->pid = own.tgid;
#else
    event->pid = bpf_get_current_pid_tgid() >> 32;
#endif
    event->flags = flags;
    __builtin_memcpy(event->address, args->daddr_v6, sizeof(event->address));
    bpf_get_current_comm(event->comm, sizeof(event->comm));
    events.ringbuf_submit(event, 0);
    return 0;
}
"""
SYN_SENT, ESTABLISHED = 2, 1
BY_AGENT, TO_LISTENER, OTHER_PIDS = 1, 2, 4
FIRST_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO, include/linux/proc_ns.h

TRACING = "/sys/kernel/tracing"
_CLONE_NEWNS, _MS_REC, _MS_SLAVE = 0x20000, 0x4000, 0x80000
_FILEID_KERNFS = 0xFE  # include/linux/exportfs.h


class CannotWitness(Exception):
    """What is missing, and what to install, in one line."""


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def installing(debian: str, redhat: str) -> str:
    """The command that installs it here, by /etc/os-release; both where that names neither family."""
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            family = " ".join(re.findall(r"^ID(?:_LIKE)?=[\"']?([^\"'\n]*)", file.read(), re.M)).split()
    except OSError:
        family = []
    apt, dnf = f"apt-get install {debian}", f"dnf install {redhat}"
    if {"debian", "ubuntu"} & set(family):
        return apt
    if {"rhel", "fedora", "centos"} & set(family):
        return dnf
    return f"{apt} (Debian, Ubuntu), or {dnf} (EL, Fedora)"


def load_bcc() -> Any:
    """The class BPF of BCC. Raises CannotWitness."""
    try:
        from bcc import BPF
    except (ImportError, OSError) as error:  # OSError: the module is there, its library isn't
        # PyPI has something else of that name
        found = getattr(error, "path", None)
        what = f"{found} is not BCC" if found else f"BCC is missing ({error})"
        raise CannotWitness(f"{what}: {installing('python3-bpfcc', 'python3-bcc')}") from None
    return BPF


def check_headers() -> None:
    """Raises CannotWitness where BCC would find none (src/cc/frontends/clang/loader.cc)."""
    release = platform.release()
    given = os.environ.get("BCC_KERNEL_SOURCE")
    if given:
        if not os.path.isdir(f"{given}/include/linux"):
            raise CannotWitness(f"BCC_KERNEL_SOURCE: no kernel headers in {given}")
        return
    places = [f"/lib/modules/{release}/{name}/include/linux" for name in ("source", "build")]
    places += ["/sys/kernel/kheaders.tar.xz", "/proc/kheaders.tar.xz"]
    if not any(map(os.path.exists, places)):
        debian, redhat = f"linux-headers-{release}", f"kernel-devel-{release}"
        raise CannotWitness(f"the headers of Linux {release} are missing: {installing(debian, redhat)}")


def see_tracepoints() -> None:
    """Where no tracefs is mounted (containers), mounts one in a mount namespace of this process's own."""
    event = "events/sock/inet_sock_set_state/format"
    if os.path.exists(f"{TRACING}/{event}") or os.path.exists(f"/sys/kernel/debug/tracing/{event}"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if (
        libc.unshare(_CLONE_NEWNS)
        or libc.mount(b"none", b"/", None, _MS_REC | _MS_SLAVE, None)
        or libc.mount(b"tracefs", TRACING.encode(), b"tracefs", 0, None)
    ):
        raise CannotWitness(f"no tracefs at {TRACING}, and none can be mounted: {os.strerror(ctypes.get_errno())}")
    if not os.path.exists(f"{TRACING}/{event}"):
        raise CannotWitness("this kernel has no tracepoint sock:inet_sock_set_state (CONFIG_EVENT_TRACING, 4.16)")


def load(ports: list[int]) -> Any:
    """The loaded program, at its tracepoint. Raises CannotWitness."""
    BPF = load_bcc()
    check_headers()
    see_tracepoints()
    sizes = {
        "PORTS_MAX": len(ports), "LISTENERS_MAX": LISTENERS_MAX, "DIALLING_MAX": DIALLING_MAX, "RING_PAGES": RING_PAGES,
    }  # fmt: skip
    pids = os.stat("/proc/self/ns/pid")
    if pids.st_ino != FIRST_PID_NAMESPACE:
        sizes.update(PIDS_DEVICE=pids.st_dev, PIDS_INODE=pids.st_ino)
    # numbers stand in the text: BCC's macros for maps don't take what -D defines
    program = PROGRAM
    for name, number in sizes.items():
        program = re.sub(rf"(?<!ifdef )\b{name}\b", str(number), program)
    flags = [f"-D{name}" for name in sizes if name.startswith("PIDS_")]
    with compilers_words() as words:
        try:
            loaded = BPF(text=program, cflags=flags)
        except Exception as error:  # noqa: BLE001 - BCC raises Exception itself
            found = re.search(r"^.*(?:error:|[Uu]nable to|[Ff]ailed to).*$", words(), re.M)
            raise CannotWitness(f"BCC can't load its program: {found[0].strip() if found else error}") from None
    for port in ports:
        loaded["ports"][ctypes.c_uint16(port)] = ctypes.c_uint8(1)
    return loaded


@contextlib.contextmanager
def compilers_words() -> Any:
    """Keeps what is written to descriptor 2 meanwhile, where clang writes; yields a function that reads it."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:

        def read() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        os.dup2(file.fileno(), 2)
        try:
            yield read
        finally:
            os.dup2(kept, 2)
            os.close(kept)


class Cgroups:
    """The cgroup2 tree: paths below its mount, which is read from /proc/self/mountinfo, and the kernel's ids."""

    def __init__(self) -> None:
        self.mount = ""
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            for line in file:
                before, _, after = line.partition(" - ")
                root, point = before.split(" ")[3:5]
                if after.startswith("cgroup2 ") and root == "/":
                    self.mount = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point)
                    break
        if not self.mount:
            raise CannotWitness("no cgroup2 file system is mounted")
        self._descriptor = os.open(self.mount, os.O_RDONLY | os.O_DIRECTORY)
        self._libc = ctypes.CDLL(None, use_errno=True)

    def path(self, number: int) -> str | None:
        """As in /proc/PID/cgroup; None when it is gone."""
        handle = ctypes.create_string_buffer(
            (8).to_bytes(4, sys.byteorder)
            + _FILEID_KERNFS.to_bytes(4, sys.byteorder)
            + number.to_bytes(8, sys.byteorder)
        )
        found = self._libc.open_by_handle_at(self._descriptor, handle, os.O_RDONLY | os.O_DIRECTORY)
        if found < 0:
            return None
        try:
            place = os.readlink(f"/proc/self/fd/{found}")
        finally:
            os.close(found)
        if place.endswith(" (deleted)"):
            return None
        return place[len(self.mount.rstrip("/")) :] or "/"

    def number(self, path: str) -> int | None:
        """The id of a cgroup, None when there is none."""
        try:
            return os.stat(self.mount + path).st_ino
        except OSError:
            return None

    def members(self, path: str) -> list[int]:
        try:
            with open(f"{self.mount}{path}/cgroup.procs", encoding="utf-8") as file:
                return [int(pid) for pid in file]
        except OSError:
            return []


def listening(pids: list[int]) -> set[int]:
    """The TCP ports on which these processes listen, in whatever network namespace."""
    inodes = set()
    for pid in pids:
        for descriptor in glob.glob(f"/proc/{pid}/fd/*"):
            with contextlib.suppress(OSError):
                found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(descriptor))
                if found:
                    inodes.add(found[1])
    namespaces: dict[str, str] = {}
    for process in glob.glob("/proc/[0-9]*"):
        with contextlib.suppress(OSError):
            namespaces.setdefault(os.readlink(f"{process}/ns/net"), process)
    ports = set()
    for process in namespaces.values() if inodes else ():
        for table in ("tcp", "tcp6"):
            with contextlib.suppress(OSError), open(f"{process}/net/{table}", encoding="utf-8") as file:
                for fields in map(str.split, file):
                    if fields[3] == "0A" and fields[9] in inodes:  # TCP_LISTEN
                        ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


class Witness:
    """Reads events, waits for the outcome of each connect, and says it."""

    def __init__(self, loaded: Any, cgroups: Cgroups, agent: str | None) -> None:
        self._loaded, self._cgroups, self._agent = loaded, cgroups, agent
        self._agent_number: int | None = None
        self._members: list[int] = []
        self._settled = False
        self._dialling: dict[int, dict[str, object]] = {}
        self._since_epoch = time.time() - time.monotonic()
        loaded["events"].open_ring_buffer(self._event)
        self.know_agent()
        self.know_agent()  # who is there already is no newcomer

    def know_agent(self) -> None:
        """The agent's cgroup has another id each time its unit is started; its listeners may be older than it is.

        What it begins to listen on is noted in the kernel. What it was handed is looked for once its processes are the
        same twice: one that systemd has just forked still holds all that systemd has.
        """
        if self._agent is None:
            return
        number = self._cgroups.number(self._agent)
        if number is not None and number != self._agent_number:
            self._agent_number = number
            self._loaded["agents"][ctypes.c_uint64(number)] = ctypes.c_uint8(1)
        members = self._cgroups.members(self._agent)
        if members != self._members:
            self._members, self._settled = members, False
        elif not self._settled:
            self._settled = True
            for port in listening(members):
                self._loaded["listeners"][ctypes.c_uint16(port)] = ctypes.c_uint8(1)

    def read(self) -> None:
        self._loaded.ring_buffer_poll(POLL_MILLISECONDS)

    def end(self) -> None:
        """Says what has no outcome yet, and how many events there was no room for."""
        self._loaded.ring_buffer_consume()
        for connect in self._dialling.values():
            say(**connect, result="pending")
        say(end=True, lost=self._loaded["lost"][ctypes.c_int(0)].value)

    def _event(self, _context: object, data: object, _size: int) -> None:
        event = self._loaded["events"].event(data)
        if event.state == SYN_SENT:
            before = self._dialling.pop(event.socket, None)
            if before is not None:
                say(**before, result="pending")
            self._dialling[event.socket] = self._connect(event)
        elif event.socket in self._dialling:
            connect = self._dialling.pop(event.socket)
            say(**connect, result="connected" if event.state == ESTABLISHED else "failed")

    def _connect(self, event: Any) -> dict[str, object]:
        address = ipaddress.IPv6Address(bytes(event.address))
        exe = None
        if not event.flags & OTHER_PIDS:
            with contextlib.suppress(OSError):
                exe = os.readlink(f"/proc/{event.pid}/exe")
        return {
            "time": round(self._since_epoch + event.time / 1e9, 6),
            "pid": event.pid,
            "uid": event.uid,
            "comm": bytes(event.comm).decode(errors="replace"),
            "exe": exe,
            "cgroup": self._cgroups.path(event.cgroup),
            "address": str(address.ipv4_mapped or address),
            "port": event.port,
            "agent": bool(event.flags & BY_AGENT),
            "listener": bool(event.flags & TO_LISTENER),
        }


def port_number(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise ValueError(text)
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description="Print every TCP connect to PORT as the kernel makes it.")
    parser.add_argument("--port", type=port_number, action="append", required=True, help="of a datastore; repeatable")
    parser.add_argument(
        "--agent-cgroup", metavar="PATH", help="its processes are the agent, what they listen on is its"
    )
    parser.add_argument("--seconds", type=float, help="how long; until SIGINT or SIGTERM when not given")
    given = parser.parse_args()
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, _frame: stopping.append(caught))
    parent = os.getppid()
    try:
        cgroups = Cgroups()
        witness = Witness(load(sorted(set(given.port))), cgroups, given.agent_cgroup)
    except CannotWitness as error:
        fail(error)
    say(ready=True)
    end = time.monotonic() + given.seconds if given.seconds is not None else float("inf")
    while not stopping and time.monotonic() < end and os.getppid() == parent:
        witness.read()
        witness.know_agent()
    witness.end()


def fail(error: CannotWitness) -> NoReturn:
    say(error=str(error))
    sys.exit(2)


if __name__ == "__main__":
    main()
