"""Whole processes, as operators and callers meet them."""
