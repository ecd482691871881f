"""The gate between a policy and the robot's joints: nothing is sent but through it.

It keeps one promise, at every send: the worst position that a joint can get to, if nothing more is ever accepted, lies
within its limits (`docs/safety.md`). For that it takes the samples of the inputs, judges them, watches how old the
newest accepted ones are, clamps or refuses what the policy wants to send, and sends what is safe whenever there is
nothing fresh to act on. It reads no clock and knows no ROS: each call brings its own time.

    accept / joint_states   a sample of an input             any thread
    release                 an action of the policy          the policy's thread
    look                    every LOOK_S, for ever           the gate's own thread
    enable, shadow, stop    what people and the end of the process say
    bar, disable, scale     what stops say (`stops/`)
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from perf_inference.errors import InputError
from perf_inference.safety.commands import commands_of
from perf_inference.safety.inputs import Inputs
from perf_inference.safety.limits import JointLimits
from perf_inference.safety.permission import Permission
from perf_inference.safety.ros_clock import Instant
from perf_inference.safety.samples import Taken
from perf_inference.safety.settings import GateSettings

LOOK_S = 0.02  # between two looks
_SAFE_EVERY_NS = 50_000_000  # the safe action is sent again


class Gate:
    """Lets actions out, and the safe one."""

    def __init__(
        self,
        limits: JointLimits,
        settings: GateSettings,
        inputs: Mapping[str, str],
        send: Callable[[Any], None],
    ) -> None:
        """Begin disabled, with nothing accepted.

        Args:
            inputs: name -> topic of all that must be fresh, `joint_states` among them.
            send: publishes one command, [joints] or a `Trajectory`; called with the gate's lock held, so that nothing
                overtakes it.
        """
        self.limits, self.settings = limits, settings
        self._inputs = Inputs(limits, inputs, settings.max_age_s, settings.latency_s, settings.tolerance_rad)
        self._commands, self._send = commands_of(self._inputs.joints, settings), send
        self._lock, self.inputs = threading.RLock(), tuple(inputs)
        self._max_age_ns, self._period_ns = round(settings.max_age_s * 1e9), round(settings.period_s * 1e9)
        self._permission, self._stopping = Permission(settings.ramp_s), False
        self.driving = False  # a command of the policy is in force ...
        self._until_ns = self._waiting_since_ns = 0  # ... until then at most; waiting for an action
        self._looked_ns: int | None = None
        self._reason, self._silent = "disabled", False  # silent: `stop` has sent its one command
        self._safe_ns: int | None = None  # when the safe action was sent last; None: not since the last action
        self._out_ns = 0  # when something was sent last
        self.sends, self.clamped, self.longest_look_s = 0, 0, 0.0  # the last: between two looks

    # people and stops -------------------------------------------------------------------------------------------------

    @property
    def enabled(self) -> bool:
        """Whether the policy may drive when all is fresh."""
        return self._permission.enabled

    @property
    def reason(self) -> str:
        """Why the safe action is being sent; empty: the policy drives."""
        return self._reason

    @property
    def until_ns(self) -> int:
        """When the newest action would be stopped if nothing more was accepted [ns, steady]."""
        return self._until_ns

    def at_rest(self, now: Instant) -> bool:
        """Return whether the safe action has come to its end."""
        with self._lock:
            return not self.driving and self._commands.resting(now.steady_ns)

    def enable(self, on: bool, now: Instant) -> str:
        """Let the policy drive, or send the safe action at once; return why it may not be enabled, or nothing."""
        with self._lock:
            if on and self._permission.barred:
                return self._permission.barred
            if self._permission.enable(on):
                self._waiting_since_ns = now.steady_ns
                self._inputs.joints.restart()
            self._judge(now)
            return ""

    def shadow(self, on: bool, now: Instant, switch: Callable[[], None]) -> None:
        """Begin anew where commands move nothing, enabled, or after that, disabled; `switch` changes where they go."""
        with self._lock:
            switch()
            self._inputs.joints.begin_anew(compared=not on)
            self._commands = commands_of(self._inputs.joints, self.settings)
            self.driving, self._silent, self._safe_ns = False, False, None
            self._permission.enable(False)
            self.enable(on, now)

    def stop(self, now: Instant) -> None:
        """Send the safe action from now on, and nothing else ever after; look on until it has surely arrived."""
        with self._lock:
            self._stopping = True
            self._judge(now)

    def narrow(self, limits: JointLimits) -> None:
        """Use these limits of the same joints, as far as they lie within the robot's own."""
        with self._lock:
            self._inputs.joints.narrow(limits)

    def bar(self, who: str, why: str, now: Instant, quiet: bool = False) -> None:
        """Let nobody drive for this reason until the same one says nothing; `quiet`: send nothing at all meanwhile."""
        with self._lock:
            barred = self._permission.barred
            self._permission.bar(who, why, quiet)
            if barred and not self._permission.barred:
                self._reason = "waiting for an action"
            self._judge(now)

    def disable(self, why: str, now: Instant) -> None:
        """Disable the policy until somebody enables it again; say why as long as it is."""
        with self._lock:
            self._permission.disable(why)
            self._judge(now)

    def scale(self, share: float, now: Instant) -> None:
        """Use this share of the velocity limits, 0 to 1; a command in force becomes slower at once."""
        with self._lock:
            before, self._permission.share = self._permission.share, share
            if self.driving and share < before and (slower := self._commands.slower(share / before)) is not None:
                self._out(now, slower)

    # inputs ----------------------------------------------------------------------------------------------------------

    def accept(self, name: str, now: Instant, stamp_ns: int | None) -> Taken:
        """Take a good sample of an input; return when it was taken.

        Args:
            stamp_ns: the header's, in the ROS clock; None: it has none, and counts from now.

        Raises:
            InputError: a stamp that is too old, lies ahead, or is not newer than the one before.
        """
        with self._lock:
            return self._inputs.accept(name, now, stamp_ns)

    def take(self, name: str, sample: Taken) -> None:
        """Take a sample of an input whose time was judged already."""
        with self._lock:
            self._inputs.take(name, sample)

    def refuse(self, name: str, why: str, forget: bool = False) -> None:
        """Note why a message of an input cannot be used; `forget`: the one that was accepted cannot be either."""
        with self._lock:
            self._inputs.refuse(name, why, forget)

    def joint_states(
        self, now: Instant, stamp_ns: int | None, names: Sequence[str], positions: Sequence[float],
        velocities: Sequence[float],
    ) -> bool:  # fmt: skip
        """Take a sample of some of the joints; see `Inputs.joint_states`."""
        with self._lock:
            return self._inputs.joint_states(now, stamp_ns, names, positions, velocities, self.driving)

    def joint_row(self) -> tuple[list[float], list[float]] | None:
        """Return the newest positions [rad] and velocities [rad/s] of all joints; None: one has not come yet."""
        with self._lock:
            return self._inputs.joints.row()

    # decisions -------------------------------------------------------------------------------------------------------

    def is_fresh(self, now: Instant, *but: str) -> bool:
        """Return whether all inputs, but those named, are fresh: an action may be asked for."""
        with self._lock:
            return not (self._stopping or self._permission.refused or self._inputs.stale(now, but))

    def observed_ns(self) -> int:
        """Return when the oldest of the newest samples was taken, on the steady clock [ns].

        Raises:
            InputError: nothing has been accepted on an input.
        """
        with self._lock:
            return self._inputs.oldest_ns()

    def release(self, now: Instant, values: Sequence[float], observed_ns: int) -> tuple[list[float], bool]:
        """Send an action as far as it is allowed; return what was sent and whether it is another than was asked for.

        Args:
            values: [joints] rad/s or rad.
            observed_ns: `observed_ns()` of what the policy looked at.

        Raises:
            InputError: the action is not finite, nobody may drive now, or what it rests on is too old: nothing is sent.
        """
        with self._lock:
            if len(values) != (count := len(self.limits.names)) or not all(map(math.isfinite, values)):
                raise InputError(f"an action must be {count} finite values, got {list(values)}: not sent")
            if self._stopping or not self._permission.enabled:
                raise InputError("the policy was disabled while the action was computed: not sent")
            if self._permission.barred:
                raise InputError(f"{self._permission.barred}: action not sent")
            if now.steady_ns - observed_ns > self._max_age_ns:
                raise InputError(f"the observation grew older than {self.settings.max_age_s:g} s: action not sent")
            if stale := self._inputs.stale(now):
                raise InputError(f"{stale}: action not sent")
            if not self.driving:
                self._commands.begin()
            until_ns = self._stopped_ns()
            command, allowed = self._commands.allowed(
                values, now.steady_ns, until_ns, self._permission.share_at(now.steady_ns, self.driving)
            )
            self._out(now, command)
            self.driving, self._until_ns, self._waiting_since_ns = True, until_ns, now.steady_ns
            self._silent, self._safe_ns, self._reason = False, None, ""
            clamped = allowed != [float(value) for value in values]
            self.sends, self.clamped = self.sends + 1, self.clamped + clamped
            return allowed, clamped

    def look(self, now: Instant) -> str:
        """Send the safe action where it is due; return why, or nothing."""
        with self._lock:
            before, self._looked_ns = self._looked_ns, now.steady_ns
            if before is not None:
                self.longest_look_s = max(self.longest_look_s, (now.steady_ns - before) / 1e9)
            self._inputs.look(now)
            self._judge(now)
            return self._reason

    def _judge(self, now: Instant) -> None:
        try:
            self._reason = self._why_not(now)
        except Exception as error:  # whatever it is: who cannot judge may not let anybody drive
            self._reason = f"the gate cannot judge: {type(error).__name__}: {error}"
        if self._reason or self._commands.slows_down():  # also where it was enabled again meanwhile
            self.driving = False
            self._safe(now)

    def _why_not(self, now: Instant) -> str:
        """Return why the safe action is due, or nothing."""
        if self._stopping:
            return "stopping"
        if why := self._permission.refused:
            self._waiting_since_ns = now.steady_ns
            return why
        if stale := self._inputs.stale(now):
            self._waiting_since_ns = now.steady_ns
            return stale
        waited_ns = now.steady_ns - self._waiting_since_ns
        if waited_ns > self._max_age_ns + self._period_ns:
            return f"no action for {waited_ns / 1e9:.1f} s"
        if self.driving and self._commands.renews:
            return self._expiry(now)
        return "" if self.driving or self._reason.startswith(("disabled", "stopping")) else self._reason

    def _expiry(self, now: Instant) -> str:
        """Let the command in force go on while it might be sent again as it is; return why it may not, or nothing."""
        until_ns = self._stopped_ns()
        if until_ns > self._until_ns and self._commands.goes_on(now.steady_ns, until_ns):
            self._until_ns = until_ns
        return "" if now.steady_ns < self._until_ns else "no newer action, and the last one leads to a limit"

    def _stopped_ns(self) -> int:
        """Return when the newest sample of the joints gets too old [ns, steady]."""
        newest_ns = self._inputs.joints_ns()
        assert newest_ns is not None
        return newest_ns + self._max_age_ns

    # the safe action -------------------------------------------------------------------------------------------------

    def _safe(self, now: Instant) -> None:
        """Send the safe action, at once and then now and again; `stop` sends it once."""
        before_ns, goes_on = self._safe_ns, self._commands.slows_down()
        if self._silent or (before_ns is not None and self._permission.quiet and not goes_on):
            return
        if before_ns is not None and not goes_on and now.steady_ns - before_ns < _SAFE_EVERY_NS:
            return
        newest_ns = self._inputs.joints_ns()
        fresh = newest_ns is not None and now.steady_ns - newest_ns <= self._max_age_ns
        command = self._commands.safe(now.steady_ns, newest_ns if fresh else None)
        if command is None:
            return
        self._out(now, command)
        self._safe_ns, self._silent = now.steady_ns, self.settings.safe_action == "stop"

    def _out(self, now: Instant, command: Any) -> None:
        """Send, and note what was sent: it counts from before it leaves."""
        at_ns = self._out_ns = max(now.steady_ns, self._out_ns)  # two threads may come with their times crossed
        self._commands.sent(at_ns, command)
        self._send(command)
