"""`/dashboard`: one page, live by server-sent events, without a build step."""

from gateway.dashboard.dashboard import Dashboard
from gateway.dashboard.sessions import Sessions

__all__ = ["Dashboard", "Sessions"]
