"""Managed nodes: configured, activated, deactivated and cleaned up by others, or by themselves."""
