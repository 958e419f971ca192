"""The account's tokens, in Redis, changed only by atomic scripts."""

from gateway.ledger.ledger import (
    Admission,
    Hold,
    Ledger,
    Listener,
    Look,
    Observation,
    Rules,
    Turn,
    Usage,
)
from gateway.ledger.replies import Code, Reply
from gateway.ledger.store import EmbeddedStore, RedisStore, Store

__all__ = [
    "Admission",
    "Code",
    "EmbeddedStore",
    "Hold",
    "Ledger",
    "Listener",
    "Look",
    "Observation",
    "RedisStore",
    "Reply",
    "Rules",
    "Store",
    "Turn",
    "Usage",
]
