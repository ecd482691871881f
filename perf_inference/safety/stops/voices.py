"""What each publisher of a topic has said last.

Several readers may hear the same message, and late: what is no newer than what was heard of that publisher is none.
What a publisher said that has left since counts until somebody speaks after it: a button that was unplugged is no
button that was released.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Generic, TypeVar

T = TypeVar("T")
_MOST = 100  # publishers that are told apart; beyond, the oldest voice is the one that is forgotten


class Voices(Generic[T]):
    """The newest value of each publisher."""

    def __init__(self) -> None:
        self._said: dict[bytes, tuple[int, T]] = {}  # by publisher: (number of the message, value)

    @property
    def values(self) -> list[T]:
        """The newest of each."""
        return [value for _, value in self._said.values()]

    def hear(self, who: bytes, value: T, number: int | None, present: Collection[bytes] = ()) -> bool:
        """Take what somebody says; return whether it is news.

        Args:
            who: the publisher's gid; empty where this ROS 2 does not tell: then all are one, and all is news.
            number: in the publisher's own count; None: not known. (Its clock may be set back.)
            present: the publishers that the topic has now.
        """
        before = self._said.pop(who, None)
        if who and before is not None and number is not None and number <= before[0]:
            self._said[who] = before
            return False
        for gone in [other for other in self._said if other not in present]:
            del self._said[gone]
        self._said[who] = (-1 if number is None else number, value)
        while len(self._said) > _MOST:
            del self._said[next(iter(self._said))]
        return True
