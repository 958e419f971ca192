"""The composition root: the only place that builds concrete objects and knows them all."""

from gateway.app.parts import make_allowances, make_origin, make_rules, open_store
from gateway.app.run import serving, settle_memory, upstream_of

__all__ = [
    "make_allowances",
    "make_origin",
    "make_rules",
    "open_store",
    "serving",
    "settle_memory",
    "upstream_of",
]
