"""The recording format: lines, segments, and how they are read (docs/format.md)."""
