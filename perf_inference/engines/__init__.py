"""Run a model: arrays in, arrays out. A room per runtime; `load` picks it."""

from __future__ import annotations

import importlib
import logging
import os
import shlex
from dataclasses import replace

from perf_inference.engines.engine import AS_IT_IS, ArraySpec, Engine, EngineInfo, Options
from perf_inference.engines.model_file import MODELS, find_model
from perf_inference.engines.runtimes import AUTO, BUILT, RUNTIMES, check_device, is_remote, runtime_of
from perf_inference.errors import ConfigError, NoRoomError, in_one_line

__all__ = [
    "AS_IT_IS",
    "AUTO",
    "MODELS",
    "RUNTIMES",
    "ArraySpec",
    "Engine",
    "EngineInfo",
    "Options",
    "find_model",
    "load",
]

_log = logging.getLogger(__name__)

# On import, onnxruntime writes a device id and a store of events under ~/.cache/Microsoft, unless it is told not to.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def load(model: str, runtime: str = AUTO, options: Options = AS_IT_IS) -> Engine:
    """Return an engine for `model` as it is: a path, the name of an embedded model or a remote model's address.

    What must be built first (another format, another precision) is `perf_inference.model_build`'s.

    Where the device is left open (`auto`) and the GPU has no room for the model, it runs on the CPU, with a warning.

    Raises:
        ConfigError: no such model, one that this runtime, precision or device cannot run, or a damaged file.
    """
    found = find_model(model, runtime)
    chosen = runtime_of(found, runtime)
    if not chosen.installed:
        raise ConfigError(f"runtime '{chosen.name}' needs {chosen.library}, which is not installed: {chosen.install}")
    check_device(chosen, options.device)
    # Read when OpenMP is loaded: threads that spin while they wait take the cores from other engines and the camera.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        module = importlib.import_module(chosen.module)  # its library loads only when it is used
    except (Exception, SystemExit) as error:  # whatever another package's module does when it is imported
        why = in_one_line(error)
        raise ConfigError(
            f"runtime '{chosen.name}' needs its module '{chosen.module}', which cannot be imported: {why}"
        ) from error
    try:
        engine: Engine = module.open_engine(found, options)
    except NoRoomError as error:
        if options.device != AUTO:
            raise
        _log.warning("%s: running it on the CPU", error)
        engine = module.open_engine(found, replace(options, device="cpu"))
    if options.precision not in (AUTO, engine.info.precision):
        had = engine.info.precision
        engine.close()
        how = f"--runtime {chosen.name} --precision {options.precision}"
        build = f"build it first: perf-inference build {shlex.quote(str(model))} {how}"
        if chosen.precisions.get(options.precision) != BUILT:
            build = f"runtime '{chosen.name}' has {', '.join(chosen.precisions) or 'no precision of its own'}"
        raise ConfigError(
            f"'{found}' is {had}, but precision '{options.precision}' was asked for; "
            + ("its server says how it runs: leave precision at auto" if is_remote(found) else build)
        )
    return engine
