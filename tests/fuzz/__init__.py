"""Properties on inputs that nobody thought of."""
