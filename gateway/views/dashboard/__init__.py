"""`/dashboard`: one page, live by server-sent events, without a build step."""

from gateway.views.dashboard.dashboard import Dashboard
from gateway.views.dashboard.live import LiveView
from gateway.views.dashboard.sessions import Sessions

__all__ = ["Dashboard", "LiveView", "Sessions"]
