"""What a term's numbers become before they are kept. Each is pure: numbers [n] in, numbers [m] out, as float64.

Quaternions are x, y, z, w, as ROS has them, and turn from the body's frame to the world's; they need not be exactly of
length 1. Other packages add a transform as an entry point of the group `perf_inference.transforms`: a function
(values [n]) -> values [m], with an attribute `width` (n -> m) where it knows one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import ConfigError, InputError
from perf_inference.tasks.policy.contract.contract import Ranges
from perf_inference.tasks.policy.plugins import plugin, plugin_names

Floats = NDArray[np.float64]
GROUP = "perf_inference.transforms"


@dataclass(frozen=True)
class Transform:
    """A function of a sample's numbers."""

    apply: Callable[[Floats], Floats]
    width: Callable[[int], int | None]  # how many numbers become of n; None: it cannot be told
    angles: bool = False  # the result are angles [rad], which are interpolated the short way round


def gravity(quaternion: Floats) -> Floats:
    """Return the direction of gravity in the body's frame [3]: R^T (0, 0, -1)."""
    return np.asarray(-_matrix(quaternion)[2])


def rot6d(quaternion: Floats) -> Floats:
    """Return the first two columns of R, one after the other [6] (Zhou et al. 2019, arXiv:1812.07035)."""
    return np.asarray(_matrix(quaternion)[:, :2].T.reshape(-1))


def matrix(quaternion: Floats) -> Floats:
    """Return R, row by row [9]."""
    return np.asarray(_matrix(quaternion).reshape(-1))


def rpy(quaternion: Floats) -> Floats:
    """Return roll, pitch and yaw [3] in rad: R = Rz(yaw) Ry(pitch) Rx(roll), as REP 103 has fixed axes."""
    r = _matrix(quaternion)
    pitch = math.asin(min(max(-float(r[2, 0]), -1.0), 1.0))
    if abs(r[2, 0]) > 1 - 1e-9:  # straight up or down roll and yaw are one turn, which counts as yaw
        return np.array([0.0, pitch, math.atan2(-r[0, 1], r[1, 1])])
    return np.array([math.atan2(r[2, 1], r[2, 2]), pitch, math.atan2(r[1, 0], r[0, 0])])


def yaw(quaternion: Floats) -> Floats:
    """Return yaw [1] in rad."""
    return rpy(quaternion)[2:]


def sin_cos(angles: Floats) -> Floats:
    """Return the sines of all, then the cosines of all [2 n]."""
    return np.concatenate([np.sin(angles), np.cos(angles)])


def wrap(angles: Floats) -> Floats:
    """Return the angles [n] within [-pi, pi)."""
    return np.asarray((angles + math.pi) % (2 * math.pi) - math.pi, np.float64)


def ranges(spec: Ranges) -> Transform:
    """Return the transform that makes `count` values of a scan: the nearest range of each sector, in its order.

    What is no range (NaN, infinite, negative) counts as none; a sector without any is `inf`.
    """

    def apply(values: Floats) -> Floats:
        if len(values) < spec.count:
            raise InputError(f"a scan must have at least {spec.count} ranges, as ranges.count says, got {len(values)}")
        known = np.where(np.isfinite(values) & (values >= 0), np.minimum(values, spec.most_m), np.inf)
        starts = np.arange(spec.count) * len(values) // spec.count
        nearest = np.minimum.reduceat(known, starts)
        return np.where(np.isinf(nearest), spec.inf, nearest)

    return Transform(apply, lambda n: spec.count)


_QUATERNIONS = {"gravity": (gravity, 3), "rot6d": (rot6d, 6), "matrix": (matrix, 9), "rpy": (rpy, 3), "yaw": (yaw, 1)}
_OTHERS = {
    "sin_cos": Transform(sin_cos, lambda n: 2 * n),
    "wrap": Transform(wrap, lambda n: n, angles=True),
}


def transform_names() -> tuple[str, ...]:
    """Return what a contract may name: ours, then the plug-ins."""
    return (*_QUATERNIONS, *_OTHERS, "ranges", *plugin_names(GROUP))


def transform_of(name: str, spec: Ranges | None) -> Transform | None:
    """Return a transform by its name; None for no name.

    Raises:
        ConfigError: a plug-in that cannot be loaded.
    """
    if not name:
        return None
    return ranges(spec) if spec is not None else _named(name)


@lru_cache(None)
def _named(name: str) -> Transform:
    if name in _QUATERNIONS:
        function, width = _QUATERNIONS[name]

        def each(values: Floats) -> Floats:
            if len(values) % 4 or not len(values):
                raise InputError(f"transform {name} must have quaternions of 4 values, got {len(values)} values")
            return np.concatenate([function(values[i : i + 4]) for i in range(0, len(values), 4)])

        return Transform(each, lambda n: n // 4 * width if n % 4 == 0 else None, angles=name in ("rpy", "yaw"))
    if name in _OTHERS:
        return _OTHERS[name]
    function = plugin(GROUP, name)
    if not callable(function):
        raise ConfigError(f"plug-in '{name}' of {GROUP} must be a function of an array, got {type(function).__name__}")
    return Transform(_checked(name, function), getattr(function, "width", lambda n: None))


def _checked(name: str, function: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    def apply(values: Floats) -> Floats:
        try:
            return np.asarray(function(values), np.float64).reshape(-1)
        except InputError:
            raise
        except Exception as error:  # of somebody else's code
            raise InputError(f"transform {name} failed on a sample: {type(error).__name__}: {error}") from error

    return apply


def _matrix(quaternion: Floats) -> Floats:
    """Return the rotation matrix [3, 3] of a quaternion x, y, z, w.

    Raises:
        InputError: it has no direction: all zero, or not finite.
    """
    length = float(np.sqrt(np.dot(quaternion, quaternion)))
    if not math.isfinite(length) or length < 1e-6:
        raise InputError(f"a quaternion must have a length above 0, got {quaternion.tolist()}")
    x, y, z, w = (quaternion / length).tolist()
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
