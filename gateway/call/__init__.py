"""One call's life: read, price, admit, send, relay, resolve, record."""
