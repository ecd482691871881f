"""Makes a model that has run: from what a node was started with, or from what somebody has set since."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from perf_inference import model_build
from perf_inference.engines import Engine
from perf_inference.errors import BrokenDeviceError, ConfigError, EngineError, InputError, PerfInferenceError
from perf_inference.model_build.private_copy import private_copy
from perf_inference.nodes.ros.parameters import EngineParameters
from perf_inference.pipeline import Model, Task

E = TypeVar("E", bound=EngineParameters)
_OF_A_FILE = ("allow_pickle", "architecture")  # said of the model that the node was started with, and of no other
_ONE_AT_A_TIME = threading.Lock()  # the nodes of a container import the same libraries


class Loader:
    """Loads and warms up the models of one node."""

    def __init__(
        self,
        started_as: EngineParameters,
        now: EngineParameters,
        task_of: Callable[[Engine], Task],
        blank: Callable[[Any], Any],
        wrap: Callable[[Engine], Engine],
        loaded: Callable[[Engine, model_build.Plan], None],
    ) -> None:
        """Load nothing yet; arguments as for `Inference`.

        Args:
            loaded: hears of each model.
        """
        self._started_as, self._now = started_as, now
        self._task_of, self._blank, self._wrap, self._loaded = task_of, blank, wrap, loaded
        self.allowed = model_build.AllowedModels.of(started_as.model, started_as.allowed_models)
        self._cancelled = False

    def first(self) -> Model:
        """Return the model that the parameters name now (any thread).

        Raises:
            ConfigError: it does not run, or may not be loaded.
        """
        now, started_as = self._now, self._started_as
        with _ONE_AT_A_TIME:
            if now.model == started_as.model:
                return self._proved(now.model, now)
            with private_copy(now.model, self.allowed, lambda: self._cancelled) as (file, _):
                return self._proved(file, of_this_model(now, started_as))

    def load(self, made: model_build.Plan) -> Model:
        """Return the model of a plan (any thread).

        Raises:
            ConfigError: it does not run.
        """
        model = warmed_up(self._wrap(model_build.load(made)), self._task_of, self._blank)
        self._loaded(model.engine, made)
        return model

    def cancel(self) -> None:
        """Copy no model any more."""
        self._cancelled = True

    def _proved(self, file: str, parameters: EngineParameters) -> Model:
        made = model_build.resolve(file, parameters.runtime, parameters.options())
        model_build.prove(made)
        return self.load(made)


def of_this_model(wanted: E, started_as: EngineParameters) -> E:
    """Return the parameters without what was said of the model that the node was started with alone."""
    of_the_file = started_as if wanted.model == started_as.model else EngineParameters()
    return replace(wanted, **{name: getattr(of_the_file, name) for name in _OF_A_FILE})


def warmed_up(engine: Engine, task_of: Callable[[Engine], Task], blank: Callable[[Any], Any], runs: int = 2) -> Model:
    """Return a model that has run on a blank frame; its engine is closed where it does not."""
    blanks = "a blank frame"
    try:
        task = task_of(engine)
        for inputs in _blank_inputs(task, blank):
            count = len(next(iter(inputs.values())))
            blanks = "a blank frame" if count == 1 else f"{count} blank frames at once, set max_batch to fewer"
            for _ in range(runs if getattr(engine, "needs_warm_up", True) else 0):
                engine.infer(inputs)
    except (EngineError, InputError) as error:
        engine.close()
        # A server that has gone just now may come back, and a new process has a CUDA that is not broken.
        if engine.info.runtime in ("remote", "chat") or isinstance(error, BrokenDeviceError):
            raise
        raise ConfigError(f"model '{engine.info.name}' does not run on {blanks}: {error}") from error
    except PerfInferenceError:
        engine.close()
        raise
    return Model(engine, task)


def _blank_inputs(task: Any, blank: Callable[[Any], Any]) -> Iterable[Mapping[str, Any]]:
    """Yield the inputs of each form that the engine is to run on."""
    batches = getattr(task, "batches_of_nothing", None)
    yield from batches() if batches is not None else [task.preprocess(blank(task))[0]]
