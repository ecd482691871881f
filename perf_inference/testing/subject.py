"""What the engine contract is checked on, and how a breach is seen."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import Engine
from perf_inference.testing.samples import Arrays, sample

_POLL_S = 0.005
_ALLOCATIONS = 10


class ContractError(AssertionError):
    """An engine breaks the contract."""


@dataclass(frozen=True)
class Subject:
    """What is checked: engines of one model, all made alike."""

    make: Callable[[], Engine]
    inputs: tuple[Arrays, Arrays] | None = None  # two that give different outputs; None: random ones
    tolerance: float = 1e-4  # of the same input's outputs from call to call, relative and absolute
    settle_s: float = 0.1  # how long outputs are watched for changes

    def samples(self, engine: Engine) -> tuple[Arrays, Arrays]:
        """Return two inputs for this engine."""
        return self.inputs or (sample(engine.inputs, 1), sample(engine.inputs, 2))


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ContractError(otherwise)


def expect_same(subject: Subject, outputs: Arrays, expected: Arrays, when: str) -> None:
    for name in different(subject, outputs, expected):
        raise ContractError(f"output '{name}' must be the same {when}, but it differs")


def different(subject: Subject, outputs: Arrays, expected: Arrays) -> Iterator[str]:
    """Yield the names of the outputs that differ by more than the tolerance; integers must be equal."""
    for name, wanted in expected.items():
        allowed = subject.tolerance if wanted.dtype.kind in "fc" else 0
        got = outputs[name]
        if got.shape != wanted.shape or not np.allclose(got, wanted, rtol=allowed, atol=allowed, equal_nan=True):
            yield name


def changed(subject: Subject, arrays: Arrays, copies: Arrays) -> Iterator[str]:
    """Yield the names of the arrays that are not, to the bit, what they were, looking for a while."""
    deadline = time.monotonic() + subject.settle_s
    while True:
        seen = [name for name in copies if arrays[name].tobytes() != copies[name].tobytes()]
        if seen or time.monotonic() >= deadline:
            yield from seen
            return
        time.sleep(_POLL_S)


def copy(arrays: Arrays) -> dict[str, NDArray[Any]]:
    return {name: np.array(array) for name, array in arrays.items()}


def stir_memory(arrays: Arrays) -> None:
    """Free what nobody holds and write over memory of the arrays' sizes: a view of freed memory would show it."""
    gc.collect()
    held = [np.full(array.nbytes, 0xA5, np.uint8) for array in arrays.values() for _ in range(_ALLOCATIONS)]
    held.clear()
