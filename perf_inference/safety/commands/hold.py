"""Positions that are held while the policy may not drive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perf_inference.safety.joint import Joint

_MOVED_RAD = 0.25  # from where it is held or led; less is sagging
_MOVED_SENDS = 3
_LONGEST_S = 0.1  # that one step is for: after a silence the joint is led on, not made up for


@dataclass
class _Held:
    """One joint."""

    began_rad: float  # where the joint was
    place_rad: float  # what was sent last
    moved: int = 0  # sends in a row that found the joint elsewhere


class Hold:
    """Holds each joint where it is.

    A joint beyond its limits is led back no faster than its velocity limit; one that somebody has moved by hand is
    held where it was put; one that sags is not followed.
    """

    def __init__(self, joints: Sequence[Joint], places_rad: Sequence[float], now_ns: int) -> None:
        """Begin where the joints are."""
        self._joints, self._sent_ns = joints, now_ns
        self._held = [_Held(place, place) for place in places_rad]

    @property
    def places_rad(self) -> list[float]:
        """What was sent last."""
        return [held.place_rad for held in self._held]

    def step(self, measured_rad: Sequence[float], now_ns: int) -> list[float]:
        """Return what is to be sent next, where the joints are measured here."""
        period_s, self._sent_ns = min((now_ns - self._sent_ns) / 1e9, _LONGEST_S), now_ns
        for held, joint, here in zip(self._held, self._joints, measured_rad, strict=True):
            off = max(min(held.began_rad, held.place_rad) - here, here - max(held.began_rad, held.place_rad))
            held.moved = held.moved + 1 if off > _MOVED_RAD else 0
            if held.moved >= _MOVED_SENDS:
                held.began_rad, held.place_rad, held.moved = here, here, 0
                continue
            goal = min(max(held.place_rad, joint.bounds.lower_rad), joint.bounds.upper_rad)
            step = joint.bounds.velocity_rad_s * period_s
            held.place_rad += min(max(goal - held.place_rad, -step), step)
        return self.places_rad
