"""Drives a robot as a contract says: messages to observations, answers to a plan, and its steps to the gate.

ROS thread   messages in; ticks, which ask for a chunk when one is due
worker       observe, infer, and hand the answer to the player
steps        a thread of its own: the next step of the plan through the gate, on a steady grid
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines import Engine
from perf_inference.errors import ConfigError, InputError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.engine.inference import Inference
from perf_inference.nodes.lifecycle.managed_node import ManagedNode
from perf_inference.nodes.lifecycle.steps import Work
from perf_inference.nodes.policy.contract.delay import Delay
from perf_inference.nodes.policy.contract.given import gate_setup_of, limits_of, warm_up_s, with_contract
from perf_inference.nodes.policy.contract.playing import Playing
from perf_inference.nodes.policy.contract.sources import Source, decoder, origin_of, subscribe
from perf_inference.nodes.policy.contract.stepper import Stepper
from perf_inference.nodes.policy.contract.transforms import Transforms
from perf_inference.nodes.policy.contract.words import TaskText, introduction
from perf_inference.nodes.policy.gates import Gates, permission_of
from perf_inference.nodes.policy.guard import instant, judged_at
from perf_inference.nodes.policy.late import Late
from perf_inference.nodes.reports.faults import faults_of
from perf_inference.nodes.ros.pacer import Pacer
from perf_inference.pipeline import Frame
from perf_inference.safety import Gate
from perf_inference.safety.joints import JOINT_STATES
from perf_inference.safety.process.front import Front
from perf_inference.tasks.policy.chunks.guards import Guards
from perf_inference.tasks.policy.contract.contract import Contract, Term
from perf_inference.tasks.policy.contract.parse import contract_of_metadata
from perf_inference.tasks.policy.contract_task import Answer, ContractTask, Tick, joined, require_same
from perf_inference.tasks.policy.observing.observer import Context, Observer


class ContractDriver:
    """What policy_node does with a contract."""

    def __init__(self, node: ManagedNode, contract: Contract) -> None:
        """Begin with nothing; ConfigError where contract and limits do not fit."""
        self._node, self._contract = node, contract
        self._p = p = with_contract(node.parameters, contract)
        self._main, self._limits = contract.main, limits_of(node, p, contract)
        self._is_twist = self._main[0].kind == "twist"
        self.gates = Gates(node, p.gate)
        self._gate: Gate | Front | None = None
        self._lock = threading.RLock()  # of the plan
        self._seeing = threading.Lock()  # of the observer: making an image of a message holds up no step
        self._late = Late(p.max_disorder_s)
        self._offered = False  # a tick waits for the worker
        self._ended = False  # the driving has: the plan begins anew
        self._delay = Delay.of(p.added_delay_ms)
        self._broken: dict[str, str] = {}  # why the newest image of a topic could not be decoded
        self._said, self._sim_time = "", bool(node.get_parameter("use_sim_time").value)
        self._in_work: Tick | None = None
        self._raw: NDArray[np.float64] | None = None
        self._enabled_ns = CLOCKS.monotonic_ns()
        self._task: ContractTask | None = None
        self._playing: Playing | None = None
        self._pacer: Pacer | None = None
        self._stepper: Stepper | None = None

    def configure(self, enabled: bool, restarted: bool) -> Work:
        """Load the model, subscribe, and begin the gate; ConfigError where model or a type do not fit."""
        node, p, contract = self._node, self._p, self._contract
        node.at_clean_up(self.gates.end)
        yield self.gates.prepare
        self.inference = Inference(
            node, p, self._task_of, self._observe, self._publish, blank=ContractTask.blank,
            state=self.gates.state, rate_hz=p.rate, skipped=self._skipped, wrap=self._delay.wrapped,
            more=self.gates.values,
        )  # fmt: skip
        yield from self.inference.loading()
        task = self._task = self.inference.task
        self._text = TaskText(node, contract.task, self._new_task)
        first_s = self._delay.usual_s + (yield lambda: warm_up_s(self.inference.engine, task, self._delay.usual_s))
        self._playing = Playing(
            node, contract, task.binding, self._main, self._limits, p.rate, first_s, Guards(p.guards), self.gates,
            p.shadow,
        )  # fmt: skip
        self._observer = Observer(
            contract, {name: self._prepared(name) for name in task.binding.prepare}, round(p.max_disorder_s * 1e9),
            round(p.max_observation_age_s * 1e9), task.binding.commands.width, task.binding.widths,
        )  # fmt: skip
        self._transforms = Transforms(node, contract, self._observer, self._seeing, p.rate)
        self._sources = subscribe(node, contract, p.image_transport, self._take, self._unreadable)
        for source in self._sources:
            self.inference.watch(source.name, source.input)
        self._topics = {f"topic.{task.labels[i]}": s.input.topic for s in self._sources for i in s.places}
        self._single = task.binding.horizon == 1
        self._begin_gate(enabled)
        node.at_clean_up(self.stop)
        yield self.gates.wait_until_ready
        said = introduction(self.inference.engine.info, task, self._limits.names, p.rate)
        node.get_logger().info(said + permission_of(node, enabled, restarted))

    def activate(self) -> None:
        """Tick and step."""
        step_s, faults = self._both()[0].player.settings.step_s, faults_of(self._node)
        self._pacer = Pacer(self._node, self._p.rate, self._tick)
        if not self._single:
            self._stepper = Stepper(step_s, self._on_step, lambda e: faults.failed(e, "a step"))

    def deactivate(self) -> None:
        """Neither tick nor step any more."""
        if self._stepper is not None:
            self._stepper.close()
        if self._pacer is not None:
            self._pacer.close()
        self._stepper = self._pacer = None

    def _begin_gate(self, enabled: bool) -> None:
        setup, first = gate_setup_of(self._node, self._p, self._contract, self._sources, self._limits, enabled)
        self._joints_source, self._gate_inputs = first.name, set(setup.inputs) - {JOINT_STATES}
        self._gate = self.gates.begin(setup, first.input, self._look, self._p.enabled_again)

    def stop(self) -> None:
        """See `RunnableNode.stop`."""
        if self._pacer is not None:
            self._pacer.cancel()
        self.gates.stop()
        if self._stepper is not None:
            self._stepper.close()

    def _task_of(self, engine: Engine) -> ContractTask:
        info = engine.info
        if not self._p.contract and (carried := contract_of_metadata(info.metadata, info.name)) is not None:
            require_same(self._contract, carried, info.name)
        task = ContractTask(self._contract, engine)
        if self._task is not None and self._task.binding.horizon != task.binding.horizon:
            raise ConfigError(
                f"this node plays {self._task.binding.horizon} steps, '{engine.info.name}' gives "
                f"{task.binding.horizon}; start the node again with it"
            )
        return task

    def _prepared(self, name: str) -> Callable[[Any], NDArray[Any]]:
        return lambda pixels: self.inference.task.binding.prepare[name](pixels)

    def _take(self, source: Source, arrival: Arrival) -> str:
        """Take a message for its terms and for the gate."""
        node, (_, gate), message = self._node, self._both(), arrival.message
        now = judged_at(node, arrival)
        is_joints = source.name == self._joints_source and not self._is_twist
        late = self._late.is_late(message.name if is_joints else (source.name,), arrival.stamp_ns)
        if source.name == self._joints_source and not late:
            if self._is_twist:  # it has no joints: what is fresh is this topic
                gate.accept(JOINT_STATES, now, arrival.stamp_ns)
            else:
                gate.joint_states(now, arrival.stamp_ns, message.name, message.position, message.velocity)
        ours, tag = False, origin_of(arrival)
        published_ns = None if self._sim_time else arrival.published_ns
        stamp_ns = arrival.stamp_ns or published_ns or now.ros_ns
        with self._seeing:
            for place, term in zip(source.places, source.terms, strict=True):
                content = self._decoder(source, term, arrival) if term.is_image else message
                ours = self._observer.add(place, stamp_ns, content, tag) or ours
        if ours and not late and source.name in self._gate_inputs and source.name not in self._broken:
            gate.accept(source.name, now, arrival.stamp_ns)
        return "processed" if ours else "ignored"

    def _decoder(self, source: Source, term: Term, arrival: Arrival) -> Callable[[], Any]:
        """Return what decodes an image when it is looked at: after one that cannot be, none counts until one can."""
        decode = decoder(term, arrival.message)

        def look() -> Any:
            try:
                pixels = decode()
            except InputError as error:
                self._unreadable(source.name, error, broken=True)
                raise
            if self._broken.pop(source.name, None) is not None and self._gate is not None:
                self._gate.accept(source.name, judged_at(self._node, arrival), arrival.stamp_ns)
            return pixels

        return look

    def _unreadable(self, topic: str, error: InputError, broken: bool = False) -> None:
        """Tell of a message that cannot be used; `broken`: an image without pixels, so that the newest is none."""
        if broken:
            self._broken[topic] = str(error)
        if self._gate is not None and (topic in self._gate_inputs or topic == self._joints_source):
            name = JOINT_STATES if topic == self._joints_source else topic
            self._gate.refuse(name, str(error), forget=broken)
        self.inference.unreadable(error)
        self._node.get_logger().warning(f"skipped a message of {topic}: {error}", throttle_duration_sec=2.0)

    def _tick(self, arrival: Arrival) -> None:
        """Ask for a chunk where one is due and there is a fresh observation to act on."""
        gate, playing, now = self._gate, self._playing, instant(self._node)
        if gate is None or playing is None or not gate.is_fresh(now, *self._broken):
            return
        with self._seeing:
            missing = self._observer.missing(now.ros_ns)
        if missing:
            return
        with self._lock:
            self._begin_anew()
            is_due = playing.is_due and not self._offered
            self._offered = self._offered or is_due
        if is_due:
            self.inference.pipeline.offer(arrival)

    def _new_task(self) -> None:
        self._ended = True

    def _begin_anew(self) -> None:
        """Drop the plan if the driving has ended since."""
        if self._ended:
            self._ended = False
            self._reset()

    def _reset(self) -> None:
        if self._playing is not None and self._task is not None:
            self._playing.reset(self._gate)
            self._task.binding.reset()
            self._raw = None

    def _look(self, said: str) -> None:
        """Begin anew when driving ends; log when it ends and begins (the gate's thread)."""
        before, self._said = self._said, said
        if said and not before:
            self._ended = True  # the lock may be held by who waits for this thread: the gate's answer comes by it
        sent = bool(self._playing and self._playing.sent_any)
        if said not in ("", "disabled", "stopping") and not before and sent:
            self._node.get_logger().warning(f"safe action: {said}")
        elif before and not said:
            self._enabled_ns = CLOCKS.monotonic_ns()
            if before != "disabled" and sent:
                self._node.get_logger().info("driving again")

    # worker thread ---------------------------------------------------------------------------------------------------

    def _observe(self, arrival: Arrival, task: ContractTask) -> Frame:
        playing, gate = self._both()
        with self._lock:
            self._offered = False
            self._begin_anew()
            if task is not self._task:  # after a swap
                self._task = task
                self._reset()
            now, player = instant(self._node), playing.player
            ask = player.ask(now.steady_ns)
            if ask is None:
                raise InputError("the plan is not due any more: nothing is asked")
            context = Context(self._raw, player.last, self._text.value, (now.steady_ns - self._enabled_ns) / 1e9)
        with self._seeing:
            seen = self._observer.look(now.ros_ns, context)
        tick = self._in_work = Tick(seen, ask, now.ros_ns, gate.observed_ns(), context, context.sent)
        return Frame(tick, min((taken.stamp_ns for taken in seen.taken.values()), default=None))

    def _both(self) -> tuple[Playing, Gate | Front]:
        assert self._playing is not None and self._gate is not None  # noqa: PT018
        return self._playing, self._gate

    def _skipped(self, error: Exception) -> None:
        """Let the plan go on without the answer that will not come."""
        with self._lock:
            self._offered = False
            tick, self._in_work = self._in_work, None
            if self._playing is not None and tick is not None:
                self._playing.answer(tick.ask, None)
            elif self._playing is not None:
                self._playing.player.forget()

    def _publish(self, result: Answer, frame: Frame, arrival: Arrival) -> None:
        tick: Tick = frame.data
        playing, gate = self._both()
        with self._lock:
            self._begin_anew()
            self._in_work = None
            seam = playing.answer(tick.ask, result.chunk)
            tick.figures.update(joined(seam, playing.player.k))
            playing.line.seen(tick, arrival)
            if not seam.dropped:
                self._raw = result.raw[min(seam.delay_steps, len(result.raw) - 1)]
                if self._single:
                    playing.send(gate, tick.observed_ns)
            tick.figures.update({**self._topics, **self.gates.figures()})

    def _on_step(self, due_ns: int) -> None:
        """Send the next step (the thread of the steps)."""
        with self._lock:
            playing, gate = self._both()
            self._begin_anew()
            try:
                playing.send(gate, None)
            except InputError as error:
                self._node.get_logger().warning(f"a step was not sent: {error}", throttle_duration_sec=2.0)
