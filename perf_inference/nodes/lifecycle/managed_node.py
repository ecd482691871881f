"""A managed node (`rclpy.lifecycle`): `ros2 lifecycle`, launch's LifecycleNode and nav2's lifecycle manager drive it.

    unconfigured ── configure ──> inactive ── activate ──> active
                 <── cleanup ───          <── deactivate ─

With `autostart` it configures and activates itself when the process spins, once. A subclass says what each of these
means; whatever it makes of ROS in `configure` is destroyed by the cleanup, and what else has to be ended it tells
`at_clean_up`. Heartbeats go on in every state. See `docs/lifecycle.md`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from lifecycle_msgs.msg import State, Transition
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNodeMixin, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.task import Future

from perf_inference.errors import ConfigError, PerfInferenceError
from perf_inference.measure.stamps import Scalar
from perf_inference.nodes.lifecycle.bond import form_bond
from perf_inference.nodes.lifecycle.held import Held
from perf_inference.nodes.lifecycle.live import set_since
from perf_inference.nodes.lifecycle.steps import Steps, Work, in_steps
from perf_inference.nodes.reports.faults import faults_of
from perf_inference.nodes.reports.messages import ERROR, OK
from perf_inference.nodes.reports.reporter import Report, Reporter
from perf_inference.nodes.ros.parameters import declare, read_again
from perf_inference.nodes.ros.runner import RunnableNode
from perf_inference.printable import shown

_SENTENCE = 1000  # characters of why it failed
_SHUTDOWN = {
    "unconfigured": Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    "inactive": Transition.TRANSITION_INACTIVE_SHUTDOWN,
    "active": Transition.TRANSITION_ACTIVE_SHUTDOWN,
}
_WORDS = {
    State.TRANSITION_STATE_CONFIGURING: "configure",
    State.TRANSITION_STATE_CLEANINGUP: "cleanup",
    State.TRANSITION_STATE_SHUTTINGDOWN: "shutdown",
    State.TRANSITION_STATE_ACTIVATING: "activate",
    State.TRANSITION_STATE_DEACTIVATING: "deactivate",
}
_ASKED = range(Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_DESTROY)  # the others are the node's own
Outcome = Callable[[Exception | None], None]


class ManagedNode(LifecycleNodeMixin, RunnableNode):
    """Takes itself, or lets itself be taken, from state to state; parameters are a dataclass with `autostart`."""

    def __init__(self, name: str, kind: type[Any]) -> None:
        """Declare the parameters, and offer the lifecycle services.

        Raises:
            ConfigError: a parameter that cannot be.
        """
        RunnableNode.__init__(self, name)
        self._kind = kind
        self.started_as = self.parameters = declare(self, kind)
        self.configured = False  # `configure` has come to its end
        self.goes_on = False  # it starts by itself: `activate` follows `configure`
        self.busy_with = ""  # what `configure` is waiting for, in words
        self.ending = False
        self._held: Held | None = None
        self._bond: Any = None
        self._refusal = ""  # why the last transition failed
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())  # who waits holds up nothing else
        self._service_change_state.callback = self._on_change_state  # rclpy's own would hold up all else meanwhile
        self.reporter = Reporter(self, self._report)
        self._steps = Steps(self)
        once = {"timer_period_sec": 0.0, "callback": self._start, "clock": Clock(clock_type=ClockType.STEADY_TIME)}
        self.is_starting = self.started_as.autostart
        self._autostart = self.create_timer(**once) if self.is_starting else None

    # what a subclass says --------------------------------------------------------------------------------------------

    def configure(self) -> Work | None:
        """Make all that is needed; functions that are yielded run in a thread."""
        raise NotImplementedError

    def activate(self) -> None:
        """Begin to work; input is listened to already."""

    def deactivate(self) -> Work | None:
        """Cease to work; input is still listened to."""
        return None

    def listen(self, on: bool) -> Work | None:
        """Listen to the inputs, or no longer."""
        raise NotImplementedError

    def cleaned_up(self) -> None:
        """All is as it was before `configure`."""

    def report(self) -> Report:
        """Return what the heartbeat tells while the node is configured."""
        raise NotImplementedError

    def what_it_is(self) -> Mapping[str, Scalar]:
        """Return the values that tell others what this node is, also while it is not configured."""
        return {"engine": shown(self.started_as.model)} if hasattr(self.started_as, "model") else {}

    # what it uses ----------------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """The state's label; `configuring` and the like on the way."""
        return str(self._state_machine.current_state[1])

    def at_clean_up(self, end: Callable[[], object]) -> None:
        """End this with the cleanup or the process, in a thread, before what was given earlier."""
        assert self._held is not None
        self._held.at_close(end)

    def judge_from_now_on(self, judge: Callable[[list[Parameter]], SetParametersResult]) -> None:
        """Ask `judge` before parameters are set, and of what was set since `configure` read them.

        Raises:
            ConfigError: it refuses that.
        """
        self.add_on_set_parameters_callback(judge)
        answer = judge(set_since(self, self._kind, self.parameters))
        if not answer.successful:
            raise ConfigError(answer.reason)

    def declare_while_configured(self, name: str, value: Any, description: str) -> None:
        """Declare a parameter that is there while the node is configured."""
        assert self._held is not None
        descriptor = ParameterDescriptor(description=description)
        self.declare_parameter(name, value, descriptor, ignore_override=True)  # a file may have it from a dump
        self._held.parameter(name)

    # transitions (ROS thread) ----------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Configure and activate, unless somebody else was first."""
        if self._autostart is not None:
            self.destroy_timer(self._autostart)
            self._autostart = None
        if self.state != "unconfigured":
            self.is_starting = False
            return
        self.goes_on = True
        self._begin(Transition.TRANSITION_CONFIGURE, self._go_on)

    def _go_on(self, error: Exception | None) -> None:
        if error is None:
            self._begin(Transition.TRANSITION_ACTIVATE, self._started)
        else:
            self._started(error)

    def _started(self, error: Exception | None) -> None:
        self.goes_on, self.start_error, self.is_starting = False, error, False  # an error ends the process

    async def _on_change_state(self, request: Any, response: Any) -> Any:
        response.success = False
        with faults_of(self).watching("the service ~/change_state"):
            outcome: Future = Future(executor=self.executor)
            self._begin(self._transition_of(request.transition), outcome.set_result)
            response.success = await outcome is None
        return response

    def _transition_of(self, transition: Any) -> int:
        """Return the number of a transition: a label tells, where there is one; `shutdown` has one for each state."""
        if transition.label:
            if transition.label == "shutdown":
                return _SHUTDOWN.get(self.state, 0)
            with contextlib.suppress(Exception):  # RCLError, which is private
                return int(self._state_machine.get_transition_by_label(transition.label))
            return 0  # none
        return int(transition.id)

    def _begin(self, number: int, outcome: Outcome) -> None:
        before, machine = self.state, self._state_machine
        why = ""
        if number not in _ASKED or number not in {each[0] for each in machine.available_transitions}:
            why = f"transition {number} is none from the state {before}: nothing is done"
        elif number == Transition.TRANSITION_CONFIGURE and self._steps.left_behind:
            why = "what the last configure waited for has not ended yet: nothing is done; try again later"
        if why:
            self.get_logger().warning(why, throttle_duration_sec=1.0)
            outcome(ConfigError(why))
            return
        machine.trigger_transition_by_id(number, True)
        way = int(machine.current_state[0])
        waits_for_worker = way == State.TRANSITION_STATE_CONFIGURING and not self.goes_on
        limit_s = getattr(self.parameters, "load_timeout_s", None) if waits_for_worker else None
        self._steps.start(self._work_of(way, before), lambda error: self._end(way, error, outcome), limit_s)

    def _work_of(self, way: int, before: str) -> Work:
        if way == State.TRANSITION_STATE_CONFIGURING:
            yield from self._configure()
        if way == State.TRANSITION_STATE_ACTIVATING:
            yield from in_steps(self.listen(True))
            self.activate()
            if not self.started_as.autostart:
                self._bond = form_bond(self)
        shuts_down = way == State.TRANSITION_STATE_SHUTTINGDOWN
        if way == State.TRANSITION_STATE_DEACTIVATING or (shuts_down and before == "active"):
            self._break_bond()
            yield from in_steps(self.deactivate())
            yield from in_steps(self.listen(False))
        if way == State.TRANSITION_STATE_CLEANINGUP or shuts_down:
            yield from self._clean_up()

    def _configure(self) -> Work:
        self._held = Held(self)
        self.reporter.begin_anew()
        self.parameters = read_again(self, self._kind, self.started_as)
        yield from in_steps(self.configure())
        self.configured = True
        self.busy_with = ""
        if not self.goes_on:
            yield from in_steps(self.listen(False))

    def _clean_up(self) -> Work:
        held, self._held = self._held, None
        self.configured, self.busy_with = False, ""
        self._break_bond()
        if held is not None:
            try:
                yield held.close
            finally:
                held.destroy()
                self.cleaned_up()

    def _end(self, way: int, error: Exception | None, outcome: Outcome) -> None:
        """Come to the end of a transition."""
        if error is None:
            self._refusal = ""
            self._turn(TransitionCallbackReturn.SUCCESS)
            self.reporter.beat()
            outcome(None)
            return
        self._refusal = f"{_WORDS[way]} failed: {shown(error, _SENTENCE)}"
        if not isinstance(error, PerfInferenceError):
            faults_of(self).failed(error, f"on_{_WORDS[way]}")
        elif not self.goes_on:
            self.get_logger().error(self._refusal)
        self._steps.start(self._clean_up(), lambda failure: self._ended(way, error, failure, outcome))

    def _ended(self, way: int, error: Exception, failure: Exception | None, outcome: Outcome) -> None:
        """Be unconfigured after a failure: nothing is left of what failed."""
        if failure is not None:
            faults_of(self).failed(failure, "on_error")
        refused = way == State.TRANSITION_STATE_CONFIGURING and isinstance(error, PerfInferenceError)
        if refused:
            self._turn(TransitionCallbackReturn.FAILURE)
        else:
            self._turn(TransitionCallbackReturn.ERROR)
            self._turn(TransitionCallbackReturn.SUCCESS)
        self.reporter.beat()
        outcome(error)

    def _turn(self, how: TransitionCallbackReturn) -> None:
        self._state_machine.trigger_transition_by_label(how.to_label(), True)

    def _break_bond(self) -> None:
        bond, self._bond = self._bond, None
        if bond is not None:
            bond.shutdown()

    # heartbeat -------------------------------------------------------------------------------------------------------

    def _report(self) -> Report:
        state = self.state
        if self.configured:
            report = self.report()
            values = {**report.values, "lifecycle": state}
            if state == "active" or self.ending:
                return Report(report.level, report.message, values)
            return Report(OK, state, values)
        values = {**self.what_it_is(), "lifecycle": state}
        if self._refusal:
            return Report(ERROR, f"{state}: {self._refusal}", values)
        return Report(OK, self.busy_with or state, values)

    # the end of the process ------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """End what is configured, and tell the last of it."""
        self.ending = True
        self._steps.abandon()
        self._break_bond()
        held, self._held = self._held, None
        try:
            if held is not None:
                held.close()
        finally:
            self.reporter.finish()
