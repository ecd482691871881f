"""When an engine has warmed up.

The rule: an inference belongs to the warm-up until three in a row before it took times within a factor of two of each
other; after 20 inferences it is over in any case. So at least three are warm-up, however many the engine needs.
"""

from __future__ import annotations

IN_A_ROW, FACTOR, AT_MOST = 3, 2.0, 20


class WarmUp:
    """Marks inferences as warm-up or not, each by those before it."""

    def __init__(self) -> None:
        self._recent: list[int] = []
        self._seen = 0
        self.over = False

    def mark(self, infer_ns: int) -> bool:
        """Return whether this inference belongs to the warm-up."""
        if self.over:
            return False
        self._seen += 1
        self._recent = [*self._recent[1 - IN_A_ROW :], infer_ns]
        steady = len(self._recent) == IN_A_ROW and max(self._recent) <= FACTOR * min(self._recent)
        self.over = steady or self._seen >= AT_MOST
        return True
