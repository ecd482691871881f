"""What came of a setup of `bench share`: raw values of all rounds, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perf_inference.measure.statistics import Distribution

PARTS = ("transport", "queue", "decode", "preprocess", "infer", "postprocess", "publish")
_RESAMPLES, _SEED = 4000, 20240229  # the same samples give the same interval
_CONFIDENCE = 0.95


class Cost(NamedTuple):
    """What the detector's and the camera's process took in one round."""

    detector_cpu_ms: float  # of a core, per frame
    camera_cpu_ms: float
    pss_mb: float  # of the detector
    uss_mb: float


@dataclass
class Outcome:
    """All rounds of one setup; raw values are kept."""

    sent: int = 0
    answered: int = 0
    parts_ms: list[Mapping[str, float]] = field(default_factory=list)  # of the frames after the warm-up
    rounds_ms: list[Sequence[float]] = field(default_factory=list)  # the shares of each round
    costs: list[Cost] = field(default_factory=list)  # of each round
    names: set[tuple[str, ...]] = field(default_factory=set)  # of what was seen, frame by frame
    boxes_px: list[list[tuple[float, ...]]] = field(default_factory=list)  # x, y, width, height of each

    def add_parts(self, parts_ms: Sequence[Mapping[str, float]]) -> None:
        """Add the frames of a round."""
        self.parts_ms += parts_ms
        self.rounds_ms.append([_share(parts) for parts in parts_ms])

    @property
    def share_ms(self) -> list[float]:
        return [_share(parts) for parts in self.parts_ms]

    @property
    def lost_pct(self) -> float:
        return 100.0 * (self.sent - self.answered) / self.sent if self.sent else 0.0

    def cost(self) -> Cost | None:
        """Return the medians of the rounds; None: none was measured."""
        return Cost(*np.median(self.costs, axis=0).tolist()) if self.costs else None

    def figures(self) -> dict[str, Any]:
        """Return what is known of the setup."""
        cost = self.cost()
        return {
            "sent": self.sent,
            "answered": self.answered,
            "lost_pct": round(self.lost_pct, 2),
            "share_ms": percentiles(self.share_ms),
            "parts_p50_ms": {part: percentiles([p[part] for p in self.parts_ms])["p50"] for part in PARTS},
            "cost": None if cost is None else cost._asdict(),
        }


def _share(parts_ms: Mapping[str, float]) -> float:
    return sum(parts_ms.values()) - parts_ms["infer"]


def percentiles(values_ms: Sequence[float]) -> dict[str, float | None]:
    """Return p50, p90, p99 and max [ms]; None where there are too few samples."""
    return Distribution.of(round(v * 1e6) for v in values_ms).summary_ms()


class Ratio(NamedTuple):
    """A percentile over the same one of another setup, and its 95 % interval over the rounds."""

    value: float
    low: float
    high: float
    rounds: int


def ratio(ours: Outcome, theirs: Outcome, percent: float) -> Ratio | None:
    """Return our share over theirs at a percentile; None where there are too few rounds or frames for it.

    The interval draws rounds, each with both setups, and takes the percentile of all their frames together.
    """
    rounds = min(len(ours.rounds_ms), len(theirs.rounds_ms))
    key = f"p{percent:g}"
    if rounds < 2 or any(percentiles(each.share_ms)[key] is None for each in (ours, theirs)):
        return None
    a, b = ([np.asarray(values) for values in each.rounds_ms[:rounds]] for each in (ours, theirs))
    drawn = np.random.default_rng(_SEED).integers(0, rounds, (_RESAMPLES, rounds))
    found = [_at(a, which, percent) / _at(b, which, percent) for which in drawn]
    tail = 50 * (1 - _CONFIDENCE)
    low, high = np.percentile(found, [tail, 100 - tail]).tolist()
    every = np.arange(rounds)
    return Ratio(_at(a, every, percent) / _at(b, every, percent), low, high, rounds)


def _at(rounds_ms: Sequence[NDArray[np.float64]], which: NDArray[np.int64], percent: float) -> float:
    return float(np.percentile(np.concatenate([rounds_ms[each] for each in which]), percent))
