"""The account's tokens, in Redis, changed only by atomic scripts."""

from gateway.ledger.alarms import OUTAGE, Agreement, Alarms, Sighting
from gateway.ledger.embedded import EmbeddedStore
from gateway.ledger.feed import Chronicle, Sample, Told
from gateway.ledger.ledger import Ledger
from gateway.ledger.line import Line
from gateway.ledger.redis.store import RedisStore
from gateway.ledger.replies import Code, Reply
from gateway.ledger.store import ReplyLost, Store
from gateway.ledger.usage import DAYS_KEPT, Item, UsageHistory
from gateway.ledger.values import (
    AUTO,
    Admission,
    Hold,
    Listener,
    Look,
    Observation,
    Outlook,
    Purpose,
    RequestRate,
    Rules,
    Served,
    Terms,
    Turn,
    Usage,
)

__all__ = [
    "AUTO",
    "DAYS_KEPT",
    "OUTAGE",
    "Admission",
    "Agreement",
    "Alarms",
    "Chronicle",
    "Code",
    "EmbeddedStore",
    "Hold",
    "Item",
    "Ledger",
    "Line",
    "Listener",
    "Look",
    "Observation",
    "Outlook",
    "Purpose",
    "RedisStore",
    "Reply",
    "ReplyLost",
    "RequestRate",
    "Rules",
    "Sample",
    "Served",
    "Sighting",
    "Store",
    "Terms",
    "Told",
    "Turn",
    "Usage",
    "UsageHistory",
]
