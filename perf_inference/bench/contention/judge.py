"""What runs alone and together come to: pure functions of what was measured."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

_FASTER = 0.97  # together over alone: below, something is wrong
_CLOCK = 1.02
_BLOCKS, _ERRORS = 10, 3.0  # a difference within so many standard errors is noise


@dataclass(frozen=True)
class Share:
    """One engine in one combination of engines, over all rounds."""

    latencies_ms: Sequence[float]
    seconds: float

    @property
    def mean_ms(self) -> float:
        return sum(self.latencies_ms) / len(self.latencies_ms)

    @property
    def hz(self) -> float:
        return len(self.latencies_ms) / self.seconds

    @property
    def error_ms(self) -> float:
        """The mean's standard error, of stretches: neighbours are alike. 0 where there are too few for it."""
        size = len(self.latencies_ms) // _BLOCKS
        if size < 2:
            return 0.0
        means = [statistics.fmean(self.latencies_ms[at * size : (at + 1) * size]) for at in range(_BLOCKS)]
        return statistics.stdev(means) / math.sqrt(_BLOCKS)


Combination = tuple[str, ...]
Shares = Mapping[Combination, Mapping[str, Share]]


def plan(names: Sequence[str], seconds: float, budget_s: float) -> tuple[list[Combination], int]:
    """Return each alone, each pair, all together; and how many rounds fit into the budget, at least one."""
    combinations_ = [*((name,) for name in names), *combinations(names, 2)]
    if len(names) > 2:
        combinations_.append(tuple(names))
    rounds = max(1, min(10, int(budget_s / (len(combinations_) * (seconds + 0.1)))))
    return combinations_, rounds


def slow_down(shares: Shares, combination: Combination, name: str) -> float | None:
    """Return the mean time in this combination over that alone; None: one of the two was not measured."""
    alone, here = shares.get((name,), {}).get(name), shares.get(combination, {}).get(name)
    if not alone or not here or not alone.latencies_ms or not here.latencies_ms:
        return None
    return here.mean_ms / alone.mean_ms


def fairness(shares: Shares, combination: Combination) -> float | None:
    """Return Jain's index of the shares of their own pace that all kept: 1 is even, 1/N is one for all.

    R. Jain et al., DEC-TR-301 (1984).
    """
    kept = [1 / slow for name in combination if (slow := slow_down(shares, combination, name))]
    if len(kept) != len(combination):
        return None
    return sum(kept) ** 2 / (len(kept) * sum(value * value for value in kept))


def fastest_schedule(shares: Shares, names: Sequence[str]) -> tuple[float, tuple[Combination, ...]] | None:
    """Return what one inference of each takes at best [ms], and the groups that run together, one after another.

    Engines that run together are done when the slowest is, as if the others went on meanwhile.
    """
    times = {combination: max(share.mean_ms for share in found.values()) for combination, found in shares.items()
             if len(found) == len(combination) and all(share.latencies_ms for share in found.values())}  # fmt: skip
    found = [(sum(times[group] for group in groups), groups)
             for groups in _partitions(tuple(names)) if all(group in times for group in groups)]  # fmt: skip
    return min(found, default=None)


def implausible(shares: Shares, clocks_mhz: Mapping[Combination, float | None]) -> list[str]:
    """Return what is faster together than alone by more than noise, and whether a clock explains it."""
    said = []
    for combination in shares:
        for name in combination:
            slow = slow_down(shares, combination, name)
            if slow is None or slow >= _FASTER or len(combination) == 1:
                continue
            alone, here = shares[(name,)][name], shares[combination][name]
            if alone.mean_ms - here.mean_ms < _ERRORS * math.hypot(alone.error_ms, here.error_ms):
                continue
            before, now = clocks_mhz.get((name,)), clocks_mhz.get(combination)
            if before and now and now > _CLOCK * before:
                why = f"the clock was higher ({now:.0f} MHz against {before:.0f} alone)"
            else:
                why = "implausible: no clock explains it; measure again"
            said.append(f"{name} is faster in {' + '.join(combination)} than alone ({slow:.2f} times): {why}")
    return said


def _partitions(names: tuple[str, ...]) -> Iterator[tuple[Combination, ...]]:
    """Yield the ways to group names into ones, pairs and all of them (what is measured)."""
    if len(names) > 2:
        yield (names,)
    yield from _pairings(names)


def _pairings(names: tuple[str, ...]) -> Iterator[tuple[Combination, ...]]:
    if not names:
        yield ()
        return
    first, rest = names[0], names[1:]
    for others in _pairings(rest):
        yield ((first,), *others)
    for index, second in enumerate(rest):
        for others in _pairings(rest[:index] + rest[index + 1 :]):
            yield ((first, second), *others)
