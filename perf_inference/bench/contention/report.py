"""The report of a contention run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perf_inference.bench.contention.judge import (
    Combination,
    Shares,
    fairness,
    fastest_schedule,
    implausible,
    slow_down,
)
from perf_inference.bench.results.machine import MachineTrack
from perf_inference.report.document import (
    Document,
    Histograms,
    Part,
    Table,
    TimeLines,
    Words,
    figure,
    summary_header,
    summary_row,
)
from perf_inference.telemetry.window import MOVED

_MOST_SAID = 2  # remarks in the verdict; the others are in the report
Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def label(combination: Combination, names: Sequence[str]) -> str:
    """Return `a alone`, `a + b`, `all`."""
    if len(combination) == 1:
        return f"{combination[0]} alone"
    return "all" if len(combination) == len(names) > 2 else " + ".join(combination)


def report(
    title: str,
    names: Sequence[str],
    shares: Shares,
    clocks_mhz: Mapping[Combination, float | None],
    remarks: Sequence[str],
    device_ms: Mapping[tuple[Combination, str], float],
    over_time: Series,
    track: MachineTrack,
) -> Document:
    """Return the document: the matrix first."""
    matrix = [(name, *(_cell(shares, name, other) for other in names), _times(slow_down(shares, tuple(names), name)))
              for name in names]  # fmt: skip
    rows = [
        (label(combination, names), name, *summary_row(share.latencies_ms), figure(share.hz),
         _times(slow_down(shares, combination, name)), figure(device_ms.get((combination, name))),
         figure(fairness(shares, combination)), figure(clocks_mhz.get(combination)))
        for combination, found in shares.items() for name, share in found.items()
    ]  # fmt: skip
    clock_words = _moved(clocks_mhz, names)
    odd = implausible(shares, clocks_mhz)
    schedule = fastest_schedule(shares, names)
    plan_words = []
    if schedule:
        groups = ", then ".join(label(group, names) for group in schedule[1])
        plan_words = [f"one inference of each takes {figure(schedule[0])} ms at best: {groups}"]
    siblings = [group for group in track.described["siblings"] if len(group) > 1]
    if siblings:
        plan_words.append(f"cores {siblings} are siblings of one another: of engines on two such no verdict is given")
    parts: list[Part] = [
        Table("Slow-down: the row's engine beside the column's", ("", *names, "all"), matrix,
              "mean time together over that alone; alone on the diagonal [ms]"),
        Table("All runs", ("run", "engine", *summary_header("ms"), "Hz", "slow-down", "on device ms", "fairness",
               "MHz"),
              rows, f"fairness: Jain's index of the pace kept; MHz: mean; {track.clock_text()}"),
        Words("What follows", [*plan_words, *clock_words, *odd, *remarks]),
        Histograms("Distributions", {f"{label(c, names)}: {name}": share.latencies_ms
                                     for c, found in shares.items() if len(c) in (1, len(names))
                                     for name, share in found.items()}),
        TimeLines("Inferences over time", over_time),
        *track.parts(),
    ]  # fmt: skip
    return Document(title, _verdict(names, shares, [*remarks, *odd]), parts)


def _verdict(names: Sequence[str], shares: Shares, remarks: Sequence[str]) -> str:
    everybody = tuple(names)
    slows = {name: slow for name in names if (slow := slow_down(shares, everybody, name)) is not None}
    if not slows:
        return "; ".join(remarks) or "nothing to compare: an engine alone, or together, was not measured"
    worst = max(slows, key=lambda name: slows[name])
    even = fairness(shares, everybody)
    n = min(len(share.latencies_ms) for share in shares[everybody].values())
    words = f"together {worst} takes {slows[worst]:.2f} times what it takes alone, the most of {len(names)} (n {n})"
    fair = "" if even is None else f", fairness {even:.2f}"
    said = [
        *remarks[:_MOST_SAID],
        *([f"{len(remarks) - _MOST_SAID} more remarks"] if len(remarks) > _MOST_SAID else []),
    ]
    return "; ".join([f"{words}{fair}", *said])


def _moved(clocks_mhz: Mapping[Combination, float | None], names: Sequence[str]) -> list[str]:
    known = {combination: mhz for combination, mhz in clocks_mhz.items() if mhz}
    if not known:
        return ["no clock is known on this machine: a slow-down may be a clock's"]
    low, high = min(known, key=lambda c: known[c]), max(known, key=lambda c: known[c])
    if known[high] <= (1 + MOVED) * known[low]:
        return []
    return [
        f"WARNING: clocks moved: {known[high]:.0f} MHz in '{label(high, names)}', {known[low]:.0f} MHz in "
        f"'{label(low, names)}'; fix them (jetson_clocks, nvidia-smi -lgc, governor performance) and measure again"
    ]


def _cell(shares: Shares, name: str, other: str) -> str:
    if name != other:
        return _times(slow_down(shares, (name, other), name) or slow_down(shares, (other, name), name))
    alone = shares.get((name,), {}).get(name)
    return figure(alone.mean_ms) if alone and alone.latencies_ms else "-"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
