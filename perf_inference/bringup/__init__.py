"""Which nodes start, with what settings, and how they are kept alive and stopped."""
