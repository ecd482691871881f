"""Whether a graph holds a rate, and the highest that it holds: pure functions of what was measured."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from perf_inference.measure.statistics import MIN_SAMPLES, Distribution

SENDER_MS = 1.0  # a sender whose p99 is later measures itself
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571)  # Student, two-sided 95 %, 1 to 5 degrees of freedom


@dataclass(frozen=True)
class Trial:
    """One run at one rate. Latencies count from when a message was due, whatever became late after that."""

    rate_hz: float
    seconds: float
    sent: int
    latencies_ms: Sequence[float]  # of those that were answered, told apart by their stamps
    replaced: int = 0  # by newer ones, as the node counts
    service_ms: Sequence[float] = field(default=())  # the node's own work
    late_ms: Sequence[float] = field(default=())  # the sender's

    @property
    def answered(self) -> int:
        return len(self.latencies_ms)

    @property
    def drop_pct(self) -> float:
        return 100 * (self.sent - self.answered) / self.sent if self.sent else 100.0

    @property
    def unaccounted(self) -> int:
        """Neither answered nor counted as replaced: lost before the node, or rejected by it."""
        return self.sent - self.answered - self.replaced

    @property
    def hz(self) -> float:
        return self.answered / self.seconds

    def percentile_ms(self, percent: float) -> float | None:
        """Return a percentile of the latency; None: too few samples."""
        value = _of(self.latencies_ms).percentile_ns(percent)
        return None if value is None else value / 1e6

    @property
    def sender_late_ms(self) -> float:
        """Return the sender's p99 (its largest, where there are too few samples for it)."""
        found = _of(self.late_ms)
        value = found.percentile_ns(99.0)
        return (found.max_ns if value is None else value) / 1e6


@dataclass(frozen=True)
class Limits:
    """What a rate must keep to hold."""

    max_drop_pct: float = 1.0
    max_p99_ms: float | None = None
    min_hz: float | None = None

    def broken(self, trial: Trial) -> list[str]:
        """Return what the trial does not keep; a p99 that has too few samples is judged by the largest."""
        said = []
        if trial.drop_pct > self.max_drop_pct:
            said.append(f"{trial.drop_pct:.2f} % of {trial.sent} messages have no answer, at most "
                        f"{self.max_drop_pct:g} % are allowed")  # fmt: skip
        if self.max_p99_ms is not None:
            p99 = trial.percentile_ms(99.0)
            name = "p99" if p99 is not None else f"maximum (n {trial.answered} is too few for a p99)"
            value = p99 if p99 is not None else max(trial.latencies_ms, default=math.inf)
            if value > self.max_p99_ms:
                said.append(f"the latency's {name} is {value:.2f} ms, at most {self.max_p99_ms:g} ms are allowed")
        if self.min_hz is not None and trial.hz < self.min_hz:
            said.append(f"{trial.hz:.2f} Hz come out, at least {self.min_hz:g} Hz are wanted")
        return said


@dataclass(frozen=True)
class Found:
    """The outcome of a search."""

    highest_hz: float | None  # that holds; None: `reason`
    reason: str = ""
    trials: Sequence[Trial] = field(default=())


def search(
    trial_at: Callable[[float], Trial],
    limits: Limits,
    start_hz: float,
    lowest_hz: float,
    highest_hz: float,
    width: float = 0.01,
) -> Found:
    """Return the highest rate that holds: doubled or halved until it lies between two, then halved in between.

    An answer at an edge of the search is none: it would be the edge's.

    Args:
        width: of the last interval, as a share of the rate.
    """
    trials: list[Trial] = []

    def holds(rate_hz: float) -> bool:
        trials.append(trial_at(rate_hz))
        return not limits.broken(trials[-1])

    low, high = start_hz, start_hz
    if holds(start_hz):
        while True:
            if high >= highest_hz:
                return Found(None, f"{high:g} Hz, the edge of the search, still hold: raise --highest", trials)
            low, high = high, min(2 * high, highest_hz)
            if not holds(high):
                break
    else:
        while True:
            if low <= lowest_hz:
                return Found(None, f"not even {low:g} Hz, the edge of the search, hold: lower --lowest", trials)
            low, high = max(low / 2, lowest_hz), low
            if holds(low):
                break
    while high - low > width * low:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return Found(low, "", trials)


def interval(answers: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of a few answers (Student's t); one answer has none: (nan, nan)."""
    n = len(answers)
    if n < 2:
        return math.nan, math.nan
    half = _T95[min(n - 2, len(_T95) - 1)] * statistics.stdev(answers) / math.sqrt(n)
    mean = statistics.fmean(answers)
    return mean - half, mean + half


def simulate(due_ms: Sequence[float], service_ms: Iterator[float]) -> tuple[list[float], int]:
    """Return (latencies of those answered [ms], how many were replaced) of a worker with a mailbox of one.

    The reference for a search: messages come when they are due, the newest waits, and what it replaces is dropped.
    """
    latencies, replaced = [], 0
    free_ms, waiting = 0.0, None
    for due in due_ms:
        if waiting is not None and free_ms <= due:
            free_ms += next(service_ms)
            latencies.append(free_ms - waiting)
            waiting = None
        if waiting is None and free_ms <= due:
            free_ms = due + next(service_ms)
            latencies.append(free_ms - due)
            continue
        replaced += waiting is not None
        waiting = due
    if waiting is not None:
        latencies.append(free_ms + next(service_ms) - waiting)
    return latencies, replaced


def junit(name: str, checks: Mapping[str, Sequence[str]], void: str = "") -> str:
    """Return JUnit's XML: a test case per check, with its failures; a void run is an error of all."""
    from xml.sax.saxutils import quoteattr

    cases = []
    for check, failures in checks.items():
        inner = "".join(f"<failure message={quoteattr(words)}/>" for words in failures)
        inner = f"<error message={quoteattr(void)}/>" if void else inner
        cases.append(f"  <testcase classname={quoteattr(name)} name={quoteattr(check)}>{inner}</testcase>")
    failed = 0 if void else sum(bool(failures) for failures in checks.values())
    errors = len(checks) if void else 0
    head = f'<testsuite name={quoteattr(name)} tests="{len(checks)}" failures="{failed}" errors="{errors}">'
    return "\n".join(['<?xml version="1.0" encoding="utf-8"?>', head, *cases, "</testsuite>", ""])


def least_samples() -> int:
    """Return how many answers a p99 needs."""
    return MIN_SAMPLES[99.0]


def _of(values_ms: Sequence[float]) -> Distribution:
    return Distribution.of(round(1e6 * value) for value in values_ms)
