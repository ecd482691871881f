"""Another model, runtime, precision or device while the node runs.

    ROS thread   a parameter is set: checked cheaply, taken down as wanted ........ settled: parameters, engine_state
    swap thread          copied once ─ trial in a child ─ load ─ warm up ─ last input ─ take over ─ close the old one

The old engine goes on until the new one has shown that it runs, and for good if it does not. While one swap is under
way another may be asked for; the newest wins.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from perf_inference import model_build
from perf_inference.devices.process_memory import give_back
from perf_inference.engines import AUTO, Engine
from perf_inference.engines.background_load import loading_beside
from perf_inference.engines.runtimes import is_remote
from perf_inference.errors import ConfigError, PerfInferenceError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.stamps import Scalar
from perf_inference.model_build.private_copy import private_copy, remove_left_over
from perf_inference.model_build.trial.trial import Trial
from perf_inference.nodes.engine.loader import of_this_model
from perf_inference.nodes.engine.model_sizes import one_text
from perf_inference.nodes.engine.trials import Trials
from perf_inference.nodes.lifecycle.managed_node import ManagedNode
from perf_inference.nodes.ros.parameters import EngineParameters
from perf_inference.nodes.ros.request_bounds import TOO_MANY, Allowance, Waiting
from perf_inference.pipeline import Model, Pipeline
from perf_inference.printable import shown

STATE = "engine_state"
_SENTENCE = 1000  # characters of what is told of a failure: part of it may be the words of a file or of a server
_TAKE_OVER_S, _FAILURE_SHOWN_NS = 10.0, 10_000_000_000  # a failed swap is a warning so long


class HotSwap:
    """Changes the model of a pipeline when the node's engine parameters are set."""

    def __init__(
        self,
        node: ManagedNode,
        parameters: EngineParameters,
        allowed: model_build.AllowedModels,
        load: Callable[[model_build.Plan], Model],
        pipeline: Pipeline,
        figures: Callable[[Engine], str],
    ) -> None:
        """Declare `engine_state`, offer the service ~/swap_wait and start to listen.

        Args:
            parameters: what runs now, in the node's own dataclass.
            allowed: what the model may become.
            load: makes a model, warmed up (swap thread); raises ConfigError.
            figures: of what runs, as a JSON object that the parameter ends with.
        """
        self._node, self._allowed, self._load, self._pipeline, self._json = node, allowed, load, pipeline, figures
        self._configured = node.started_as
        self._names = {item.name for item in fields(EngineParameters) if item.metadata.get("while_running")}
        self._turn = threading.Condition()
        self._running = self._wanted = parameters
        self._asked_ns: int | None = None  # monotonic, of the newest wish; None: nothing is wanted
        self._closing = False
        self._own = False  # the parameters are being set by the node itself
        self._shown = True  # they say what runs; cleared by a wish, set once its outcome is in them (ROS thread)
        self._done, self._failed, self._last_ms = 0, 0, 0.0
        self._failure: tuple[int, str] | None = None  # when (monotonic), what
        self._trial: Trial | None = None  # of what runs
        self._outcome = (True, "")  # of the last swap, for who waits
        self._waiting, self._allowance = Waiting(), Allowance()
        self._trials = Trials(pipeline, lambda: self._closing)
        self._state = self._runs()
        read_only = "set by the node alone: what runs, what is being loaded, or why the last swap failed"
        node.declare_while_configured(STATE, self._with_figures(), read_only)
        node.add_on_set_parameters_callback(self._on_set)
        # Who waits for the service must hold up nothing else, least of all what answers it.
        group = ReentrantCallbackGroup()
        node.create_service(Trigger, "~/swap_wait", self._on_wait, callback_group=group)
        self._settle = node.create_guard_condition(self._on_settled, callback_group=group)
        self._take_what_was_set()
        self._worker = threading.Thread(target=self._work, name=f"{node.get_name()} swap", daemon=True)
        self._worker.start()

    def stop(self) -> None:
        """Begin no other swap, and end the trial of one that is under way."""
        with self._turn:
            self._closing, self._asked_ns = True, None
            self._turn.notify_all()

    def join(self, timeout_s: float) -> None:
        """Wait until the trial has ended; a model that is being loaded is left where it is after this time."""
        self._worker.join(timeout_s)

    def figures(self) -> Mapping[str, Scalar]:
        """Return what the heartbeat tells."""
        return {
            STATE: self._state,
            "swaps": self._done,
            "swaps_failed": self._failed,
            "swap_ms": self._last_ms or None,
            "difference_from_fp32": self._difference(),
        }

    def trouble(self) -> str:
        """Return what is wrong with what runs or with the last swap, or nothing."""
        share, limit = self._difference(), self._running.max_difference
        if share is not None and share > limit:
            precision = self._pipeline.model.engine.info.precision
            return (
                f"outputs at {precision} differ from fp32 by {share:.3g} of their largest, max_difference is {limit:g}"
            )
        failure = self._failure
        if failure is not None and CLOCKS.monotonic_ns() - failure[0] < _FAILURE_SHOWN_NS:
            return f"swap failed: {failure[1]}"
        return ""

    def _difference(self) -> float | None:
        """Return how far the outputs of what runs were from fp32 in its trial, as a share of the largest."""
        found = self._trial.difference if self._trial is not None else None
        return None if found is None else max(found.relative, found.unequal)

    # ROS thread ------------------------------------------------------------------------------------------------------

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        if self._own:
            return SetParametersResult(successful=True)
        given = {p.name: p.value for p in parameters if p.name in self._names}
        try:
            shown_now = (self._state, self._node.get_parameter(STATE).value)
            if any(p.name == STATE and p.value not in shown_now for p in parameters):
                raise ConfigError(f"{STATE} is set by the node alone; set model, runtime, precision or device")
            if given:
                self._allowance.check()
                self._want(given)
        except Exception as error:  # whatever a text of somebody's leads to: it must not end the node
            return SetParametersResult(successful=False, reason=shown(error, _SENTENCE))
        return SetParametersResult(successful=True)

    def _take_what_was_set(self) -> None:
        """Want what was set while the first model was being loaded."""
        now = {name: self._node.get_parameter(name).value for name in self._names}
        given = {name: value for name, value in now.items() if value != getattr(self._running, name)}
        if not given:
            return
        try:
            self._want(given)
        except Exception as error:  # as in `_on_set`; the parameters go back to what runs
            why = self._fail(str(error))
            self._outcome, self._state, self._shown = (False, why), f"failed: {why}; {self._runs()}", False
            self._tell(why)
            self._settle.trigger()

    def _want(self, given: dict[str, Any]) -> None:
        model = given.get("model", self._wanted.model)
        wanted = of_this_model(replace(self._wanted, **{"model": model, **given}), self._configured)
        if wanted != self._wanted and not self._allowed.check(wanted.model).only_if_listed:
            model_build.check(wanted.model, wanted.runtime, wanted.options())
        self._shown = False
        with self._turn:
            if wanted != self._wanted:
                self._wanted, self._asked_ns = wanted, CLOCKS.monotonic_ns()
                self._state = f"loading {_said(wanted)}; meanwhile {self._runs()}"
                self._turn.notify_all()
            elif self._asked_ns is None:  # what runs is what is wanted: a failure before is done with
                self._outcome, self._failure, self._state = (True, ""), None, self._runs()
        self._settle.trigger()

    async def _on_wait(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self._shown:
            future = self._waiting.add(self._node.executor)
            if future is None:
                response.success, response.message = False, TOO_MANY
                return response
            await future
        response.success, response.message = self._outcome[0], self._state
        return response

    def _on_settled(self) -> None:
        """Show in the parameters what there is now."""
        with self._turn:
            settled, shown = self._asked_ns is None, self._running
        values = {STATE: self._with_figures()}
        if settled:
            values.update({name: getattr(shown, name) for name in self._names})
        changed = [Parameter(n, value=v) for n, v in values.items() if self._node.get_parameter(n).value != v]
        self._own = True
        try:
            self._node.set_parameters_atomically(changed)
        finally:
            self._own = False
        if settled:
            self._shown = True
            self._waiting.answer(None)

    # swap thread -----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        remove_left_over()
        self._compare()
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._closing or self._asked_ns is not None)
                if self._closing:
                    return
                wanted, asked_ns = self._wanted, self._asked_ns
            failure = self._swap(wanted)
            with self._turn:
                if self._asked_ns != asked_ns:
                    continue  # something else has been asked for since
                self._asked_ns = None
                self._wanted = self._running
                self._outcome = (not failure, failure)
                self._state = f"failed: {failure}; {self._runs()}" if failure else self._runs()
            self._last_ms = (CLOCKS.monotonic_ns() - (asked_ns or 0)) / 1e6
            self._tell(failure)
            self._settle.trigger()

    def _compare(self) -> None:
        """Compare what runs from the start with fp32, where it was asked to run at another precision."""
        if self._running.precision not in (AUTO, "fp32") and not is_remote(self._running.model):
            with contextlib.suppress(PerfInferenceError):  # it runs; there is nothing to compare it with
                self._trial = self._trials.run(self._running)

    def _tell(self, failure: str) -> None:
        log = self._node.get_logger()
        if failure:
            log.error(f"swap failed, {self._runs()}: {failure}")
        else:
            log.info(f"swapped after {self._last_ms:.0f} ms: {self._runs()}")

    def _swap(self, wanted: EngineParameters) -> str:
        """Let the wanted model take over; return why it could not, or nothing."""
        try:
            with private_copy(wanted.model, self._allowed, lambda: self._closing) as (file, listed):
                taken = replace(wanted, model=file, allow_pickle=wanted.allow_pickle and listed)
                trial, model = self._tried_and_loaded(taken, same=wanted.model == self._running.model)
        except PerfInferenceError as error:
            return self._fail(str(error))
        except Exception as error:  # of a library that fails in its own way: the old engine goes on
            return self._fail(f"{type(error).__name__}: {error}")
        old = self._pipeline.model.engine
        if self._pipeline.swap(model, _TAKE_OVER_S):
            old.close()
            del old
            give_back()
        else:
            self._node.get_logger().error(
                f"the engine before is still busy after {_TAKE_OVER_S:g} s; it is left behind"
            )
        self._running, self._trial, self._failure = wanted, trial, None
        self._done += 1
        return ""

    def _tried_and_loaded(self, wanted: EngineParameters, same: bool) -> tuple[Trial | None, Model]:
        """Return the outcome of the trial, and the model once it has run on the last input; `same`: as runs now."""
        trial = None if is_remote(wanted.model) else self._trials.run(wanted, same)
        made = model_build.resolve(wanted.model, wanted.runtime, wanted.options())
        with loading_beside(made.runtime):
            model = self._load(made)
        try:
            self._trials.on_the_last_input(model)
        except BaseException:
            model.engine.close()
            raise
        return trial, model

    def _fail(self, reason: str) -> str:
        reason = shown(reason, _SENTENCE)
        self._failed += 1
        self._failure = (CLOCKS.monotonic_ns(), reason)
        return reason

    def _with_figures(self) -> str:
        return f"{one_text(self._state)} {self._json(self._pipeline.model.engine)}"

    def _runs(self) -> str:
        info = self._pipeline.model.engine.info
        return shown(f"running {info.name} ({info.runtime} {info.precision} on {info.device})")


def _said(wanted: EngineParameters) -> str:
    how = f"runtime {wanted.runtime}, precision {wanted.precision}, device {shown(wanted.device)}"
    return f"{shown(wanted.model)} ({how})"
