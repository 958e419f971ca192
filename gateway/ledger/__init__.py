"""The account's tokens, in Redis, changed only by atomic scripts."""

from gateway.ledger.alarms import OUTAGE, Agreement, Alarms, Sighting
from gateway.ledger.chronicle import Chronicle, Sample, Told
from gateway.ledger.embedded import EmbeddedStore
from gateway.ledger.ledger import Ledger
from gateway.ledger.queue import Queue
from gateway.ledger.redis.store import RedisStore
from gateway.ledger.replies import Code, Reply
from gateway.ledger.store import ReplyLost, Store
from gateway.ledger.usage import DAYS_KEPT, Item, UsageHistory
from gateway.ledger.values import (
    AUTO,
    Admission,
    Ask,
    Hold,
    Listener,
    Observation,
    Outlook,
    Overview,
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
    "Ask",
    "Chronicle",
    "Code",
    "EmbeddedStore",
    "Hold",
    "Item",
    "Ledger",
    "Listener",
    "Observation",
    "Outlook",
    "Overview",
    "Purpose",
    "Queue",
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
