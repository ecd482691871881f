"""Gaps in the publication sequence numbers of a topic's publishers."""

from __future__ import annotations

_MOST_PUBLISHERS = 1000  # of a topic that are told apart: each start of one is another


class GapCounter:
    """Messages lost before the callback, from the publication sequence numbers of each publisher."""

    def __init__(self) -> None:
        self._last: dict[bytes, int] = {}

    def lost(self, gid: bytes, sequence: int) -> int | None:
        """Return how many messages of this publisher are missing before this one; None: its first since its start."""
        last = self._last.pop(gid, None)
        self._last[gid] = sequence  # at the end: the first is the one that has been silent for longest
        if len(self._last) > _MOST_PUBLISHERS:
            del self._last[next(iter(self._last))]
        return sequence - last - 1 if last is not None and sequence > last else None
