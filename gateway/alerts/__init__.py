"""Alerts at a webhook: who is told, and when."""

from gateway.alerts.alerts import Alerts

__all__ = ["Alerts"]
