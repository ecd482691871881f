"""Chunks that no sane model gives, for what stands between a model and a robot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

KINDS = ("nan", "inf", "huge", "shape", "dtype", "steps", "limits", "beyond", "noise", "ramp", "sane")


def hostile(rng: np.random.Generator, horizon: int, width: int, lower: float, upper: float) -> NDArray[np.generic]:
    """Return an output [1, H, A], or of another shape or dtype."""
    kind = KINDS[int(rng.integers(len(KINDS)))]
    span = upper - lower
    chunk = rng.uniform(lower, upper, (1, horizon, width))
    places = rng.random(chunk.shape) < rng.choice([0.02, 0.3, 1.0])
    if kind == "nan":
        chunk[places] = np.nan
    elif kind == "inf":
        chunk[places] = rng.choice([np.inf, -np.inf])
    elif kind == "huge":
        chunk[places] = rng.choice([1e30, -1e30, 1e6, 1e300, 5e-324])
    elif kind == "shape":
        shapes = [
            (horizon, width),
            (1, horizon, width + 1),
            (2, horizon, width),
            (1, 0, width),
            (width,),
            (),
            (1, 1, 1, 1),
        ]
        return np.zeros(shapes[int(rng.integers(len(shapes)))])
    elif kind == "dtype":
        return chunk.astype(rng.choice(["complex128", "U8", "bool", "int64", "float16"]))
    elif kind == "steps":
        chunk = np.where(rng.random(chunk.shape) < 0.5, lower, upper)
    elif kind == "limits":
        chunk = rng.choice([lower, upper]) + rng.uniform(-1e-3, 1e-3, chunk.shape)
    elif kind == "beyond":
        chunk = chunk + rng.choice([-1, 1]) * span * rng.uniform(0.5, 20)
    elif kind == "noise":
        chunk = rng.normal(0, span * 10.0 ** rng.integers(-3, 3), chunk.shape)
    elif kind == "ramp":
        chunk = chunk[:, :1] + np.cumsum(rng.normal(0, span / 10, chunk.shape), axis=1)
    with np.errstate(over="ignore"):
        return chunk.astype(rng.choice(["float32", "float64"]))
