"""The gate between a policy and the robot's joints: nothing is sent but through it.

It keeps one promise, at every send: the worst position that a joint can get to, if nothing more is ever accepted, lies
within its limits (`docs/safety.md`). For that it takes the samples of the inputs, judges them, watches how old the
newest accepted ones are, clamps or refuses what the policy wants to send, and sends what is safe whenever there is
nothing fresh to act on. It reads no clock and knows no ROS: each call brings its own time.

    accept / joint_states   a sample of an input             any thread
    release                 an action of the policy          the policy's thread
    look                    every LOOK_S, for ever           the gate's own thread
    enable, stop            what people and the end of the process say
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence

from perf_inference.errors import InputError
from perf_inference.safety.hold import Hold
from perf_inference.safety.joint import Joint
from perf_inference.safety.joints import JOINT_STATES, Joints
from perf_inference.safety.limits import JointLimits
from perf_inference.safety.ros_clock import Instant
from perf_inference.safety.samples import Samples, check_newer
from perf_inference.safety.settings import GateSettings

LOOK_S = 0.02  # between two looks
_LOOK_LATE_NS = 100_000_000  # a look comes so long after the one before at most
_SAFE_EVERY_NS = 50_000_000  # the safe action is sent again


class Gate:
    """Lets actions out, and the safe one."""

    def __init__(
        self,
        limits: JointLimits,
        settings: GateSettings,
        inputs: Mapping[str, str],
        send: Callable[[list[float]], None],
    ) -> None:
        """Begin disabled, with nothing accepted.

        Args:
            inputs: name -> topic of all that must be fresh, `joint_states` among them.
            send: publishes one command [joints]; called with the gate's lock held, so that nothing overtakes it.
        """
        self.limits, self.settings = limits, settings
        self._samples, self._send = Samples(inputs, settings.max_age_s), send
        self._lock = threading.RLock()
        self._joints = Joints(limits, settings.latency_s, settings.tolerance_rad, settings.max_age_s)
        self._max_age_ns, self._period_ns = round(settings.max_age_s * 1e9), round(settings.period_s * 1e9)
        self._enabled = self._stopping = False
        self._driving = False  # a command of the policy is in force ...
        self._until_ns = 0  # ... until then at most
        self._waiting_since_ns = 0  # for an action
        self._looked_ns: int | None = None
        self._reason, self._silent = "disabled", False  # silent: `stop` has sent its one command
        self._safe_ns: int | None = None  # when the safe action was sent last; None: not since the last action
        self._held: Hold | None = None
        self._out_ns = 0  # when something was sent last
        self.sends = self.clamped = 0
        self.longest_look_s = 0.0  # between two looks

    # people ----------------------------------------------------------------------------------------------------------

    @property
    def enabled(self) -> bool:
        """Whether the policy may drive when all is fresh."""
        return self._enabled

    @property
    def reason(self) -> str:
        """Why the safe action is being sent; empty: the policy drives."""
        return self._reason

    @property
    def until_ns(self) -> int:
        """When the newest action would be stopped if nothing more was accepted [ns, steady]."""
        return self._until_ns

    def enable(self, on: bool, now: Instant) -> None:
        """Let the policy drive, or send the safe action at once."""
        with self._lock:
            if on != self._enabled:  # said again and again it renews nothing
                self._enabled, self._waiting_since_ns = on, now.steady_ns
                self._joints.restart()
            self._judge(now)

    def stop(self, now: Instant) -> None:
        """Send the safe action from now on, and nothing else ever after; look on until it has surely arrived."""
        with self._lock:
            self._stopping = True
            self._judge(now)

    def narrow(self, limits: JointLimits) -> None:
        """Use these limits of the same joints, as far as they lie within the robot's own."""
        with self._lock:
            self._joints.narrow(limits)

    # inputs ----------------------------------------------------------------------------------------------------------

    def accept(self, name: str, now: Instant, stamp_ns: int | None) -> None:
        """Take a good sample of an input.

        Args:
            stamp_ns: the header's, in the ROS clock; None: it has none, and counts from now.

        Raises:
            InputError: a stamp that is too old, lies ahead, or is not newer than the one before.
        """
        with self._lock:
            sample, before = self._samples.taken(name, now, stamp_ns), self._samples[name]
            if before is not None:
                check_newer(name, before, sample)
            self._samples.accept(name, sample)

    def refuse(self, name: str, why: str, forget: bool = False) -> None:
        """Note why a message of an input cannot be used; `forget`: the one that was accepted cannot be either."""
        with self._lock:
            self._samples.refuse(name, why, forget)

    def joint_states(
        self, now: Instant, stamp_ns: int | None, names: Sequence[str], positions: Sequence[float],
        velocities: Sequence[float],
    ) -> bool:  # fmt: skip
        """Take a sample of some of the joints, in any order; return False where it has none of ours.

        Args:
            positions: [rad], one for each name.
            velocities: [rad/s], or empty; one that is not finite counts as absent.

        Raises:
            InputError: a position of ours that is missing, not finite or impossible, or far from where the commands
                lead; a stamp that cannot be used.
        """
        with self._lock:
            try:
                found = self._joints.find(names)
                if not found and names:
                    return False
                taken = self._samples.taken(JOINT_STATES, now, stamp_ns)
                self._joints.check(found, positions, taken)
                self._joints.take(found, positions, velocities, taken, self._driving)
            except InputError as error:
                self._samples.refuse(JOINT_STATES, str(error))
                raise
            if (oldest := self._joints.oldest()) is not None:
                self._samples.accept(JOINT_STATES, oldest)
        return True

    def joint_row(self) -> tuple[list[float], list[float]] | None:
        """Return the newest positions [rad] and velocities [rad/s] of all joints; None: one has not come yet."""
        with self._lock:
            return self._joints.row()

    # decisions -------------------------------------------------------------------------------------------------------

    def is_fresh(self, now: Instant, *but: str) -> bool:
        """Return whether all inputs, but those named, are fresh: an action may be asked for."""
        with self._lock:
            return self._enabled and not self._stopping and not self._not_fresh(now, but)

    def observed_ns(self) -> int:
        """Return when the oldest of the newest samples was taken, on the steady clock [ns].

        Raises:
            InputError: nothing has been accepted on an input.
        """
        with self._lock:
            return self._samples.oldest_ns()

    def release(self, now: Instant, values: Sequence[float], observed_ns: int) -> tuple[list[float], bool]:
        """Send an action as far as it is allowed; return what was sent and whether it is another than was asked for.

        Args:
            values: [joints] rad/s or rad.
            observed_ns: `observed_ns()` of what the policy looked at.

        Raises:
            InputError: the action is not finite, nobody may drive now, or what it rests on is too old: nothing is sent.
        """
        with self._lock:
            if len(values) != len(self.limits.names) or not all(map(math.isfinite, values)):
                raise InputError(
                    f"an action must be {len(self.limits.names)} finite values, got {list(values)}: not sent"
                )
            if self._stopping or not self._enabled:
                raise InputError("the policy was disabled while the action was computed: not sent")
            if now.steady_ns - observed_ns > self._max_age_ns:
                raise InputError(f"the observation grew older than {self.settings.max_age_s:g} s: action not sent")
            if stale := self._not_fresh(now):
                raise InputError(f"{stale}: action not sent")
            if not self._driving:
                self._joints.begin()
            until_ns = self._stopped_ns()
            allowed = [self._allowed(joint, value, now, until_ns)
                       for joint, value in zip(self._joints.each, values, strict=True)]  # fmt: skip
            self._out(now, allowed)
            self._driving, self._until_ns, self._waiting_since_ns = True, until_ns, now.steady_ns
            self._silent, self._safe_ns, self._held, self._reason = False, None, None, ""
            clamped = allowed != [float(value) for value in values]
            self.sends, self.clamped = self.sends + 1, self.clamped + clamped
            return allowed, clamped

    def look(self, now: Instant) -> str:
        """Send the safe action where it is due; return why, or nothing."""
        with self._lock:
            before, self._looked_ns = self._looked_ns, now.steady_ns
            if before is not None:
                self.longest_look_s = max(self.longest_look_s, (now.steady_ns - before) / 1e9)
            if self._samples.look(now):
                self._joints.forget()
            self._judge(now)
            return self._reason

    def _judge(self, now: Instant) -> None:
        try:
            self._reason = self._why_not(now)
        except Exception as error:  # whatever it is: who cannot judge may not let anybody drive
            self._reason = f"the gate cannot judge: {type(error).__name__}: {error}"
        if self._reason:
            self._driving = False
            self._safe(now)

    def _why_not(self, now: Instant) -> str:
        """Return why the safe action is due, or nothing."""
        if self._stopping:
            return "stopping"
        if not self._enabled:
            return "disabled"
        if stale := self._not_fresh(now):
            self._waiting_since_ns = now.steady_ns
            return stale
        waited_ns = now.steady_ns - self._waiting_since_ns
        if waited_ns > self._max_age_ns + self._period_ns:
            return f"no action for {waited_ns / 1e9:.1f} s"
        if self._driving and self.settings.kind == "velocity":
            return self._expiry(now)
        return "" if self._driving else self._reason if self._reason not in ("disabled", "stopping") else ""

    def _expiry(self, now: Instant) -> str:
        """Let the command in force go on while it might be sent again as it is; return why it may not, or nothing."""
        until_ns = self._stopped_ns()
        if until_ns > self._until_ns:
            commands = [(joint, joint.newest_velocity) for joint in self._joints.each]
            if all(self._allowed(joint, v, now, until_ns) == v for joint, v in commands):
                self._until_ns = until_ns
        return "" if now.steady_ns < self._until_ns else "no newer action, and the last one leads to a limit"

    def _stopped_ns(self) -> int:
        """Return when the newest sample of the joints gets too old [ns, steady]."""
        newest = self._samples[JOINT_STATES]
        assert newest is not None
        return newest.measured_ns + self._max_age_ns

    def _not_fresh(self, now: Instant, but: Sequence[str] = ()) -> str:
        """Return which input has nothing fresh to offer, or which joint does not follow; or nothing."""
        if stale := self._samples.stale(now, but):
            return stale
        trouble = self._joints.trouble()
        return f"tracking: {trouble}" if trouble else ""

    def _allowed(self, joint: Joint, value: float, now: Instant, until_ns: int) -> float:
        if self.settings.kind == "velocity":
            return joint.allowed_velocity(value, now.steady_ns, until_ns + _LOOK_LATE_NS)
        return joint.allowed_position(value, self._period_ns)

    # the safe action -------------------------------------------------------------------------------------------------

    def _safe(self, now: Instant) -> None:
        """Send the safe action, at once and then now and again; `stop` sends it once."""
        again = self._safe_ns is not None
        if self._silent or (again and now.steady_ns - (self._safe_ns or 0) < _SAFE_EVERY_NS):
            return
        values = [0.0] * len(self.limits.names) if self.settings.kind == "velocity" else self._hold(now)
        if values is None:
            return
        self._out(now, values)
        self._safe_ns = now.steady_ns
        self._silent = self.settings.safe_action == "stop"

    def _hold(self, now: Instant) -> list[float] | None:
        """Return the positions to hold next; None: it is not known where the joints are."""
        newest = self._samples[JOINT_STATES]
        if newest is None or now.steady_ns - newest.measured_ns > self._max_age_ns:
            return None if self._held is None else self._held.places_rad
        if self._held is None:
            places_rad = [joint.position_now(now.steady_ns) for joint in self._joints.each]
            self._held = Hold(self._joints.each, places_rad, now.steady_ns)
        here = [joint.sample.position_rad for joint in self._joints.each if joint.sample is not None]
        return self._held.step(here, now.steady_ns)

    def _out(self, now: Instant, values: list[float]) -> None:
        """Send, and note what was sent: it counts from before it leaves."""
        at_ns = self._out_ns = max(now.steady_ns, self._out_ns)  # two threads may come with their times crossed
        self._joints.sent(at_ns, values, velocity=self.settings.kind == "velocity")
        self._send(values)
