"""Addresses as the configuration writes them."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

HOST_LIMIT: Final = 253
"""Characters of a host name (RFC 1035, section 2.3.4, without the dots at its ends)."""

_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# inet_aton(3) takes such for an address; a host name's last label is never a number (RFC 3696, section 2)
_NUMERIC: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)")
_PORT: Final = re.compile(r"[0-9]{1,5}")


def split_address(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `CIDR:PORT`, `*:PORT`, `[V6]:PORT` -> (host part without brackets, port). Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError(f"{text!r} is not HOST:PORT, CIDR:PORT or *:PORT")
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        raise ValueError(f"{text!r}: {port!r} is not a port (1 to 65535)")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if bracketed != (":" in host):
        raise ValueError(f"{text!r}: an IPv6 address, and nothing else, is written [ADDRESS]:PORT")
    if host != "*":
        _check_host(text, host)
    return host, int(port)


def is_host_name(text: str) -> bool:
    """Whether `text` could be a host's name: letters, digits, `-` and `_` between dots, and not an address."""
    return len(text) <= HOST_LIMIT and _HOST.fullmatch(text) is not None and _NUMERIC.fullmatch(text) is None


def check_endpoint(text: str) -> None:
    """One address to listen on or dial: no network and no `*`. Raises ValueError."""
    host, _ = split_address(text)
    if host == "*" or "/" in host:
        raise ValueError(f"{text!r}: one address is needed here, such as 127.0.0.1:9464")


def check_url(text: str) -> None:
    """`http://HOST:PORT` or `https://HOST:PORT`, with nothing behind it but a path. Raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"{text!r} is not http://HOST:PORT or https://HOST:PORT")
    if "@" in parts.netloc:
        raise ValueError("a name or password in an address: it would be shown and recorded")
    if parts.query or parts.fragment or not parts.path.isascii() or any(c.isspace() for c in text):
        raise ValueError(f"{text!r}: nothing may stand behind the path")
    default = ":443" if parts.scheme == "https" else ":80"
    has_port = re.search(r":[0-9]*$", parts.netloc)
    check_endpoint(parts.netloc if has_port else parts.netloc + default)


def _check_host(text: str, host: str) -> None:
    try:
        if "%" in host:
            raise ValueError("an address with a zone belongs to one link only")
        if "/" in host:
            ipaddress.ip_network(host)
        elif ":" in host or _NUMERIC.fullmatch(host):
            ipaddress.ip_address(host)
        elif not is_host_name(host):
            raise ValueError(f"{host!r} is neither an address nor a host name")
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
