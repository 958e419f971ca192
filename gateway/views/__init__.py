"""What operators see and do: the gateway's own paths, status, usage, dashboard."""
