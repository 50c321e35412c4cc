"""Reading files that hold a secret: passwords, private keys."""

from __future__ import annotations

import os
import stat
from typing import Final

from lockgate.values.secret import Secret

PASSWORD_BYTES: Final = 4096
"""The largest password: the tokens that cloud databases take for one have some 2 KiB."""

KEY_BYTES: Final = 65_536
"""The largest private key file. RSA of 16,384 bits is 13 KiB of PEM."""


class SecretError(ValueError):
    """A secret can't be had. One line that names where it was looked for, never what was found."""


def read_private(file: str, limit: int) -> bytes:
    """The content of a file that only root, or who runs this, can read or change. Raises SecretError.

    PostgreSQL's rule for private keys (be-secure-common.c, check_ssl_key_file_permissions): owned by root or by
    ourselves, nothing for others, and for the group at most reading, where the group is root's or our own. `limit` is
    in bytes.
    """
    try:
        # not blocking, should it be a pipe
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _check(file, os.fstat(descriptor))
            content = os.read(descriptor, limit + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SecretError(f"{file} can't be read: {error.strerror or error}") from None
    if len(content) > limit:
        raise SecretError(f"{file} has more than {limit} bytes: it is not what it should be")
    return content


def read_password(file: str) -> Secret:
    """The password in a file as `read_private` takes it. Raises SecretError."""
    return password(read_private(file, PASSWORD_BYTES), file)


def password(content: bytes, where: str) -> Secret:
    """The password that `content` is: UTF-8, without the ends of line behind it. Raises SecretError."""
    try:
        text = content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SecretError(f"{where} is not UTF-8") from None
    if not text or "\0" in text:
        raise SecretError(f"{where} has no password in it")
    return Secret(text)


def _check(file: str, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise SecretError(f"{file} is not a file")
    if facts.st_uid not in (0, os.geteuid()):
        raise SecretError(f"{file} belongs to somebody else: chown it to root")
    if facts.st_mode & stat.S_IRWXO:
        raise SecretError(f"{file} is open to everyone: take away others' rights (chmod o= {file})")
    if facts.st_mode & (stat.S_IWGRP | stat.S_IXGRP) or (
        facts.st_mode & stat.S_IRGRP and facts.st_gid not in (0, os.getegid())
    ):
        raise SecretError(f"{file} is open to its group: take away the group's rights (chmod g= {file})")
