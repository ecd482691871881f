"""The gate's end of the pipe: does what the policy asks, and what is safe when the policy is heard no more.

silent for two beats          the safe action; a second later nothing is sent any more; it may come back
the pipe has ended, or `Stop` the safe action for a while, and the end of this process, for good
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from perf_inference.errors import ConfigError, InputError
from perf_inference.safety.gate import LOOK_S, Gate
from perf_inference.safety.limits import JointLimits
from perf_inference.safety.process.activity import activate, deactivate
from perf_inference.safety.process.messages import (
    SHADOW,
    Accepted,
    Act,
    Activity,
    Beat,
    Enable,
    Message,
    Narrow,
    Ours,
    Outcome,
    Refused,
    State,
    Stop,
)
from perf_inference.safety.process.pipe import Pipe
from perf_inference.safety.ros_clock import Instant
from perf_inference.safety.samples import Taken
from perf_inference.safety.settings import slowing_s

BEAT_S = 0.1  # between two beats of the policy
ASK_S = 0.1  # so long the policy waits for what becomes of an action
_SILENT_NS = round(2 * BEAT_S * 1e9)
_QUIET_NS = 1_000_000_000  # after it fell silent
_WATCHED_S, _IN_ORDER_S, _LONGEST_S = 0.5, 0.15, 1.2  # the safe action is sent on after a death, a stop, and at most
_POLICY = "policy"


class Shadowing(Protocol):
    """Where commands go."""

    @property
    def in_shadow(self) -> bool:
        """Whether they go elsewhere than to the robot."""

    def want_shadow(self, on: bool) -> None:
        """Let them go elsewhere as soon as the robot is at rest, or to the robot again."""

    def take_for_ours(self, gids: Sequence[str]) -> None:
        """Know publishers of policy_node's own."""


class Keeper:
    """Serves one policy; all of it is one thread's, but `gate`, which has a lock."""

    def __init__(
        self, gate: Gate, send: Callable[[Message], bool], now: Callable[[], Instant],
        look: Callable[[], str] | None = None, shadow: Shadowing | None = None, active: bool = True,
    ) -> None:  # fmt: skip
        """Begin as if the policy had just been heard.

        Args:
            send: one message to the policy.
            now: on both clocks; asked before each message is judged.
            look: lets the gate look, and whatever else is to be looked at; None: the gate alone.
            shadow: what knows where commands go; None: always to the robot.
            active: whether policy_node is, to begin with.
        """
        self._shadow = shadow
        self.gate, self._send, self._now = gate, send, now
        self._look = look or (lambda: gate.look(now()))
        self._heard_ns = now().steady_ns
        self._stopped_ns: int | None = None
        self._gone_ns: int | None = None
        self.gone = ""  # why the policy is heard no more for good
        self._longest_s = _LONGEST_S + slowing_s(gate.limits, gate.settings)
        self._active = True
        if not active:
            self._be(active)

    @property
    def in_order(self) -> bool:
        """Whether the policy has said that it ends."""
        return self._stopped_ns is not None

    def handle(self, message: Message) -> None:
        """Do what the policy asks."""
        now = self._now()
        if isinstance(message, Beat):
            self._heard_ns = now.steady_ns
            if self._shadow is not None:
                self._shadow.want_shadow(message.mode == SHADOW)
        elif isinstance(message, Ours):
            if self._shadow is not None:
                self._shadow.take_for_ours(message.gids)
        elif isinstance(message, Accepted):
            self.gate.take(message.name, Taken(message.measured_ns, message.accepted_ns, message.stamp_ns))
        elif isinstance(message, Refused):
            self.gate.refuse(message.name, message.why, message.forget)
        elif isinstance(message, Act):
            self._send(self._outcome(message, now))
        elif isinstance(message, Narrow):
            self._narrow(message)
        elif isinstance(message, Enable):
            self.gate.enable(message.on, now)
        elif isinstance(message, Activity):
            self._be(message.on)
        elif isinstance(message, Stop):
            self._stopped_ns = self._stopped_ns or now.steady_ns
            self.gate.stop(now)

    def _outcome(self, act: Act, now: Instant) -> Outcome:
        waited_s = (now.steady_ns - act.asked_ns) / 1e9
        try:
            if waited_s > ASK_S:
                raise InputError(f"the action reached the gate after {waited_s:.2f} s: not sent")
            values, clamped = self.gate.release(now, act.knots[0][1], act.observed_ns)
        except InputError as error:
            return Outcome(act.number, None, False, str(error), 0)
        return Outcome(act.number, values, clamped, "", time.monotonic_ns())

    def _narrow(self, said: Narrow) -> None:
        try:
            self.gate.narrow(JointLimits.of(self.gate.limits.names, said.lower, said.upper, said.velocity))
        except ConfigError as error:  # policy_node has refused such a model before
            self.gate.disable(str(error), self._now())

    def _be(self, active: bool) -> None:
        (activate if active else deactivate)(self.gate, self._now())
        self._active = active

    def end(self, why: str) -> None:
        """Note that the policy will never be heard again."""
        if self._gone_ns is None:
            now = self._now()
            self._gone_ns, self.gone = now.steady_ns, why
            self.gate.stop(now)

    def look(self) -> None:
        """Let the gate look, watch how long the policy has been silent, and tell it what the gate is at."""
        now = self._now()
        silent_ns = now.steady_ns - self._heard_ns
        silent = silent_ns > _SILENT_NS and self._gone_ns is None and self._stopped_ns is None
        why = f"policy_node has been silent for {silent_ns / 1e9:.1f} s" if silent else ""
        self.gate.bar(_POLICY, why, now, quiet=silent_ns > _SILENT_NS + _QUIET_NS)
        reason = self._look()
        gate = self.gate
        self._send(State(gate.enabled, gate.is_fresh(now, *gate.inputs), gate.driving, reason, gate.sends, gate.clamped,
                         round(gate.longest_look_s * 1e3, 3),
                         self._shadow is not None and self._shadow.in_shadow, self._active))  # fmt: skip

    def finished(self) -> bool:
        """Return whether the safe action has been sent for long enough that this process may end."""
        if self._gone_ns is None:
            return False
        from_ns = self._gone_ns if self._stopped_ns is None else self._stopped_ns
        now = self._now()
        gone_s = (now.steady_ns - from_ns) / 1e9
        enough_s = _WATCHED_S if self._stopped_ns is None else _IN_ORDER_S
        return gone_s > self._longest_s or (gone_s > enough_s and self.gate.at_rest(now))


def serve(
    keeper: Keeper, pipe: Pipe, policy: Sequence[int], failed: Callable[[Exception], None],
    ended: Callable[[str], None], asked_to_end: Callable[[], bool],
) -> None:  # fmt: skip
    """Take messages and look, in this thread, until it is over: nothing that comes is judged after what it replaces.

    Args:
        policy: a descriptor of policy_node's process, which says something when that has ended; or none.
        failed: hears of an error, after which it goes on: a gate that no longer looks is worse.
        ended: hears why the policy is gone, at once.
        asked_to_end: whether this process is to end, whatever the policy does.
    """
    due_s = time.monotonic()
    while not keeper.finished() and not asked_to_end():
        died = pipe.wait(due_s - time.monotonic(), [] if keeper.gone else policy)
        try:
            for message in pipe.take():
                keeper.handle(message)
            if (pipe.ended or died) and not keeper.gone:
                keeper.end("its process has ended" if died else "its end of the pipe is closed")
                ended(keeper.gone)
            if time.monotonic() >= due_s:
                due_s = max(due_s, time.monotonic() - LOOK_S) + LOOK_S
                keeper.look()
        except Exception as error:
            failed(error)
