"""Callers, what they send, and what they must be answered."""
