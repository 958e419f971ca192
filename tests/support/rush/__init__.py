"""A rush of services on two gateways, and the books kept of it."""
