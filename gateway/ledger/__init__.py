"""The account's tokens, in Redis, changed only by atomic scripts."""

from gateway.ledger.embedded import EmbeddedStore
from gateway.ledger.ledger import Ledger
from gateway.ledger.line import Line
from gateway.ledger.redis_store import RedisStore
from gateway.ledger.replies import Code, Reply
from gateway.ledger.store import Store
from gateway.ledger.values import (
    Admission,
    Hold,
    Listener,
    Look,
    Observation,
    Purpose,
    Rules,
    Served,
    Terms,
    Turn,
    Usage,
)

__all__ = [
    "Admission",
    "Code",
    "EmbeddedStore",
    "Hold",
    "Ledger",
    "Line",
    "Listener",
    "Look",
    "Observation",
    "Purpose",
    "RedisStore",
    "Reply",
    "Rules",
    "Served",
    "Store",
    "Terms",
    "Turn",
    "Usage",
]
