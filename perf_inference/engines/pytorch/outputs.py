"""What a PyTorch network returns: made a flat tuple of tensors, and its specs found by trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from perf_inference.engines.engine import ArraySpec
from perf_inference.errors import ConfigError

Arrays = list[NDArray[Any]]
# Lengths in the two runs, until some fit: of the first axis where it is free, and of the free ones behind it.
_BATCHES = ((1, 2), (2, 3))
_OTHERS = ((1, 2), (64, 128), (224, 448))
_SAMPLES = (16_000, 32_000)  # of sound: an image of such sides would take all memory


class Probe(NamedTuple):
    """Two runs on zeros, with other lengths of the free axes; one and the same run where none is free."""

    inputs: tuple[Arrays, Arrays]
    outputs: tuple[Arrays, Arrays]

    @property
    def free(self) -> bool:
        """Whether an axis of an input is free."""
        return self.inputs[0] is not self.inputs[1]


def flat(function: Callable[..., Any], names: Sequence[str] = ()) -> Callable[..., tuple[torch.Tensor, ...]]:
    """Return a function that returns a tuple of tensors, whatever `function` nests them in.

    Args:
        names: of the outputs; picks those of a dict, and their order.
    """

    def call(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(_for_numpy(tensor) for tensor in _tensors(function(*tensors), names))

    return call


def try_out(run: Callable[[Arrays], Arrays], specs: Sequence[ArraySpec]) -> Probe:
    """Run on zeros, free axes with two lengths; what `run` raises for the last that were tried is the caller's."""
    free = {axis for spec in specs for axis, length in enumerate(spec.shape) if length is None}
    sizes = _OTHERS if any(len(spec.shape) > 2 for spec in specs) else (*_OTHERS, _SAMPLES)
    lengths = [*product(_BATCHES if 0 in free else _BATCHES[:1], sizes if free - {0} else _OTHERS[:1])]
    for batches, others in lengths[:-1]:
        with suppress(Exception):  # too small for a kernel, or not what it was traced for: the next may fit
            return _trial(run, specs, batches, others)
    return _trial(run, specs, *lengths[-1])


def _trial(
    run: Callable[[Arrays], Arrays], specs: Sequence[ArraySpec], batches: tuple[int, int], others: tuple[int, int]
) -> Probe:
    first, second = zeros(specs, batches[0], others[0]), zeros(specs, batches[1], others[1])
    if [array.shape for array in first] == [array.shape for array in second]:
        outputs = _copies(run(first))
        return Probe((first, first), (outputs, outputs))
    return Probe((first, second), (_copies(run(first)), _copies(run(second))))


def output_specs(trial: Probe, names: Sequence[str], owned: bool) -> tuple[ArraySpec, ...]:
    """Return the outputs' specs; axes that changed with the inputs' free ones are free, and empty ones (detections).

    Raises:
        ConfigError: another number of outputs than of names.
    """
    first, second = trial.outputs
    if names and len(names) != len(first):
        raise ConfigError(f"{len(names)} outputs are named ({', '.join(names)}), but the network returns {len(first)}")
    return tuple(
        ArraySpec(name, _free_where_unlike(one.shape, other.shape), one.dtype, owned)
        for name, one, other in zip(names or _numbered(len(first)), first, second, strict=True)
    )


def zeros(specs: Sequence[ArraySpec], batch: int = 1, other: int = 1) -> Arrays:
    """Return zeros for the specs, with these lengths for free axes: the first, and those behind it."""
    return [
        np.zeros([n if n is not None else (other if axis else batch) for axis, n in enumerate(spec.shape)], spec.dtype)
        for spec in specs
    ]


def _copies(arrays: Arrays) -> Arrays:
    return [array.copy() for array in arrays]


def _free_where_unlike(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int | None, ...]:
    return tuple(a if a == b and a > 0 else None for a, b in zip(one, other, strict=True))


def _numbered(count: int) -> list[str]:
    return [f"output{index}" for index in range(count)] if count > 1 else ["output"]


def _tensors(result: Any, names: Sequence[str]) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, Mapping):
        return [tensor for name in (names or result) for tensor in _tensors(result[name], ())]
    if isinstance(result, (tuple, list)):
        return [tensor for part in result for tensor in _tensors(part, ())]
    raise ConfigError(f"the network returns a {type(result).__name__}; an engine passes tensors alone")


def _for_numpy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype is torch.bfloat16 else tensor  # NumPy has no bfloat16
