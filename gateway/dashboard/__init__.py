"""`/dashboard`: one page, live by server-sent events, without a build step."""

from gateway.dashboard.dashboard import Dashboard

__all__ = ["Dashboard"]
