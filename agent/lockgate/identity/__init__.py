"""From what the kernel saw to whom policy speaks of: Origin -> Workload -> Principal -> token."""

from lockgate.identity.cache import Identified, Identities
from lockgate.identity.keys import HostKey, HostKeyError, InvalidKeySet, verify_signature
from lockgate.identity.principals import NOBODY, Directory
from lockgate.identity.tokens import InvalidToken, Token, TokenIssuer, verify_with_jwks
from lockgate.identity.workload import IdentityError, ProcessGone, describe

__all__ = [
    "NOBODY",
    "Directory",
    "HostKey",
    "HostKeyError",
    "Identified",
    "Identities",
    "IdentityError",
    "InvalidKeySet",
    "InvalidToken",
    "ProcessGone",
    "Token",
    "TokenIssuer",
    "describe",
    "verify_signature",
    "verify_with_jwks",
]
