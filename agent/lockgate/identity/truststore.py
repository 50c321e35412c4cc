"""The system's store of certificate authorities: where the host's own is put, only when somebody asks for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

UPDATE_SECONDS: Final = 120.0
"""The longest that rebuilding the bundle may take: some 2 s on a small machine, more where Java's is rebuilt too."""


class TrustStoreError(Exception):
    """The store can't be changed; one line."""


@dataclass(frozen=True, slots=True)
class TrustStore:
    """`folder` takes certificates in PEM; `update` is the command that takes them in, empty for none."""

    folder: Path
    update: tuple[str, ...]

    def install(self, name: str, pem: bytes) -> Path:
        """Have the system trust `pem`, under `name`: where it was put. Raises TrustStoreError."""
        path = self._path(name)
        try:
            descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=self.folder)
            try:
                with open(descriptor, "wb") as file:
                    file.write(pem)
                    os.fchmod(descriptor, 0o644)
                os.rename(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise TrustStoreError(f"{path}: {error.strerror}") from error
        self._take_in()
        return path

    def remove(self, name: str) -> bool:
        """Have the system trust it no longer. False when it wasn't there. Raises TrustStoreError."""
        path = self._path(name)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise TrustStoreError(f"{path}: {error.strerror}") from error
        self._take_in()
        return True

    def _path(self, name: str) -> Path:
        return self.folder / f"lockgate-{name}.crt"

    def _take_in(self) -> None:
        if not self.update:
            return
        try:
            run = subprocess.run(
                self.update,
                capture_output=True,
                text=True,
                check=False,
                timeout=UPDATE_SECONDS,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TrustStoreError(f"{self.update[0]}: {error}") from error
        if run.returncode:
            why = " ".join(run.stderr.split())
            raise TrustStoreError(f"{' '.join(self.update)} exited with {run.returncode}: {why}")


DEBIAN: Final = TrustStore(Path("/usr/local/share/ca-certificates"), ("update-ca-certificates",))
RED_HAT: Final = TrustStore(Path("/etc/pki/ca-trust/source/anchors"), ("update-ca-trust", "extract"))


def find(stores: Sequence[TrustStore] = (DEBIAN, RED_HAT)) -> TrustStore:
    """The store this system has. Raises TrustStoreError."""
    for store in stores:
        if store.folder.is_dir() and shutil.which(store.update[0]) is not None:
            return store
    commands = " nor ".join(store.update[0] for store in stores)
    raise TrustStoreError(f"no system trust store is known here: neither {commands} is installed (ca-certificates)")
