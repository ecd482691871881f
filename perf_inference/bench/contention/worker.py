"""One engine in a process of its own: loads it, and runs it when it is told to.

    parent -> {"begin_ns": monotonic, "seconds": 3.0, "rate_hz": 0}       a run; the clock is one for all processes
    worker -> {"ready": "detect, onnx, fp32, cpu"}                       once
    worker -> {"starts_ns": [...], "latencies_ns": [...], "device_ns": [...]}   after each run

Each time is taken from the device idle to the device idle.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from contextlib import closing
from typing import Any

from perf_inference.bench.contention.pace import run
from perf_inference.bench.results.engines import engine_of, engine_text, inputs_of
from perf_inference.devices.device import open_device
from perf_inference.errors import PerfInferenceError

_WARM_UP = 10


def _say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def main() -> int:
    """Serve the runs that come on standard input, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    how = json.loads(sys.argv[1])
    if how["cores"]:
        os.sched_setaffinity(0, how["cores"])
    options = argparse.Namespace(**{**how, "shape": [(name, tuple(shape)) for name, shape in how["shape"]]})
    try:
        with closing(engine_of(how["model"], options)) as engine:
            inputs = inputs_of(engine, options.shape)
            device = open_device(engine.info.device if engine.info.device.startswith("cuda") else "cpu")

            def infer() -> None:
                device.synchronize()
                engine.infer(inputs)
                device.synchronize()

            for _ in range(_WARM_UP):
                infer()
            _say(ready=engine_text(engine))
            for line in sys.stdin:
                _say(**run(infer, json.loads(line), lambda: engine.parts_ns.get("compute")))
    except PerfInferenceError as error:
        _say(failed=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
