"""A delay that is added to each inference, to try out what a slow model does to a policy."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from perf_inference.engines import Engine
from perf_inference.errors import ConfigError

_MOST_MS = 60_000.0


class Delay:
    """Of a fixed length, or evenly between two."""

    def __init__(self, least_s: float, most_s: float) -> None:
        self._least_s, self._most_s = least_s, most_s
        self._chance = random.Random(0)

    @classmethod
    def of(cls, said_ms: Sequence[float]) -> Delay:
        """Return the delay of [150] or [50, 500] ms.

        Raises:
            ConfigError: it is none.
        """
        least, most = (said_ms[0], said_ms[-1]) if 1 <= len(said_ms) <= 2 else (0.0, -1.0)
        if not 0 <= least <= most <= _MOST_MS:
            raise ConfigError(
                f"added_delay_ms must be [150], or its least and most like [50, 500], at most {_MOST_MS:g}, got "
                f"{list(said_ms)}"
            )
        return cls(least / 1e3, most / 1e3)

    @property
    def usual_s(self) -> float:
        """What is to be expected [s]."""
        return (self._least_s + self._most_s) / 2

    def wrapped(self, engine: Engine) -> Engine:
        """Return the engine with the delay; itself where there is none."""
        if not self._most_s:
            return engine
        delayed: Engine = _Delayed(engine, self)  # type: ignore[assignment]
        return delayed

    def wait(self) -> None:
        """Wait for as long as it takes this time."""
        time.sleep(self._chance.uniform(self._least_s, self._most_s))


class _Delayed:
    def __init__(self, engine: Engine, delay: Delay) -> None:
        self._engine, self._delay = engine, delay
        self.inputs, self.outputs, self.info = engine.inputs, engine.outputs, engine.info

    @property
    def parts_ns(self) -> Mapping[str, int]:
        return self._engine.parts_ns

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        outputs = self._engine.infer(inputs)
        self._delay.wait()
        return outputs

    def close(self) -> None:
        self._engine.close()
