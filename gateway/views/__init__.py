"""What operators see: the site's own paths, status, usage, dashboard."""
