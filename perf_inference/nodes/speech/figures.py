"""What the utterances come to: counts, the real-time factor, and how long until something is heard."""

from __future__ import annotations

import statistics
import threading
from collections import deque
from dataclasses import dataclass

from perf_inference.measure.performance_monitor import PerformanceMonitor
from perf_inference.measure.stamps import Scalar
from perf_inference.speech.speaking import Synthesis

_RECENT = 100


@dataclass(frozen=True)
class Utterance:
    """One text that has become sound."""

    synthesis_s: float
    duration_s: float
    first_sound_ms: float  # from the text's arrival on: to the player, or in memory where there is none
    engine_first_ms: float  # from the engine's start on

    @classmethod
    def of(cls, synthesis: Synthesis, arrived_ns: int) -> Utterance:
        heard_ns = synthesis.sound_ns or synthesis.first_ns
        return cls(
            (synthesis.done_ns - synthesis.started_ns) / 1e9,
            synthesis.duration_s,
            (heard_ns - arrived_ns) / 1e6,
            (synthesis.first_ns - synthesis.started_ns) / 1e6,
        )

    @property
    def rtf(self) -> float:
        return PerformanceMonitor.calculate_rtf(self.synthesis_s, self.duration_s)


class SpeechFigures:
    """Of one node; counted on its worker's thread, read on the ROS thread."""

    def __init__(self, target_rtf: float) -> None:
        self._target = target_rtf
        self._recent: deque[Utterance] = deque(maxlen=_RECENT)
        self._lock = threading.Lock()
        self.spoken = self.shortened = self.cut = 0

    def add(self, utterance: Utterance) -> None:
        """Take one more."""
        with self._lock:
            self.spoken += 1
            self._recent.append(utterance)

    def rtf(self) -> float | None:
        """Return the real-time factor of the recent ones together; None: there are none."""
        with self._lock:
            recent = list(self._recent)
        if not recent:
            return None
        return PerformanceMonitor.calculate_rtf(sum(u.synthesis_s for u in recent), sum(u.duration_s for u in recent))

    def trouble(self) -> str:
        """Return one sentence where the recent ones are slower than the target."""
        rtf = self.rtf()
        if rtf is None or rtf < self._target:
            return ""
        return f"the real-time factor is {rtf:.2f}, and should be below {self._target:g}: {_remedy(rtf)}"

    def values(self) -> dict[str, Scalar]:
        """Return the figures for the heartbeat."""
        with self._lock:
            recent = list(self._recent)
        newest = recent[-1] if recent else None
        first = [u.first_sound_ms for u in recent]
        return {
            "rtf": self.rtf(),
            "rtf_newest": newest.rtf if newest else None,
            "rtf_target": self._target,
            "first_sound_p50_ms": statistics.median(first) if first else None,
            "first_sound_max_ms": max(first, default=None),
            "engine_first_p50_ms": statistics.median(u.engine_first_ms for u in recent) if recent else None,
            "audio_s": newest.duration_s if newest else None,
            "shortened": self.shortened,
            "cut": self.cut,
        }


def _remedy(rtf: float) -> str:
    slow = "speech falls behind" if rtf >= 1 else "little room is left"
    return f"{slow}; take a smaller voice or another engine"
