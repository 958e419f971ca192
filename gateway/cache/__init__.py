"""What was paid for before, and may be given again: questions, ages, entries, where they are kept.

Nothing here is on a call's path yet. docs/architecture.md says what each file decides.
"""
