"""The keys `clip`, `normalize` and `unnormalize`, which observations and actions share."""

from __future__ import annotations

from perf_inference.errors import ConfigError
from perf_inference.tasks.policy.contract.contract import Normalize
from perf_inference.tasks.policy.contract.reading import Section


def clip_of(section: Section) -> tuple[float, float] | None:
    """Return [lowest, highest]; None: not given."""
    clip = section.numbers("clip", None, infinite=True)
    if clip and (len(clip) != 2 or clip[0] > clip[1]):
        raise section.fail("clip", "[lowest, highest]", list(clip))
    return clip if clip is None else (clip[0], clip[1])


def normalize_of(section: Section | None) -> Normalize | None:
    """Return {mean, std} or {min, max}."""
    if section is None:
        return None
    said = Normalize(
        section.numbers("mean", ()), section.numbers("std", ()), section.numbers("min", ()), section.numbers("max", ())
    )
    section.end()
    by_mean, by_range = bool(said.mean and said.std), bool(said.low and said.high)
    if by_mean == by_range or (by_mean and (said.low or said.high)) or (by_range and (said.mean or said.std)):
        raise ConfigError(f"{section.where}: {section.path} must be {{mean, std}} or {{min, max}}, one of the two")
    if any(value < 0 for value in said.std):
        raise section.fail("std", "numbers of at least 0", list(said.std))
    if by_range and len(said.low) == len(said.high) and any(a >= b for a, b in zip(said.low, said.high, strict=True)):
        raise section.fail("max", "above min", list(said.high))
    return said
