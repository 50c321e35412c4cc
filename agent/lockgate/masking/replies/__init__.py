"""Masks of Redis replies: what each command shows of a classified key, and how it is hidden in RESP2 and RESP3.

And of messages: what is classified of a channel.
"""

from lockgate.masking.plan import Unmaskable
from lockgate.masking.replies.messages import MessageMasker, plan_message
from lockgate.masking.replies.plan import KeyMask, NameMask, ReplyMasker, key_masks, plan_exec, plan_reply

__all__ = [
    "KeyMask",
    "MessageMasker",
    "NameMask",
    "ReplyMasker",
    "Unmaskable",
    "key_masks",
    "plan_exec",
    "plan_message",
    "plan_reply",
]
