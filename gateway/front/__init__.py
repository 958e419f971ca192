"""A caller's bytes in, a response's bytes out: connections, limits, heads, bodies, responses."""
