"""The certificates that clients are shown: one for each destination and name, minted when first asked for."""

from __future__ import annotations

import datetime
import logging
import ssl
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lockgate.config import is_host_name
from lockgate.identity.authority import Authority
from lockgate.proxy.tls import server_context

log = logging.getLogger(__name__)

LEAVES: Final = 256
"""Certificates kept, 20 KiB each; the least recently shown goes first. A client may ask for any name: minting one more
takes half a millisecond, so this bounds memory and nothing else."""

MARGIN: Final = datetime.timedelta(days=1)
"""How long before its end a leaf is no longer shown: some clients look at it again while the connection lasts."""

_UNRECOGNIZED: Final = ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

_Key = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Shown:
    context: ssl.SSLContext
    until: datetime.datetime


class Leaves:
    """TLS contexts with leaves of `authority`. They go through memory only."""

    def __init__(self, authority: Authority, clock: Callable[[], datetime.datetime] | None = None) -> None:
        self._authority = authority
        self._clock = clock or _now
        self._shown: OrderedDict[_Key, _Shown] = OrderedDict()

    def __len__(self) -> int:
        return len(self._shown)

    def context(self, address: str, names: tuple[str, ...]) -> ssl.SSLContext:
        """For a client that dialled the IP address `address`, which the configuration calls `names`.

        A client that asks for another name (SNI) is shown a certificate that has it too.
        """
        now = self._clock()
        key = (address, names)
        shown = self._shown.get(key)
        if shown is None or shown.until <= now:
            shown = self._shown[key] = self._mint(address, names)
            if len(self._shown) > LEAVES:
                self._shown.popitem(last=False)
        self._shown.move_to_end(key)
        return shown.context

    def _mint(self, address: str, names: tuple[str, ...]) -> _Shown:
        leaf = self._authority.leaf(address, names)
        context = server_context(leaf.pem)

        def asked(tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
            if name is None or name.lower() in names:
                return None
            if not is_host_name(name):
                return _UNRECOGNIZED
            tls.context = self.context(address, (*names, name.lower()))
            return None

        context.sni_callback = asked
        return _Shown(context, leaf.expires - MARGIN)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
