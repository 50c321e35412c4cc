"""A thin binding of libbpf.so.1 (1.0 and later): objects, maps, links and pins, by file descriptor.

Every call that fails raises KernelError with the kernel's errno and what libbpf logged, verifier output included.
Not thread-safe: libbpf's log is one per process.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LOG_LINES = 400
"""libbpf's last messages kept for an error; a verifier log is cut to its end, which is where the reason stands."""
INFO_BYTES = 256
"""Room for bpf_map_info and bpf_link_info; the kernel fills what it knows and zeroes the rest."""

_LOG: deque[str] = deque(maxlen=LOG_LINES)
_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_DEBUG_LEVEL = 2


class KernelError(Exception):
    """What the kernel (or libbpf) would not do. `errno` is 0 when there was none; `log` is libbpf's, often empty."""

    def __init__(self, doing: str, errno: int = 0, log: str = "") -> None:
        self.errno = errno
        self.log = log
        super().__init__(f"{doing}: {os.strerror(errno)}" if errno else doing)

    def __str__(self) -> str:
        return f"{self.args[0]}\n{self.log}" if self.log else str(self.args[0])


@cache
def libc() -> ctypes.CDLL:
    """The C library, for calls Python has no name for; errors are in ctypes.get_errno()."""
    return ctypes.CDLL(None, use_errno=True)


def _keep(level: int, template: bytes, arguments: int) -> int:
    # A va_list is passed on as the pointer it is on x86-64 and aarch64.
    if level < _DEBUG_LEVEL:
        text = ctypes.create_string_buffer(1 << 20)
        libc().vsnprintf(text, ctypes.c_size_t(len(text)), template, ctypes.c_void_p(arguments))
        _LOG.extend(text.value.decode("utf-8", "replace").splitlines())
    return 0


_KEEP = _PRINT(_keep)
"""libbpf keeps the pointer, so this has to live as long."""


@cache
def library() -> ctypes.CDLL:
    """libbpf.so.1, with signatures. Raises KernelError when it isn't installed."""
    try:
        lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise KernelError(f"libbpf.so.1 can't be loaded ({error}); Debian: apt install libbpf1") from None
    pointer, string, number, fd = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32, ctypes.c_int
    signatures: dict[str, tuple[type | None, list[type]]] = {
        "libbpf_version_string": (string, []),
        "libbpf_num_possible_cpus": (ctypes.c_int, []),
        "libbpf_probe_bpf_map_type": (ctypes.c_int, [ctypes.c_int, pointer]),
        "libbpf_probe_bpf_helper": (ctypes.c_int, [ctypes.c_int, ctypes.c_int, pointer]),
        "bpf_object__open_file": (pointer, [string, pointer]),
        "bpf_object__load": (ctypes.c_int, [pointer]),
        "bpf_object__close": (None, [pointer]),
        "bpf_object__next_map": (pointer, [pointer, pointer]),
        "bpf_object__next_program": (pointer, [pointer, pointer]),
        "bpf_map__name": (string, [pointer]),
        "bpf_map__is_internal": (ctypes.c_bool, [pointer]),
        "bpf_map__fd": (ctypes.c_int, [pointer]),
        "bpf_map__set_initial_value": (ctypes.c_int, [pointer, pointer, ctypes.c_size_t]),
        "bpf_map__reuse_fd": (ctypes.c_int, [pointer, fd]),
        "bpf_map__type": (ctypes.c_int, [pointer]),
        "bpf_map__key_size": (number, [pointer]),
        "bpf_map__value_size": (number, [pointer]),
        "bpf_map__max_entries": (number, [pointer]),
        "bpf_map__map_flags": (number, [pointer]),
        "bpf_program__name": (string, [pointer]),
        "bpf_program__fd": (ctypes.c_int, [pointer]),
        "bpf_program__expected_attach_type": (ctypes.c_int, [pointer]),
        "bpf_program__set_autoload": (ctypes.c_int, [pointer, ctypes.c_bool]),
        "bpf_prog_load": (ctypes.c_int, [ctypes.c_int, string, string, pointer, ctypes.c_size_t, pointer]),
        "bpf_link_create": (ctypes.c_int, [fd, fd, ctypes.c_int, pointer]),
        "bpf_link_update": (ctypes.c_int, [fd, fd, pointer]),
        "bpf_obj_pin": (ctypes.c_int, [fd, string]),
        "bpf_obj_get": (ctypes.c_int, [string]),
        "bpf_obj_get_info_by_fd": (ctypes.c_int, [fd, pointer, pointer]),
        "bpf_map_update_elem": (ctypes.c_int, [fd, pointer, pointer, ctypes.c_uint64]),
        "bpf_map_lookup_elem": (ctypes.c_int, [fd, pointer, pointer]),
        "bpf_map_delete_elem": (ctypes.c_int, [fd, pointer]),
        "bpf_map_get_next_key": (ctypes.c_int, [fd, pointer, pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name, None)
        if function is None:
            raise KernelError(f"libbpf.so.1 has no {name}: version 1.0 or later is needed")
        function.restype, function.argtypes = result, arguments
    lib.libbpf_set_print(_KEEP)
    return lib


def check(result: int, doing: str) -> int:
    """A result of libbpf: negative is -errno. Returns it when it is not an error, raises KernelError when it is."""
    if result < 0:
        raise KernelError(doing, -result, "\n".join(_LOG))
    return result


def version() -> str:
    text: bytes = library().libbpf_version_string()
    return text.decode().removeprefix("v")


@dataclass(frozen=True, slots=True)
class MapShape:
    """What has to agree for a program to use a map that another object made."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


class Map:
    """A map by file descriptor, which it does not own. Keys and values are bytes of exactly the map's sizes."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self.shape = map_shape(fd)

    def update(self, key: bytes, value: bytes) -> None:
        """Insert or replace. Raises KernelError (E2BIG or ENOSPC: full)."""
        self._sized(key, value)
        check(library().bpf_map_update_elem(self.fd, key, value, 0), f"map {self.name}: update")

    def delete(self, key: bytes) -> None:
        """Raises KernelError (ENOENT)."""
        self._sized(key)
        check(library().bpf_map_delete_elem(self.fd, key), f"map {self.name}: delete")

    def lookup(self, key: bytes, size: int | None = None) -> bytes | None:
        """The value, None when there is none. `size` in bytes for a per-CPU map, whose value is one a CPU."""
        self._sized(key)
        value = ctypes.create_string_buffer(size or self.shape.value_size)
        result = library().bpf_map_lookup_elem(self.fd, key, value)
        if result == -2:  # ENOENT
            return None
        check(result, f"map {self.name}: lookup")
        return value.raw

    def keys(self) -> Iterator[bytes]:
        """Every key. Collect them before changing the map: an iteration over a changing trie starts again."""
        key: bytes | None = None
        while True:
            following = ctypes.create_string_buffer(self.shape.key_size)
            result = library().bpf_map_get_next_key(self.fd, key, following)
            if result == -2:
                return
            check(result, f"map {self.name}: next key")
            key = following.raw
            yield key

    def _sized(self, key: bytes, value: bytes | None = None) -> None:
        # The kernel would read past a short buffer.
        if len(key) != self.shape.key_size or (value is not None and len(value) != self.shape.value_size):
            raise ValueError(f"map {self.name} takes {self.shape.key_size} and {self.shape.value_size} bytes")


@dataclass(frozen=True, slots=True)
class Program:
    name: str
    fd: int
    attach_type: int


class Object:
    """A compiled object: opened here, its maps and programs in the kernel after `load()`, gone after `close()`.

    Raises KernelError when the file is missing or isn't one.
    """

    def __init__(self, path: Path) -> None:
        lib = library()
        _LOG.clear()
        ctypes.set_errno(0)
        self.path = path
        self._object: int | None = lib.bpf_object__open_file(os.fsencode(path), None)
        if not self._object:
            raise KernelError(f"{path}: can't be opened as a BPF object", ctypes.get_errno(), "\n".join(_LOG))
        found = {lib.bpf_map__name(p).decode(): p for p in self._each(lib.bpf_object__next_map)}
        self._constants = {name: p for name, p in found.items() if lib.bpf_map__is_internal(p)}
        self._maps = {name: p for name, p in found.items() if name not in self._constants}
        self._programs = {lib.bpf_program__name(p).decode(): p for p in self._each(lib.bpf_object__next_program)}

    @property
    def maps(self) -> tuple[str, ...]:
        return tuple(self._maps)

    @property
    def programs(self) -> tuple[str, ...]:
        return tuple(self._programs)

    def declared(self, name: str) -> MapShape:
        """The shape of a map as the object asks for it."""
        lib, pointer = library(), self._maps[name]
        return MapShape(
            lib.bpf_map__type(pointer),
            lib.bpf_map__key_size(pointer),
            lib.bpf_map__value_size(pointer),
            lib.bpf_map__max_entries(pointer),
            lib.bpf_map__map_flags(pointer),
        )

    def reuse(self, name: str, fd: int) -> None:
        """Before load(): take an existing map instead of making one. The descriptor stays the caller's."""
        check(library().bpf_map__reuse_fd(self._maps[name], fd), f"{self.path.name}: reuse of map {name}")

    def set_constants(self, section: str, value: bytes) -> None:
        """Before load(): what the read-only data in `section` are, all of them."""
        done = library().bpf_map__set_initial_value(self._constants[section], value, len(value))
        check(done, f"{self.path.name}: constants {section}")

    def only(self, program: str) -> None:
        """Before load(): load no other program."""
        for name, pointer in self._programs.items():
            check(library().bpf_program__set_autoload(pointer, name == program), f"{self.path.name}: {name}")

    def load(self) -> None:
        """Raises KernelError, with the verifier's reasons in `log`."""
        _LOG.clear()
        check(library().bpf_object__load(self._object), f"{self.path}: the kernel did not take it")

    def map(self, name: str) -> Map:
        return Map(name, check(library().bpf_map__fd(self._maps[name]), f"map {name}"))

    def program(self, name: str) -> Program:
        lib, pointer = library(), self._programs[name]
        fd = check(lib.bpf_program__fd(pointer), f"program {name}")
        return Program(name, fd, lib.bpf_program__expected_attach_type(pointer))

    def close(self) -> None:
        if self._object:
            library().bpf_object__close(self._object)
            self._object = None

    def _each(self, following: Callable[..., int | None]) -> Iterator[int]:
        item = following(self._object, None)
        while item:
            yield item
            item = following(self._object, item)


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """`cgroup_id` is 0 some time after the cgroup was removed: the link stays as an empty shell."""

    link_id: int
    program_id: int
    cgroup_id: int
    attach_type: int


def link(program: Program, cgroup_fd: int) -> int:
    """Attach to a cgroup beside what is there. Returns the link's descriptor; closed and unpinned, it detaches."""
    _LOG.clear()
    result = library().bpf_link_create(program.fd, cgroup_fd, program.attach_type, None)
    return check(result, f"program {program.name}: attach to the cgroup")


def load_trivial(program_type: int, attach_type: int) -> Program:
    """A program that returns 1, to see whether the kernel has such a thing. The caller closes its descriptor."""
    instructions = b"\xb7\0\0\0\1\0\0\0" + b"\x95" + bytes(7)  # r0 = 1; exit
    options = struct.pack("=Qii", 16, 1, attach_type)  # struct bpf_prog_load_opts up to expected_attach_type
    fd = library().bpf_prog_load(program_type, b"lockgate_probe", b"GPL", instructions, 2, options)
    return Program("lockgate_probe", check(fd, f"program of type {program_type} for {attach_type}"), attach_type)


def relink(link_fd: int, program: Program) -> None:
    """Put `program` in the place of the link's current one, with no moment in between."""
    check(library().bpf_link_update(link_fd, program.fd, None), f"program {program.name}: update of its link")


def link_info(fd: int) -> LinkInfo:
    _, link_id, program_id, cgroup_id, attach_type = struct.unpack_from("=3I4xQI", _info(fd))
    return LinkInfo(link_id, program_id, cgroup_id, attach_type)


def map_shape(fd: int) -> MapShape:
    kind, _, key_size, value_size, max_entries, flags = struct.unpack_from("=6I", _info(fd))
    return MapShape(kind, key_size, value_size, max_entries, flags)


def pin(fd: int, path: Path) -> None:
    """Raises KernelError (EEXIST)."""
    check(library().bpf_obj_pin(fd, os.fsencode(path)), f"pin {path}")


def pinned(path: Path) -> int | None:
    """A new descriptor of what is pinned at `path`, None when nothing is."""
    result = library().bpf_obj_get(os.fsencode(path))
    return None if result == -2 else check(result, f"open {path}")


def _info(fd: int) -> bytes:
    buffer = ctypes.create_string_buffer(INFO_BYTES)
    size = ctypes.c_uint32(INFO_BYTES)
    check(library().bpf_obj_get_info_by_fd(fd, buffer, ctypes.byref(size)), f"descriptor {fd}: information")
    return buffer.raw
