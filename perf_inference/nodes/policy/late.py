"""Samples that come after newer ones: of use to a window, which puts them in order, and none to the gate."""

from __future__ import annotations

from collections.abc import Iterable


class Late:
    """Knows the newest stamps of some sources."""

    def __init__(self, max_disorder_s: float) -> None:
        self._disorder_ns = round(max_disorder_s * 1e9)
        self._newest_ns: dict[str, int] = {}

    def is_late(self, sources: Iterable[str], stamp_ns: int | None) -> bool:
        """Return whether a sample is older than the newest of all its sources, by no more than the disorder.

        Args:
            sources: a topic, or the joints that a message has.
            stamp_ns: the header's; None: it has none, and is the newest.
        """
        names = list(sources)
        if stamp_ns is None or not names:
            return False
        known = [self._newest_ns.get(name) for name in names]
        if all(newest is not None and 0 < newest - stamp_ns <= self._disorder_ns for newest in known):
            return True
        for name in names:
            self._newest_ns[name] = stamp_ns
        return False
