"""What `deploy/` and the Dockerfile hold, read, and run as operators run it."""
