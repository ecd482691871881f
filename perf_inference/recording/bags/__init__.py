"""Recordings of any storage: read, written, converted."""
