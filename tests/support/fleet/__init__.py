"""A fleet of gateways on one ledger, played move by move."""
