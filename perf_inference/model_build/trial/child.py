"""The other half of `trial`: the process that loads a model and runs it. `python -m ...trial_process FOLDER`.

It prepares the model first and then starts itself again (exec, the same process for its parent), so that what building
took is not counted to the memory of running.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference import engines
from perf_inference.bringup import child_process
from perf_inference.bringup.search_path import leave_working_directory
from perf_inference.devices.process_memory import PROCESS_MEMORY, resident_bytes
from perf_inference.engines import ArraySpec, Engine, Options
from perf_inference.engines.runtimes import is_remote
from perf_inference.errors import ConfigError, EngineError, PerfInferenceError
from perf_inference.measure.warmup import WarmUp
from perf_inference.model_build import content
from perf_inference.model_build.preparation import prepare
from perf_inference.model_build.trial.difference import difference
from perf_inference.model_build.trial.trial import INPUTS, REQUEST, RESULT

PREPARED = "prepared.json"
_ENOUGH_S = 5.0  # of timed runs
_FREE_AXIS, _FREE_SIDE_PX = 1, 640  # lengths of what is free in random inputs: of an axis, of an image's side

Arrays = Mapping[str, NDArray[Any]]


def main(folder: Path) -> None:
    """Do what `request.json` says and write `result.json`, whatever happens."""
    leave_working_directory()
    request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    _depend_on(request["parent"], request["nice"])
    options = _options(request["options"])
    try:
        if not (folder / PREPARED).is_file():
            made = prepare(request["model"], request["runtime"], options)
            (folder / PREPARED).write_text(json.dumps([made.model, made.runtime]), encoding="utf-8")
            os.execv(sys.executable, [sys.executable, "-m", "perf_inference.model_build.trial.child", str(folder)])
        result = _try_out(folder, request, options)
    except PerfInferenceError as error:
        result = {"error": {"kind": type(error).__name__, "text": str(error)}}
    except Exception as error:
        lines = str(error).strip().splitlines()
        text = f"'{request['model']}' failed in its trial: {type(error).__name__}: {lines[0] if lines else ''}"
        result = {"error": {"kind": EngineError.__name__, "text": text}}
    unfinished = folder / f"{RESULT}.part"
    unfinished.write_text(json.dumps(result), encoding="utf-8")
    unfinished.replace(folder / RESULT)


def random_inputs(specs: tuple[ArraySpec, ...], seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return inputs that fit, the same for the same seed: whole numbers 0 to 255 (int64: 0, 1), floats of N(0, 1)."""
    rng = np.random.default_rng(seed)
    made: dict[str, NDArray[Any]] = {}
    for spec in specs:
        if spec.name == "prompt":  # of a captioner: nothing is asked
            made[spec.name] = np.zeros(0, spec.dtype)
            continue
        if spec.name == "samples":  # of sound: a second
            made[spec.name] = rng.standard_normal([length or (_FREE_AXIS, 16_000)[axis > 0] for axis, length in
                                                   enumerate(spec.shape)]).astype(spec.dtype)  # fmt: skip
            continue
        if len(spec.shape) == 3 and spec.shape[2] == 3 and spec.dtype == np.uint8:  # an image of any size
            sides = [length or _FREE_SIDE_PX for length in spec.shape]
            made[spec.name] = rng.integers(0, 256, sides).astype(np.uint8)
            continue
        free = _FREE_SIDE_PX if len(spec.shape) == 4 and 3 in (spec.shape[1], spec.shape[3]) else _FREE_AXIS
        shape = [(free if axis else _FREE_AXIS) if length is None else length for axis, length in enumerate(spec.shape)]
        if spec.dtype.kind == "f":
            made[spec.name] = rng.standard_normal(shape).astype(spec.dtype)
        else:
            high = {"u": 256, "i": 128 if spec.dtype.itemsize == 1 else 2}.get(spec.dtype.kind, 2)
            made[spec.name] = rng.integers(0, high, shape).astype(spec.dtype)
    return made


def _depend_on(parent: int, nice: int) -> None:
    """End with the parent, take what others leave of the processor, be the first to go where memory runs out."""
    if not child_process.end_with_parent(signal.SIGKILL, parent):
        os._exit(1)  # it has gone already
    os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _options(given: Mapping[str, Any]) -> Options:
    return Options(**{**given, "providers": tuple(given["providers"])})


def _try_out(folder: Path, request: Mapping[str, Any], options: Options) -> dict[str, Any]:
    model, runtime = json.loads((folder / PREPARED).read_text(encoding="utf-8"))
    before = resident_bytes()
    span = PROCESS_MEMORY.begin()
    began_ns = time.monotonic_ns()
    engine = engines.load(model, runtime, options)
    load_ns = time.monotonic_ns() - began_ns
    names = request["inputs"]
    inputs = random_inputs(engine.inputs) if names is None else _given(folder, names)
    infer_ns = _time(engine, inputs, request["runs"])
    memory = resident_bytes() - before
    peak = PROCESS_MEMORY.end(span)[0] - before
    outputs = {name: np.array(array) for name, array in engine.infer(inputs).items()}
    info = engine.info
    engine.close()
    found, why = None, "it is fp32"
    if info.precision != "fp32" or request["reference"] not in (None, request["model"], model):
        try:
            found = difference(outputs, _reference(request, options, inputs))
        except PerfInferenceError as error:
            why = f"no fp32 to compare with: {error}"
    return {
        "model": model,
        "info": {**asdict(info), "metadata": dict(info.metadata)},
        "inputs": _listed(engine.inputs),
        "outputs": _listed(engine.outputs),
        "file_bytes": None if is_remote(model) else content.size_bytes(Path(model)),
        "memory_bytes": memory,
        "peak_bytes": max(peak, memory),
        "load_ns": load_ns,
        "infer_ns": infer_ns,
        "difference": None if found is None else asdict(found),
        "no_difference": "" if found is not None else why,
    }


def _given(folder: Path, names: Sequence[str]) -> Arrays:
    with np.load(folder / INPUTS, allow_pickle=False) as file:
        return {name: file[f"arr_{index}"] for index, name in enumerate(names)}


def _time(engine: Engine, inputs: Arrays, runs: int) -> list[int]:
    """Warm up, then time `runs` runs, or as many as fit into some seconds, one at least."""
    warm_up = WarmUp()
    times_ns: list[int] = []
    end_s = time.monotonic() + _ENOUGH_S
    while not times_ns or (len(times_ns) < runs and time.monotonic() < end_s):
        began_ns = time.monotonic_ns()
        engine.infer(inputs)
        took_ns = time.monotonic_ns() - began_ns
        if not warm_up.mark(took_ns):
            times_ns.append(took_ns)
    return times_ns


def _reference(request: Mapping[str, Any], options: Options, inputs: Arrays) -> Arrays:
    """Return the outputs of the same model in fp32, in the same runtime, or as its file is where that cannot be."""
    model, plain = request["reference"] or request["model"], replace(options, precision="fp32")
    try:
        made = prepare(model, request["runtime"], plain)
    except ConfigError:
        made = prepare(model, engines.AUTO, replace(plain, device="auto"))
    engine = engines.load(made.model, made.runtime, made.options)
    try:
        return {name: np.array(array) for name, array in engine.infer(inputs).items()}
    finally:
        engine.close()


def _listed(specs: tuple[ArraySpec, ...]) -> list[Any]:
    return [[spec.name, list(spec.shape), spec.dtype.name, spec.owned] for spec in specs]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # tearing down a runtime can crash, and nothing is left to save
