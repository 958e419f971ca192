"""How scripts reach a Redis server."""
