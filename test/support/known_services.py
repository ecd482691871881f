"""A runtime whose engines take the time that their model file says: a detector that sees nothing.

A file `*.services` holds [ms] separated by blanks, which take turns; `random 0.1 20 60`: one in ten at random takes 60.
A time below zero takes as long, and fails. The work is done outside the interpreter's lock, as that of real engines.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import NO_PARTS, ArraySpec, EngineInfo, Options, check_inputs
from perf_inference.engines.runtimes import AS_STORED, Runtime
from perf_inference.errors import EngineError

FLOAT = np.dtype(np.float32)
_WORK = bytes(1 << 15)  # some 20 us
ROW = Runtime(name="services", module="support.known_services", suffixes=(".services",), library="numpy", install="",
              precisions={"fp32": AS_STORED}, devices=("cpu",))  # fmt: skip


def services_of(text: str) -> Iterator[float]:
    """Yield the times [ms] for ever."""
    words = text.split()
    if words[0] != "random":
        return cycle(map(float, words))
    share, usual, seldom = map(float, words[1:])
    numbers = random.Random(1)
    return (seldom if numbers.random() < share else usual for _ in iter(int, 1))


class Services:
    """Keeps its core busy for as long as it is told."""

    inputs = (ArraySpec("images", (1, 3, 64, 64), FLOAT),)
    outputs = (ArraySpec("output0", (1, 7, 84), FLOAT, owned=True),)
    parts_ns: Mapping[str, int] = NO_PARTS

    def __init__(self, model: str) -> None:
        self._services = services_of(Path(model).read_text())
        names = {"names": "{0: 'a', 1: 'b', 2: 'c'}"}
        self.info = EngineInfo(Path(model).stem, "services", "fp32", "cpu", names)

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        service_ms = next(self._services)
        until_ns = time.monotonic_ns() + round(1e6 * abs(service_ms))
        check_inputs(self.inputs, inputs)
        while time.monotonic_ns() < until_ns:
            hashlib.sha256(_WORK)
        if service_ms < 0:
            raise EngineError("this one fails")
        return {"output0": np.zeros((1, 7, 84), np.float32)}

    def close(self) -> None:
        """Nothing to free."""


def open_engine(model: str, options: Options) -> Services:
    return Services(model)


def install(folder: Path) -> None:
    """Make a distribution there that registers the runtime, for a PYTHONPATH with this folder and the tests'."""
    about = folder / "known_services-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: known-services\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[perf_inference.runtimes]\nservices = support.known_services:ROW\n")
