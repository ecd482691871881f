"""Arrays that fit an engine's specs, in every memory layout, and arrays that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import ArraySpec

Arrays = Mapping[str, NDArray[Any]]


def sample(specs: Sequence[ArraySpec], seed: int) -> dict[str, NDArray[Any]]:
    """Return random arrays of these specs: floats in [0, 1), uint8 in [0, 255], other integers 0 or 1; free axes 1."""
    numbers = np.random.default_rng(seed)
    made = {}
    for spec in specs:
        shape = tuple(1 if length is None else length for length in spec.shape)
        if spec.dtype.kind == "f":
            values = np.asarray(numbers.random(shape))
        else:
            values = np.asarray(numbers.integers(0, 256 if spec.dtype == np.uint8 else 2, shape))
        made[spec.name] = values.astype(spec.dtype)
    return made


def wrong_inputs(specs: Sequence[ArraySpec], inputs: Arrays) -> Iterator[tuple[str, Arrays]]:
    """Yield (what is wrong, `inputs` with that one thing wrong)."""
    for spec in specs:
        array = inputs[spec.name]
        dtype = np.dtype(np.float64 if array.dtype != np.float64 else np.float32)
        yield f"a missing '{spec.name}'", {name: inputs[name] for name in inputs if name != spec.name}
        yield f"'{spec.name}' as {dtype}", {**inputs, spec.name: array.astype(dtype)}
        yield f"'{spec.name}' with an axis too many", {**inputs, spec.name: array[np.newaxis]}
        for axis, length in enumerate(spec.shape):
            if length is not None:
                longer = (*array.shape[:axis], length + 1, *array.shape[axis + 1 :])
                yield f"'{spec.name}' one longer in axis {axis}", {**inputs, spec.name: np.zeros(longer, array.dtype)}


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    copy = np.array(array)
    copy.flags.writeable = False
    return copy


def _strided(array: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(array, 2, axis=-1)[..., ::2] if array.ndim else array


def _reversed(array: NDArray[Any]) -> NDArray[Any]:
    return np.flip(np.array(np.flip(array)))


def _transposed(array: NDArray[Any]) -> NDArray[Any]:
    turned: NDArray[Any] = np.array(array.T, order="C").T
    return turned


def _unaligned(array: NDArray[Any]) -> NDArray[Any]:
    memory = np.empty(array.nbytes + 1, np.uint8)
    moved = memory[1:].view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


LAYOUTS: Mapping[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "read-only": _read_only,
    "strided": _strided,
    "reversed": _reversed,
    "transposed": _transposed,
    "unaligned": _unaligned,
}
"""The same values in memory otherwise: views of messages, of larger arrays, of images turned round."""
