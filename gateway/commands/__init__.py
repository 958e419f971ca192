"""What runs from a shell: serve, check, usage, simulate, demo."""
