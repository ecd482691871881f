"""What heartbeats and the figures of the machine come to, for /diagnostics and for views."""
