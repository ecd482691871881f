"""Whether HEAD is slower than BASE, and whether that can be said at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from perf_inference.bench.judge.pairs import ALPHA, MIN_PAIRS, Ratio, ratio_of_blocks, ratio_of_pairs
from perf_inference.bench.judge.shape import Modes, Trend, trend, two_modes

SLOWER, VOID = 1, 3
"""Exit statuses; 0 is everything else."""
_CONTROL_P = 0.005
_LEAST_DRIFT_PCT = 5.0  # less is evened out by the order of the runs
_NOISE = 3.0  # times the tolerance: a wider interval could not have found what it is for


@dataclass(frozen=True)
class Rounds:
    """What was measured: of each round the two runs of each arm, in the order of the rounds."""

    base: Sequence[tuple[float, float]]
    control: Sequence[tuple[float, float]]
    head: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Verdict:
    """The answer, and what it rests on."""

    status: int
    word: str  # slower, faster, no difference, void
    reason: str
    ratio: Ratio | None
    control: Ratio | None = None
    drift: Trend | None = None
    remarks: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}"


def judge(rounds: Rounds, tolerance_pct: float, unit: str = "ms") -> Verdict:
    """Return the verdict on paired rounds.

    Args:
        tolerance_pct: a difference up to here is none.

    Raises:
        ValueError: the arms have no rounds, not as many, or a figure that is not above 0.
    """
    base, control, head = (_of_rounds(arm) for arm in (rounds.base, rounds.control, rounds.head))
    if not len(base) == len(control) == len(head):
        raise ValueError(f"each round has all arms, got {len(base)}, {len(control)} and {len(head)} rounds")
    ratio, still = ratio_of_pairs(base, head), ratio_of_pairs(base, control)
    drift = trend([(a * b * c) ** (1 / 3) for a, b, c in zip(base, control, head, strict=True)])
    reference = [*_flat(rounds.base), *_flat(rounds.control)]
    modes = {"BASE": two_modes(reference), "HEAD": two_modes(_flat(rounds.head))}
    remarks = [f"{name} has {found.text(unit)}" for name, found in modes.items() if found]
    of_ratio = trend([b / a for a, b in zip(base, head, strict=True)])
    if of_ratio.significant and abs(of_ratio.drift) > tolerance_pct / 100:
        remarks.append(f"the ratio itself drifts by {100 * of_ratio.drift:+.1f} % from the first pair to the last")

    def verdict(status: int, word: str, reason: str) -> Verdict:
        return Verdict(status, word, reason, ratio, still, drift, tuple(remarks))

    if len(base) < MIN_PAIRS:
        return verdict(VOID, "void", f"{len(base)} pairs were measured, and no outcome of fewer than {MIN_PAIRS} is "
                                     "rare enough to tell from chance")  # fmt: skip
    if _moved(still, tolerance_pct):
        return verdict(VOID, "void", f"the control arm, which runs BASE again, moved: ratio {still}; measure on a "
                                     "machine that is left alone")  # fmt: skip
    if drift.significant and abs(drift.drift) > max(tolerance_pct, _LEAST_DRIFT_PCT) / 100:
        return verdict(VOID, "void", f"all arms drifted by {100 * drift.drift:+.1f} % from the first pair to the last: "
                                     "wait until the machine is warm, fix its clocks, and measure again")  # fmt: skip
    return _decide(ratio, tolerance_pct, verdict, _slow_mode(modes["HEAD"], _flat(rounds.head), reference))


def judge_blocks(
    base: Sequence[float], head: Sequence[float], tolerance_pct: float, unit: str = "ms", comparisons: int = 1
) -> Verdict:
    """Return the verdict on two arms that were measured apart, a figure per process or block in the order of time.

    Args:
        comparisons: how many are made at once: one of them by chance is as rare as for a single one.
    """
    if min(len(base), len(head)) < MIN_PAIRS:
        return Verdict(VOID, "void", f"{len(base)} and {len(head)} figures: {MIN_PAIRS} of each are needed", None)
    if min(*base, *head) <= 0:
        return Verdict(VOID, "void", "a figure is not above 0, so there is no ratio", None)
    ratio = ratio_of_blocks(base, head)
    modes = {"BASE": two_modes(base), "HEAD": two_modes(head)}
    remarks = [f"{name} has {found.text(unit)}" for name, found in modes.items() if found]

    def verdict(status: int, word: str, reason: str) -> Verdict:
        return Verdict(status, word, reason, ratio, remarks=tuple(remarks))

    for name, arm in (("BASE", base), ("HEAD", head)):
        drift = trend(arm)
        if drift.significant and abs(drift.drift) > max(tolerance_pct, _LEAST_DRIFT_PCT) / 100:
            return verdict(VOID, "void", f"{name} drifted by {100 * drift.drift:+.1f} % while it was measured")
    return _decide(ratio, tolerance_pct, verdict, _slow_mode(modes["HEAD"], head, base), ALPHA / comparisons)


def _decide(ratio: Ratio, tolerance_pct: float, verdict: object, slow_mode: str, alpha: float = ALPHA) -> Verdict:
    assert callable(verdict)
    away_pct = 100 * (ratio.value - 1)
    said = f"HEAD takes {ratio} times BASE's"
    if ratio.p_slower < alpha and ratio.low > 1 and away_pct > tolerance_pct:
        answer = (SLOWER, "slower", f"{said}, beyond the tolerance of {tolerance_pct:g} %")
    elif slow_mode:
        answer = (SLOWER, "slower", slow_mode)
    elif ratio.p_faster < alpha and ratio.high < 1 and away_pct < -tolerance_pct:
        answer = (0, "faster", said)
    elif ratio.p_slower < alpha and ratio.low > 1:
        answer = (0, "no difference", f"{said}: slower, but within the tolerance of {tolerance_pct:g} %")
    elif 100 * ratio.half_width > _NOISE * tolerance_pct:
        answer = (VOID, "void", f"{said}: too noisy for a tolerance of {tolerance_pct:g} %; measure more pairs, or on "
                                "a machine that is left alone")  # fmt: skip
    else:
        most = max(0.0, 100 * (ratio.high - 1))
        answer = (0, "no difference", f"{said}; slower by more than {most:.1f} % can be excluded")
    made = verdict(*answer)
    assert isinstance(made, Verdict)
    return made


def _moved(control: Ratio, tolerance_pct: float) -> bool:
    rare = min(control.p_slower, control.p_faster) < _CONTROL_P
    return rare and not control.low <= 1 <= control.high and 100 * abs(control.value - 1) > tolerance_pct / 2


def _slow_mode(modes: Modes | None, head: Sequence[float], base: Sequence[float]) -> str:
    """Return in words that only HEAD now and then takes long, which a centre does not show; "" where it is not so."""
    if modes is None:
        return ""
    limit = math.sqrt(modes.fast * modes.slow)
    slow, of_base = sum(value > limit for value in head), sum(value > limit for value in base)
    if _fisher(slow, len(head), of_base, len(base)) >= ALPHA:
        return ""
    pct, base_pct = 100 * slow / len(head), 100 * of_base / len(base)
    return (
        f"{pct:.0f} % of HEAD's runs (n {len(head)}) and {base_pct:.0f} % of BASE's (n {len(base)}) take "
        f"{modes.slow / modes.fast:.2f} times the others"
    )


def _fisher(a: int, n: int, b: int, m: int) -> float:
    """Return how often `a` or more of the a + b slow ones fall among the n by chance (Fisher's exact test)."""
    total = a + b
    return sum(math.comb(n, k) * math.comb(m, total - k) for k in range(a, min(n, total) + 1)) / math.comb(n + m, total)


def _of_rounds(arm: Sequence[tuple[float, float]]) -> list[float]:
    return [math.sqrt(first * second) for first, second in arm]


def _flat(arm: Sequence[tuple[float, float]]) -> list[float]:
    return [value for pair in arm for value in pair]
