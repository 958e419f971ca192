"""The ledger from its inside: short calls, its keys, its clock."""
