"""Runs of a wanted model before it may take over."""

from __future__ import annotations

from collections.abc import Callable

from perf_inference.errors import ConfigError, EngineError, InputError, PerfInferenceError
from perf_inference.model_build.trial.trial import Trial, try_out
from perf_inference.nodes.ros.parameters import EngineParameters
from perf_inference.pipeline import Model, Pipeline


class Trials:
    """Of what a pipeline may run next."""

    def __init__(self, pipeline: Pipeline, cancelled: Callable[[], bool]) -> None:
        """Run nothing yet; `cancelled` is asked while a trial runs."""
        self._pipeline, self._cancelled = pipeline, cancelled

    def run(self, wanted: EngineParameters, same: bool = True) -> Trial | None:
        """Run the wanted model in a process of its own first: a file may bring down what reads it.

        Of another model it is not known yet what it takes: where it fails on inputs at random, the last input decides.
        """
        inputs, frame = None, self._pipeline.last
        if frame is not None and same:
            inputs, _ = self._pipeline.model.task.preprocess(frame)
        try:
            return try_out(wanted.model, wanted.runtime, wanted.options(), inputs, cancelled=self._cancelled)
        except (EngineError, InputError):
            if inputs is not None:
                raise
            return None

    def on_the_last_input(self, model: Model) -> None:
        """Run a loaded model on the last input, if there was one; ConfigError where it does not."""
        frame = self._pipeline.last
        if frame is None:
            return
        try:
            inputs, context = model.task.preprocess(frame)
            model.task.postprocess(model.engine.infer(inputs), context)
        except PerfInferenceError as error:
            raise ConfigError(f"the trial on the last input failed: {error}") from error
