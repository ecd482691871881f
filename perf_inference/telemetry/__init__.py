"""One sample of the machine."""
