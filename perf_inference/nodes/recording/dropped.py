"""Records that were dropped, and that the recording has not been told of yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class _Gap:
    channel: Any
    first_seq: int
    last_seq: int
    count: int = 1


class Dropped:
    """Sums them up by topic until they can be told."""

    def __init__(self, tell: Callable[[Any, int, int, int], bool]) -> None:
        """Begin with none; `tell` takes channel, count, first and last number, and returns whether it could."""
        self._tell = tell
        self._gaps: dict[str, _Gap] = {}

    def add(self, topic: str, channel: Any, seq: int) -> None:
        """Note one."""
        if (gap := self._gaps.get(topic)) is None:
            self._gaps[topic] = _Gap(channel, seq, seq)
        else:
            gap.count, gap.last_seq = gap.count + 1, seq

    def tell(self) -> None:
        """Tell of those that can be told now."""
        for topic, gap in list(self._gaps.items()):
            if self._tell(gap.channel, gap.count, gap.first_seq, gap.last_seq):
                del self._gaps[topic]
