"""The whole fleet in one process, on virtual time: gateways, Keepa, Redis, callers, and what fails.

`docs/simulation.md` says how to run it and how to read what it prints.
"""
