"""One result file of ros2_benchmark: what it has, what it cannot say, and what does not fit together."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from perf_inference.errors import InputError
from perf_inference.files.bounded_yaml import YamlError, read_yaml

_BASIC, _RESOURCE, _ABOUT = "BasicPerformanceMetrics.", "ResourceMetrics.", "BenchmarkMetadata."
_RATE, _SENT, _MISSED = "MEAN_FRAME_RATE", "NUM_FRAMES_SENT", "NUM_MISSED_FRAMES"
_LOST_PCT, _FASTER, _OVERSTATED_PCT, _GROWS = 1.0, 1.01, 1.0, 2.0
_EDGE = 0.98  # of the highest rate that the search tried
# what a reader needs, and how a key that holds it would be called
_WANTED = {
    "percentiles": re.compile(r"PERCENTILE|MEDIAN|(?<![A-Z0-9])P(50|90|95|99)(?![0-9])", re.IGNORECASE),
    "clock": re.compile(r"CLOCK|FREQ|MHZ|GOVERNOR|NVPMODEL", re.IGNORECASE),
    "power": re.compile(r"POWER|WATT|ENERGY", re.IGNORECASE),
    "temperature": re.compile(r"TEMPERATURE|DEGC|THERMAL", re.IGNORECASE),
}


@dataclass(frozen=True)
class Measurement:
    """One run in a file: the peak, a fixed rate, or one of several monitors."""

    name: str
    values: Mapping[str, float]  # without the prefix
    odd: tuple[str, ...]  # what does not fit together

    @property
    def lost_pct(self) -> float | None:
        sent, missed = self.values.get(_SENT), self.values.get(_MISSED)
        return 100 * missed / sent if sent and missed is not None else None


@dataclass(frozen=True)
class Audit:
    """What a file comes to."""

    name: str
    runs: tuple[Measurement, ...]
    missing: tuple[str, ...]  # what it cannot say
    odd: tuple[str, ...]
    images: int | None  # different messages that were played; None: not said
    warmup_s: float | None
    repeats: int | None


def audit(name: str, content: object) -> Audit:
    """Return what a file's content says.

    Raises:
        InputError: it is no result of ros2_benchmark.
    """
    if not isinstance(content, dict) or not any(key.startswith((_BASIC, _RESOURCE)) for key in _keys(content)):
        raise InputError("it has none of the keys of a ros2_benchmark result (BasicPerformanceMetrics.*)")
    about = content.get("metadata")
    config = _config(about if isinstance(about, dict) else {})
    upper_hz = _number(config.get("publisher_upper_frequency"))
    runs = tuple(_runs(content, upper_hz))
    keys = [key for key in _keys(content) if not key.startswith(_ABOUT)]
    missing = [what for what, pattern in _WANTED.items() if not any(pattern.search(key) for key in keys)]
    if not any(run.lost_pct is not None for run in runs):
        missing.append("loss")
    images = _number(config.get("playback_message_buffer_size"))
    warmup_s = _number(config.get("pre_trial_run_wait_time_sec"))
    repeats = _number(config.get("test_iterations"))
    missing += [what for what, value in (("distinct images", images), ("warm-up", warmup_s)) if value is None]
    odd = [f"{run.name}: {words}" for run in runs for words in run.odd]
    if images == 1:
        odd.append("one message is played again and again: caches see no other")
    if warmup_s == 0:
        odd.append("no warm-up before a trial")
    if repeats is not None and repeats >= 3:
        odd.append(f"the best and the worst of {repeats:.0f} runs are left out before the mean, maximum and minimum")
    return Audit(name, runs, tuple(missing), tuple(odd), None if images is None else int(images), warmup_s,
                 None if repeats is None else int(repeats))  # fmt: skip


def _runs(content: Mapping[str, Any], upper_hz: float | None, outer: str = "") -> Iterator[Measurement]:
    values = {}
    for key, value in content.items():
        number = _number(value)
        if key.startswith((_BASIC, _RESOURCE)) and number is not None:
            values[key.partition(".")[2]] = number
    if _RATE in values or _SENT in values:
        name = outer or "peak"
        yield Measurement(name, values, tuple(_odd(values, None if outer else upper_hz)))
    for key, value in content.items():
        if isinstance(value, dict) and key not in ("metadata", "custom"):
            yield from _runs(value, upper_hz, f"{outer} {key}".strip())


def _odd(values: Mapping[str, float], upper_hz: float | None) -> Iterator[str]:
    rate, played = values.get(_RATE), values.get("MEAN_PLAYBACK_FRAME_RATE")
    sent, missed = values.get(_SENT), values.get(_MISSED)
    if sent and missed is not None and 100 * missed / sent > _LOST_PCT:
        yield f"{100 * missed / sent:.1f} % of the frames were missed"
    if sent is not None and missed is not None and not 0 <= missed <= sent:
        yield f"{missed:.0f} of {sent:.0f} frames were missed"
    if rate and played and rate > _FASTER * played:
        yield f"{rate:.1f} Hz came out of {played:.1f} Hz"
    came = sent - missed if sent and missed is not None else 0.0
    if 1 < came < 1 + 100 / _OVERSTATED_PCT:
        yield f"N frames over N - 1 intervals: {100 / (came - 1):.1f} % too high a rate (N {came:.0f})"
    if upper_hz and played and played > _EDGE * upper_hz:
        yield f"the answer lies at the edge of the search ({upper_hz:g} Hz)"
    first, last = values.get("FIRST_SENT_RECEIVED_LATENCY"), values.get("LAST_SENT_RECEIVED_LATENCY")
    if first is not None and last is not None:
        if min(first, last) < 0:
            yield f"a latency is negative ({min(first, last):.2f} ms)"
        elif first and last > _GROWS * first:
            yield f"the last frame took {last / first:.1f} times the first: a queue was growing"
    for part in ("OVERALL_CPU", "DEVICE"):
        mean, most, before = (values.get(f"{kind}_{part}_UTILIZATION") for kind in ("MEAN", "MAX", "BASELINE"))
        if mean is not None and most is not None and mean > most:
            yield f"the mean of {part} is above its maximum"
        if mean is not None and before is not None and mean < before:
            yield f"{part} is less used than before the run ({mean:.1f} and {before:.1f} %)"


def _config(about: Mapping[str, Any]) -> Mapping[str, Any]:
    text = about.get(f"{_ABOUT}CONFIG")
    if isinstance(text, str):
        try:
            text = read_yaml(text)
        except YamlError:
            return {}
    if isinstance(text, dict):
        inner = text.get("ros2_benchmark_config", text)
        return inner if isinstance(inner, dict) else {}
    return {}


def _keys(content: Mapping[str, Any]) -> Iterator[str]:
    for key, value in content.items():
        yield str(key)
        if isinstance(value, dict) and key != "custom":
            yield from _keys(value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
