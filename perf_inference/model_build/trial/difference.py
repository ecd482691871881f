"""How far a model's outputs are from those of the same model in fp32."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
_MOST_OF_IT = 0.5
_NOTHING = 1e-3  # outputs of fp32 that are all below it are compared with it


@dataclass(frozen=True)
class Difference:
    """The worst of all outputs."""

    largest: float  # of the absolute differences of floating values, in the output's own unit
    relative: float  # the same as a share of that output's largest magnitude in fp32
    unequal: float  # share [0, 1] of the integer values that are not the same

    @property
    def text(self) -> str:
        """As shares, for people: of floating outputs, and of whole numbers where some are unequal."""
        words = f"{100 * self.relative:.2g} %"
        return f"{words}, {100 * self.unequal:.2g} % of whole numbers" if self.unequal else words


def difference(outputs: Arrays, reference: Arrays) -> Difference:
    """Return how far outputs are from those in fp32; infinite where shapes differ or values are not finite."""
    largest = relative = unequal = 0.0
    for name, wanted in reference.items():
        found = outputs.get(name)
        if found is None or found.shape != wanted.shape:
            return Difference(float("inf"), float("inf"), 1.0)
        if not wanted.size:
            continue
        if wanted.dtype.kind != "f":
            unequal = max(unequal, float(np.mean(found != wanted)))
            continue
        off = float(np.abs(found.astype(np.float64) - wanted.astype(np.float64)).max())
        off = off if np.isfinite(off) else float("inf")
        scale = float(np.abs(wanted.astype(np.float64)).max())
        largest = max(largest, off)
        relative = max(relative, off / scale if scale else (float("inf") if off else 0.0))
    return Difference(largest, relative, unequal)


def what_is_broken(outputs: Arrays, reference: Arrays, free: Collection[str] = ()) -> str:
    """Return what is wrong with outputs beyond any loss of precision, as part of a sentence; empty: nothing.

    Args:
        free: names of outputs whose shape follows from their values (what a suppression of boxes leaves).
    """
    for name, wanted in reference.items():
        found = outputs.get(name)
        if found is None or (found.shape != wanted.shape and name not in free):
            return f"'{name}' is {'missing' if found is None else list(found.shape)}, in fp32 {list(wanted.shape)}"
        if found.shape != wanted.shape or wanted.dtype.kind != "f" or not wanted.size:
            continue
        sure = np.isfinite(wanted)
        if not np.isfinite(found[sure]).all():
            return f"'{name}' has values that are not finite, in fp32 it has none"
        off = np.abs(found[sure].astype(np.float64) - wanted[sure].astype(np.float64)).max(initial=0.0)
        scale = np.abs(wanted[sure].astype(np.float64)).max(initial=0.0)
        if off > max(scale, _NOTHING):
            return f"'{name}' differs by up to {off:.3g}, while in fp32 it is {scale:.3g} at most"
        share = _length(found[sure] - wanted[sure].astype(np.float64)) / max(_length(wanted[sure]), _NOTHING)
        if share > _MOST_OF_IT and off > _NOTHING:
            return f"'{name}' differs by {100 * share:.0f} % of its length (root of the sum of squares) in fp32"
    return ""


def _length(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).sum()))
