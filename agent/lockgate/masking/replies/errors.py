"""What a server says when it fails, as far as it can't be quoting a masked value.

Redis answers a command that fails with a fixed text, but for names that the client sent. A script can say anything, and
so can a module: of what isn't known here the text is withheld, and the word in front of it, which clients go by, stays.
"""

from __future__ import annotations

import re
from typing import Final

WITHHELD: Final = b"lockgate: what the server says is withheld, it could quote a masked value"

_PREFIXES: Final = (
    b"ERR WRONGTYPE NOSCRIPT OOM MOVED ASK LOADING READONLY BUSY NOAUTH NOPERM MASTERDOWN MISCONF NOREPLICAS EXECABORT"
    b" CROSSSLOT CLUSTERDOWN TRYAGAIN BUSYGROUP NOGROUP BUSYKEY UNKILLABLE NOTBUSY WRONGPASS NOPROTO IOERR UNBLOCKED"
    b" INPROG NOMASTERLINK"
)
_KNOWN_PREFIXES: Final = frozenset(_PREFIXES.split())

_ADDRESS: Final = rb"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-fA-F:]{2,39})?:[0-9]{1,5}"
_FIXED: Final = re.compile(
    b"|".join(
        (
            rb"WRONGTYPE Operation against a key holding the wrong kind of value",
            rb"WRONGTYPE Key is not a valid HyperLogLog string value\.",
            rb"NOSCRIPT No matching script\.(?: Please use EVAL\.)?",
            rb"OOM command not allowed when used memory > 'maxmemory'\.",
            rb"(?:MOVED|ASK) [0-9]{1,5} " + _ADDRESS,
            rb"LOADING Redis is loading the dataset in memory",
            rb"READONLY You can't write against a read only replica\.",
            rb"BUSY Redis is busy running a script\. You can only call SCRIPT KILL or SHUTDOWN NOSAVE\.",
            rb"BUSY Redis is busy running a script\. You can only call FUNCTION KILL or SHUTDOWN NOSAVE\.",
            rb"NOAUTH Authentication required\.",
            rb"NOPERM this user has no permissions to access one of the (?:keys|channels) used as arguments",
            rb"NOPERM No permissions to access a key",
            rb"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'\.",
            rb"NOREPLICAS Not enough good replicas to write\.",
            rb"EXECABORT Transaction discarded because of previous errors\.",
            rb"CROSSSLOT Keys in request don't hash to the same slot",
            rb"CLUSTERDOWN (?:The cluster is down(?: and only accepts read commands)?|Hash slot not served)",
            rb"TRYAGAIN Multiple keys request during rehashing of slot",
            rb"BUSYGROUP Consumer Group name already exists",
            rb"BUSYKEY Target key name already exists\.",
            rb"UNBLOCKED client unblocked via CLIENT UNBLOCK",
            rb"UNBLOCKED the stream key no longer exists",
            rb"NOGROUP the consumer group this client was blocked on no longer exists",
            rb"IOERR error or timeout (?:reading|writing) to target instance",
            rb"ERR syntax error",
            rb"ERR no such key",
            rb"ERR index out of range",
            rb"ERR value is not an integer or out of range",
            rb"ERR value is out of range(?:, must be positive)?",
            rb"ERR value is not a valid float",
            rb"ERR (?:min or max|weight value|radius|height|width|resulting score|increment) is not a (?:valid )?float",
            rb"ERR hash value is not (?:an integer|a float)",
            rb"ERR increment or decrement would overflow",
            rb"ERR increment would produce NaN or Infinity",
            rb"ERR resulting score is not a number \(NaN\)",
            rb"ERR min or max not valid string range item",
            rb"ERR offset is out of range",
            rb"ERR bit (?:offset|is) (?:is )?not an integer or out of range",
            rb"ERR string exceeds maximum allowed size \(proto-max-bulk-len\)",
            rb"ERR (?:source and destination objects are the same|DB index is out of range|invalid DB index)",
            rb"ERR timeout is (?:not a float or out of range|negative|out of range)",
            rb"ERR (?:numkeys|limit|count|rank|maxlen) should be greater than 0",
            rb"ERR Number of keys can't be greater than number of args",
            rb"ERR invalid (?:cursor|expire time in '[a-z|.]{1,32}' command)",
            rb"ERR wrong number of arguments for '[a-z|._]{1,32}' command",
            rb"ERR One or more scores can't be converted into double",
            rb"ERR Invalid stream ID specified as stream command argument",
            rb"ERR The ID specified in XADD is equal or smaller than the target stream top item",
            rb"ERR The ID specified in XADD must be greater than 0-0",
            rb"ERR (?:DUMP payload version or checksum are wrong|Bad data format)",
            rb"ERR Protocol error: [a-z ]{1,40}",
        )
    )
)
"""Texts that hold nothing but what the server's own source has, whoever sends them."""

_NAMING: Final = re.compile(
    rb"(?:MOVED|ASK) [0-9]{1,5} [0-9A-Za-z_.-]{1,255}:[0-9]{1,5}"
    rb"|NOGROUP [ -~]{1,1000}"
    rb"|NOPERM [ -~]{1,1000}"
    rb"|MISCONF [ -~]{1,1000}"
    rb"|(?:BUSY|LOADING|READONLY|NOSCRIPT|EXECABORT) [ -~]{1,1000}"
)
"""Texts with names in them, which only a script could make of a value."""


def shown_error(text: bytes, *, script: bool) -> bytes:
    """An error's text (without its type's byte) as it may be shown of a command that reads masked keys.

    `script` says that it may have been made by a script.
    """
    if _FIXED.fullmatch(text) or (not script and _NAMING.fullmatch(text)):
        return text
    prefix = text.partition(b" ")[0]
    return b"%b %b" % (prefix if prefix in _KNOWN_PREFIXES else b"ERR", WITHHELD)
