"""Real Redis servers: one, one with sentinels, a cluster."""
