"""The policy's end of the pipe: what policy_node asks of a gate, for a gate that is another process.

Samples are judged by their time here too, since the policy's own windows are made of them; what is sent is the gate's
business alone. Where the gate is heard no more while a command may be in force, `stands_in` says so: policy_node then
sends zero itself, so that the death of either of the two is an end of the motion.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from perf_inference.errors import InputError
from perf_inference.safety.inputs import Inputs
from perf_inference.safety.joints import JOINT_STATES
from perf_inference.safety.limits import JointLimits
from perf_inference.safety.process.keeper import ASK_S, BEAT_S
from perf_inference.safety.process.messages import (
    ACTIVE,
    SHADOW,
    Accepted,
    Act,
    Activity,
    Beat,
    Failed,
    Message,
    Narrow,
    Ours,
    Outcome,
    Refused,
    State,
    Stop,
)
from perf_inference.safety.ros_clock import Instant
from perf_inference.safety.samples import Taken
from perf_inference.safety.settings import GateSettings

_BEAT_NS = round(BEAT_S * 1e9)
_SILENT_NS = 80_000_000  # four looks of the gate; within the 0.1 s that a look of it may be late
_STANDS_IN_NS = 1_000_000_000  # after the gate's end: by then another one is up


class Front:
    """A gate, as `safety.Gate` is one to policy_node."""

    def __init__(
        self,
        limits: JointLimits,
        settings: GateSettings,
        inputs: Mapping[str, str],
        now: Callable[[], Instant],
        shadow: bool = False,
    ) -> None:
        """Begin without a gate; `inputs` as for `Gate`; `shadow`: the gate begins where commands move nothing."""
        self._limits, self._now = limits, now
        self._inputs = Inputs(limits, inputs, settings.max_age_s, settings.latency_s, tolerance_rad=0.0)
        self._lock = threading.RLock()
        self._answered = threading.Condition(self._lock)
        self._outcomes: dict[int, Outcome] = {}
        self._asked: dict[int, int] = {}  # actions of which it is not known what became of them: when they were asked
        self._number = 0
        self._send: Callable[[Message], bool] = _nobody
        self._narrow: Narrow | None = None
        self._activity: Activity | None = None
        self._state: State | None = None
        self._heard_ns = self._beat_ns = 0
        self._gone_ns: int | None = None  # when the gate was heard no more for good
        self._gone = "the gate starts"
        self._reason = self._gone
        self._moving = False  # a command may be in force
        self._stopping = False
        self._mode = SHADOW if shadow else ACTIVE
        self.failed = ""  # why the gate cannot start
        self.sends = 0

    # the gate --------------------------------------------------------------------------------------------------------

    def attach(self, send: Callable[[Message], bool]) -> None:
        """Take another gate, which has just been made and has not spoken yet."""
        with self._lock:
            self._send, self._state, self._heard_ns = send, None, self._now().steady_ns
            if self._narrow is not None:
                send(self._narrow)
            if self._activity is not None:
                send(self._activity)
            if self._stopping:
                send(Stop())

    def detach(self, why: str) -> None:
        """Do without a gate: it has ended."""
        with self._answered:
            self._send, self._state, self._gone = _nobody, None, why
            self._gone_ns = self._now().steady_ns
            self._answered.notify_all()

    def handle(self, message: Message) -> None:
        """Take what the gate says."""
        with self._answered:
            self._heard_ns = self._now().steady_ns
            if isinstance(message, State):
                self._state, self.sends = message, message.sends
                self._moving, self._gone_ns = message.driving, None
                old_ns = self._heard_ns - _STANDS_IN_NS
                self._asked = {number: asked for number, asked in self._asked.items() if asked > old_ns}
            elif isinstance(message, Failed):
                self.failed = message.why
            elif isinstance(message, Outcome):
                self._moving = self._moving or message.values is not None
                if self._asked.pop(message.number, None) is not None:
                    self._outcomes[message.number] = message
                self._answered.notify_all()

    @property
    def stopping(self) -> bool:
        """Whether policy_node ends."""
        return self._stopping

    def gone_s(self) -> float | None:
        """Return how long the gate has been gone [s]; None: it is not."""
        with self._lock:
            return None if self._gone_ns is None else (self._now().steady_ns - self._gone_ns) / 1e9

    def ready(self) -> bool:
        """Return whether the gate has spoken."""
        with self._lock:
            return self._state is not None

    def look(self, now: Instant) -> str:
        """Beat, watch the clocks and the gate; return why the safe action is being sent, or nothing."""
        with self._lock:
            self._inputs.look(now)
            if now.steady_ns - self._beat_ns >= _BEAT_NS // 2:  # a beat that is late by half of it is none missed
                self._beat_ns = now.steady_ns
                self._send(Beat(self._mode))
            state = self._state
            if self._stopping:
                self._reason = "stopping"
            elif state is None:
                self._reason = self._gone
            elif (silent := self._silent(now)) is not None:
                self._reason = silent
            else:
                self._reason = state.reason
            return self._reason

    def _silent(self, now: Instant) -> str | None:
        silent_ns = now.steady_ns - self._heard_ns
        return f"the gate has been silent for {silent_ns / 1e9:.1f} s" if silent_ns > _SILENT_NS else None

    def stands_in(self, now: Instant) -> bool:
        """Return whether zero is to be sent in place of a gate that is heard no more while a command may be in force.

        Call it after all that has come was handled.
        """
        with self._lock:
            if self._gone_ns is not None and now.steady_ns - self._gone_ns > _STANDS_IN_NS:
                self._moving, self._asked = False, {}
            gone = self._state is None or self._silent(now) is not None
            return gone and (self._moving or bool(self._asked))

    def shadow(self, on: bool, ours: Sequence[str] = ()) -> None:
        """Ask the gate to send elsewhere than to the robot, or to the robot again: the beats say so from now on.

        Args:
            ours: publishers of `action` that policy_node has by now, for a gate that sends there again.
        """
        with self._lock:
            self._mode = SHADOW if on else ACTIVE
            self._send(Ours(list(ours)))
            self._send(Beat(self._mode))

    @property
    def in_shadow(self) -> bool | None:
        """Whether the gate sends elsewhere than to the robot; None: it has not said."""
        state = self._state
        return None if state is None else state.shadow

    # what policy_node asks -------------------------------------------------------------------------------------------

    @property
    def enabled(self) -> bool:
        """Whether the policy may drive when all is fresh."""
        state = self._state
        return state is not None and state.enabled

    @property
    def reason(self) -> str:
        """Why the safe action is being sent; empty: the policy drives."""
        return self._reason

    def stop(self, now: Instant) -> None:
        """Let the gate send the safe action from now on, and nothing else ever after."""
        with self._lock:
            self._stopping, self._reason = True, "stopping"
            self._send(Stop())

    def be(self, active: bool) -> None:
        """Tell this gate, and those after it, whether policy_node is active."""
        with self._lock:
            self._activity = Activity(active)
            self._send(self._activity)

    def is_inactive(self) -> bool:
        """Return whether the gate says that policy_node is not active: then it has sent the safe action since."""
        state = self._state
        return state is not None and not state.active

    def narrow(self, limits: JointLimits) -> None:
        """Use these limits of the same joints, as far as they lie within the robot's own."""
        with self._lock:
            self._inputs.joints.narrow(limits)
            self._narrow = Narrow(list(limits.lower_rad), list(limits.upper_rad), list(limits.velocity_rad_s))
            self._send(self._narrow)

    def accept(self, name: str, now: Instant, stamp_ns: int | None) -> Taken:
        """See `Gate.accept`."""
        with self._lock:
            sample = self._inputs.accept(name, now, stamp_ns)
            self._send(Accepted(name, *sample))
            return sample

    def refuse(self, name: str, why: str, forget: bool = False) -> None:
        """See `Gate.refuse`; the gate hears joint_states itself, and judges them itself."""
        with self._lock:
            self._inputs.refuse(name, why, forget)
            if name != JOINT_STATES:
                self._send(Refused(name, why[:500], forget))

    def joint_states(
        self, now: Instant, stamp_ns: int | None, names: Sequence[str], positions: Sequence[float],
        velocities: Sequence[float],
    ) -> bool:  # fmt: skip
        """See `Gate.joint_states`; whether a joint is where the commands lead is the gate's to judge."""
        with self._lock:
            return self._inputs.joint_states(now, stamp_ns, names, positions, velocities, driving=False)

    def joint_row(self) -> tuple[list[float], list[float]] | None:
        """See `Gate.joint_row`."""
        with self._lock:
            return self._inputs.joints.row()

    def is_fresh(self, now: Instant, *but: str) -> bool:
        """See `Gate.is_fresh`."""
        with self._lock:
            state = self._state
            heard = state is not None and state.ready and self._silent(now) is None
            return heard and not self._stopping and not self._inputs.stale(now, but)

    def observed_ns(self) -> int:
        """See `Gate.observed_ns`."""
        with self._lock:
            return self._inputs.oldest_ns()

    def release(self, now: Instant, values: Sequence[float], observed_ns: int) -> tuple[list[float], bool]:
        """Let the gate send an action as far as it is allowed; return what it sent, and whether that is another.

        Raises:
            InputError: the gate did not send it, or does not answer.
        """
        with self._answered:
            self._number += 1
            number = self._number
            self._asked[number] = now.steady_ns
            if not self._send(Act(number, now.steady_ns, observed_ns, [(0.0, [float(value) for value in values])])):
                del self._asked[number]
                raise InputError(f"{self._gone if self._state is None else 'the gate takes no message'}: not sent")
            if not self._answered.wait_for(lambda: number in self._outcomes or self._state is None, ASK_S):
                raise InputError(f"the gate has not answered within {ASK_S:g} s: it may have sent the action or not")
            outcome = self._outcomes.pop(number, None)
            self._outcomes.clear()  # of those who no longer wait
            if outcome is None:
                raise InputError(f"{self._gone}: action not sent")
            if outcome.values is None:
                raise InputError(outcome.why)
            return outcome.values, outcome.clamped


def _nobody(message: Message) -> bool:
    return False
