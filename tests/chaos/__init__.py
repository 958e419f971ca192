"""`make chaos`: every fault crossed with every kind of call, on real processes."""
