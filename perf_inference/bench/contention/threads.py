"""Engines in threads of this one process: each waits for its own stream only."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from perf_inference.bench.contention.pace import run
from perf_inference.bench.contention.workers import Taken
from perf_inference.bench.results.engines import engine_of, engine_text, inputs_of
from perf_inference.engines import Engine

_WARM_UP = 10
_HEAD_START_NS = 50_000_000
_END_S = 10.0  # for the inference that is running


class _StoppedError(Exception):
    """The run was stopped."""


class Threads:
    """Loads all engines here.

    Raises:
        ConfigError: one cannot be loaded.
    """

    def __init__(self, models: Mapping[str, str], options: argparse.Namespace) -> None:
        self._engines: dict[str, Engine] = {name: engine_of(model, options) for name, model in models.items()}
        self._inputs = {name: inputs_of(engine, options.shape) for name, engine in self._engines.items()}
        self.texts = {name: engine_text(engine) for name, engine in self._engines.items()}
        for name, engine in self._engines.items():
            for _ in range(_WARM_UP):
                engine.infer(self._inputs[name])

    def together(self, names: Sequence[str], seconds: float, rate_hz: float) -> dict[str, Taken]:
        """Run these at the same time, from one moment on."""
        order = {"begin_ns": time.monotonic_ns() + _HEAD_START_NS, "seconds": seconds, "rate_hz": rate_hz}
        found: dict[str, Any] = {}

        over, ended = threading.Event(), {name: threading.Event() for name in names}

        def one(name: str) -> None:
            engine, inputs = self._engines[name], self._inputs[name]

            def infer() -> None:
                if over.is_set():
                    raise _StoppedError
                engine.infer(inputs)

            try:
                with suppress(_StoppedError):
                    found[name] = run(infer, order, lambda: engine.parts_ns.get("compute"))
            finally:
                ended[name].set()

        threads = [threading.Thread(target=one, args=(name,), name=name, daemon=True) for name in names]
        for thread in threads:
            thread.start()
        try:
            for event in ended.values():
                event.wait()
        except BaseException:  # Ctrl-C: no engine is closed while a thread is in it
            over.set()
            for event in ended.values():  # no join: until Python 3.13 one that was interrupted takes it for ended
                event.wait(_END_S)
            raise
        return {name: _taken(int(order["begin_ns"]), said) for name, said in found.items()}

    def close(self) -> None:
        """Close all engines."""
        for engine in self._engines.values():
            engine.close()


def _taken(begin_ns: int, said: Mapping[str, Any]) -> Taken:
    device_ns = [ns for ns in said["device_ns"] if ns is not None]
    return Taken(begin_ns, said["starts_ns"], said["latencies_ns"], device_ns)
