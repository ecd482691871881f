"""Whether a file that was made of a model is still that model: it is loaded and run before it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference import engines
from perf_inference.engines import AUTO, Engine
from perf_inference.errors import ConfigError, EngineError, InputError, PerfInferenceError, in_one_line
from perf_inference.model_build.plan import Plan
from perf_inference.model_build.trial.difference import what_is_broken
from perf_inference.model_build.trial.inputs import inputs_that_run

_AT_MOST = 8  # inputs of a calibration that it is run on

Inputs = Mapping[str, NDArray[Any]]


def verify(target: Path, made: Plan, given: Sequence[Inputs] = (), same_inputs: bool = True) -> None:
    """Load and run the file, and compare what it gives with what its source gives in fp32.

    Args:
        given: inputs as the model will meet them; random ones otherwise.
        same_inputs: it takes what its source takes.

    Raises:
        ConfigError: it cannot be loaded or run, or its outputs have nothing to do with those of its source.
    """
    try:
        engine = engines.load(str(target), made.runtime.name, made.options)
    except PerfInferenceError as error:
        raise ConfigError(f"what was made of '{made.source}' cannot be loaded, and is not kept: {error}") from error
    try:
        _compare(engine, made, list(given)[:_AT_MOST] if same_inputs else [], same_inputs)
    finally:
        engine.close()


def _compare(engine: Engine, made: Plan, given: Sequence[Inputs], same_inputs: bool) -> None:
    what = f"'{made.source}' in {made.options.precision} for '{made.runtime.name}'"
    on = "the calibration" if given else "inputs at random"
    try:
        tried = given or [inputs_that_run(engine)]
        outputs = [_copied(engine.infer(inputs)) for inputs in tried]
    except (EngineError, InputError) as error:
        raise ConfigError(
            f"{what} does not run on {on}, and is not kept: "
            f"{in_one_line(error)}; give --calibration a folder of .npz files with inputs that it takes"
        ) from error
    reference = _reference(made) if same_inputs else None
    if reference is None:
        return
    free = [spec.name for spec in reference.outputs if None in spec.shape]
    try:
        for inputs, found in zip(tried, outputs, strict=True):
            if broken := what_is_broken(found, reference.infer(inputs), free):
                raise ConfigError(
                    f"{what} is another model on {on}, and is not kept: output {broken}; run it in fp32"
                    + ("" if given else ", or give --calibration real inputs")
                )
    except (EngineError, InputError):  # the source cannot be asked
        return
    finally:
        reference.close()


def _reference(made: Plan) -> Engine | None:
    """Return the source as it is; None: it cannot be run here."""
    try:
        return engines.load(
            str(made.source), made.kind, replace(made.options, precision=AUTO, device="cpu", providers=())
        )
    except PerfInferenceError:
        return None


def _copied(outputs: Inputs) -> dict[str, NDArray[Any]]:
    return {name: np.array(array) for name, array in outputs.items()}
