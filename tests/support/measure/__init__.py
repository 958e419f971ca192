"""What is measured: seconds, memory, callbacks of a loop, examples tried."""
