"""How long an answer takes, in steps of the plan."""

from __future__ import annotations

import math
from collections import deque

KEPT = 64
_DECAY = 0.85  # of a delay's weight per newer one: one outlier is out of the 95th percentile within ten
_SHARE = 0.95


class Delays:
    """The 95th percentile of the last 64 delays, older ones weighing less.

    An all-time maximum would keep one hiccup for ever, and a mean is too short for every second answer.
    """

    def __init__(self, step_s: float, first_s: float) -> None:
        """Begin with the delay of the warm-up."""
        self._step_s = step_s
        self._seconds: deque[float] = deque([max(first_s, 0.0)], maxlen=KEPT)

    def add(self, delay_s: float) -> None:
        """Take a measured delay: from the observation to the answer."""
        self._seconds.append(max(delay_s, 0.0))

    @property
    def estimate_s(self) -> float:
        """The weighted percentile [s]."""
        newest_first = list(reversed(self._seconds))
        weighted = sorted((seconds, _DECAY**age) for age, seconds in enumerate(newest_first))
        enough = _SHARE * sum(weight for _, weight in weighted)
        total = 0.0
        for seconds, weight in weighted:
            total += weight
            if total >= enough - 1e-12:
                return seconds
        return weighted[-1][0]

    @property
    def steps(self) -> int:
        """The estimate in whole steps, rounded up."""
        return math.ceil(self.estimate_s / self._step_s - 1e-9)


def trouble(delay_s: float, step_s: float, margin: int, horizon: int) -> str:
    """Return why chunks of this length cannot bridge the delay, and what would; or nothing.

    A chunk is asked for when `delay + margin` steps are left and comes when it is `delay` steps old, so that it must
    have 2 delay + margin of them.
    """
    delay = math.ceil(delay_s / step_s - 1e-9)
    needed = 2 * delay + margin
    if needed <= horizon:
        return ""
    most = (horizon - margin) // 2
    rate = f"a rate of at most {most / delay_s:.3g} Hz" if most > 0 else "a model with longer chunks"
    return (
        f"chunks of {horizon} steps do not bridge a delay of {delay} steps ({delay_s * 1e3:.0f} ms at "
        f"{1 / step_s:.4g} Hz): {needed} are needed; take {rate}, or chunks of at least {needed} steps"
    )
