"""The topic `speed_scale`: the share of the velocity limits that may be used. It only lowers; nothing heard is 1."""

from __future__ import annotations

import math
from collections.abc import Collection

from perf_inference.safety.stops.voices import Voices


class SpeedScale:
    """Judges what was heard on one topic."""

    def __init__(self, topic: str) -> None:
        """Begin with nothing heard."""
        self._topic = topic
        self._voices: Voices[float] = Voices()

    def hear(self, who: bytes, value: float, number: int | None, present: Collection[bytes]) -> None:
        """Take a message; arguments as `Voices.hear`."""
        self._voices.hear(who, value, number, present)

    @property
    def share(self) -> float:
        """The lowest that anybody says; what is no number from 0 to 1 counts as 0, but more than 1 as 1."""
        return min((min(value, 1.0) if value >= 0 else 0.0 for value in self._voices.values), default=1.0)

    def trouble(self) -> str:
        """Return what is wrong with a value, or nothing."""
        wrong = [value for value in self._voices.values if not 0 <= value <= 1]
        if not wrong:
            return ""
        taken = "1" if wrong[0] > 1 else "0"
        said = f"{wrong[0]:g}" if math.isfinite(wrong[0]) else str(wrong[0])
        return f"{self._topic} must be a number from 0 to 1, got {said}: it counts as {taken}"
