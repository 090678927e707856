"""The command: what is typed, what it starts, and how it ends."""
