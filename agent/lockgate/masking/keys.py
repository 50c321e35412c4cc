"""Keys of the keyed maskers: derived from one root key a host, or a fleet, has in a file."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lockgate.config import keyfile
from lockgate.masking.keyed import KEY_BYTES

ROOT_BYTES: Final = 32
"""Of a root key; in its file they are hexadecimal digits, on a line."""

_FILE_LIMIT: Final = 2 * ROOT_BYTES + 2
_CONTEXT: Final = b"lockgate masking v1"


class MaskingKeyError(Exception):
    """The root key can't be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one datastore, one a purpose: what is learned of one masker says nothing of another.

    They are the same for all its columns, so that what was equal joins, and date shifts keep intervals.
    """

    hash: bytes = field(repr=False)
    tokenise: bytes = field(repr=False)
    date_shift: bytes = field(repr=False)


class RootKey:
    """Never shown: it has no repr of its own making, and only `keys` leaves."""

    __slots__ = ("_root",)

    def __init__(self, root: bytes) -> None:
        if len(root) != ROOT_BYTES:
            raise ValueError(f"a root key has {ROOT_BYTES} bytes")
        self._root = root

    @classmethod
    def load(cls, path: str | Path) -> RootKey:
        """The key in a file that only its owner, this process, can read. Raises MaskingKeyError."""
        path = Path(path)
        try:
            text = keyfile.load(path, _FILE_LIMIT)
        except keyfile.KeyFileError as error:
            raise MaskingKeyError(str(error)) from error
        try:
            return cls(bytes.fromhex(text.decode("ascii").strip()))
        except ValueError:
            # what was read must not be in the message, nor in what caused it
            raise MaskingKeyError(f"{path}: not {2 * ROOT_BYTES} hexadecimal digits") from None

    @classmethod
    def load_or_create(cls, path: str | Path) -> RootKey:
        """The key in `path`, made there (mode 0600) when there is none. Raises MaskingKeyError."""
        path = Path(path)
        try:
            # one that others read before it was written in full is refused by them, and so is half a key
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return cls.load(path)
        except OSError as error:
            raise MaskingKeyError(f"{path}: {error.strerror or error}") from error
        with open(descriptor, "wb") as file:
            file.write(secrets.token_hex(ROOT_BYTES).encode() + b"\n")
            file.flush()
            os.fsync(descriptor)
        return cls.load(path)

    def keys(self, datastore: str) -> Keys:
        """Those of a datastore, by its name in the configuration."""

        def derive(purpose: str) -> bytes:
            # a name holds no NUL, so no two pairs have the same bytes
            info = b"\0".join((_CONTEXT, datastore.encode(), purpose.encode()))
            return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(self._root)

        return Keys(derive("hash"), derive("tokenise"), derive("date_shift"))
