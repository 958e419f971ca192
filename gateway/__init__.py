"""The centralized token-budget gateway: one Keepa bucket, many services, one floor."""

__version__ = "0.2.0"
