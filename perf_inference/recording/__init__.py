"""Recording and reading back: a writer of JSON lines, a run's directory, and read-only sources of messages."""
