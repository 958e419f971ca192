"""Gateways that serve: as processes, or in this one."""
