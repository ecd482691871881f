"""Between image messages and arrays."""
