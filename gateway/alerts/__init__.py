"""Who is alerted, and when."""

from gateway.alerts.alerts import Alerts

__all__ = ["Alerts"]
