"""Random histories of the gate: a joint model, a policy that means no good, and faults of all kinds on a fake clock.

Every history lasts 2 to 3 s, has one fault at least while the arm moves, and ends with nothing more accepted. At each
send the worst that the *true* joint can get to, if nothing more is accepted, is computed from the model and not from
the gate; it must lie within the limits.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from perf_inference.errors import InputError
from perf_inference.safety import Gate, GateSettings, Instant, JointLimits
from support.joint_model import JointModel

FAULTS = (
    "silent", "nan", "one_joint_only", "others_only", "frozen_stamp", "late", "disorder", "impossible", "old_stamps",
    "stamps_ahead", "velocities_nan", "velocities_absent", "positions_short", "named_twice", "same_again",
    "other_input_silent", "other_input_refused", "clock_still", "clock_back", "clock_forward", "engine_stalls",
    "action_nan", "disable", "narrow", "stuck_reading", "looks_late", "barred", "slowed",
)  # fmt: skip
_CLOCKS = {"clock_still", "clock_back", "clock_forward"}
LOOKS_LATE_S = 0.09  # the gate is promised a look every 0.1 s
SLACK_RAD = 1e-6
TRANSIT_S = 0.003  # of a message: while /clock stands still nobody can tell
LAG_SLACK = 0.02  # a lag's rest after three time constants: exp(-3) / 3 of latency * velocity
BLIND_SLACK_S = 0.15  # a look that is late, and a ROS clock that is
START_S, EPOCH_NS = 10.0, 1_700_000_000_000_000_000


@dataclass
class Outcome:
    """What a history found."""

    seed: int
    moved: bool = False
    sends: int = 0
    faults_in_motion: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """Something that is wrong for a while; times in s."""

    kind: str
    from_s: float
    to_s: float
    size: float  # 0 to 1: how bad it is


class History:
    """One robot, one policy, one gate, and what happens to them."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.outcome = Outcome(seed)
        self.kind = "position" if chance.random() < 0.15 else "velocity"
        model = "position" if self.kind == "position" else chance.choice(("delay", "lag", "brake"))
        count = chance.choice((1, 1, 2, 3))
        self.names = [f"j{i}" for i in range(count)]
        self.latency_s = chance.choice((0.0, 0.02, 0.05, 0.15, 0.3))
        lower = [chance.uniform(-3, 0) for _ in self.names]
        upper = [low + chance.uniform(0.5, 5) for low in lower]
        fastest = [chance.choice((0.3, 1.0, 2.5, 5.0)) for _ in self.names]
        braking = [chance.uniform(1, 20) for _ in self.names] if model == "brake" else []
        self.limits = JointLimits.of(self.names, lower, upper, fastest, braking)
        self.rate_hz, self.joint_hz = (
            math.exp(chance.uniform(0, math.log(100))),
            chance.choice((10, 20, 50, 50, 100, 100, 200)),
        )
        self.max_age_s = chance.choice((0.1, 0.3, 0.3, 0.5, 1.0))
        settings = GateSettings(self.kind, 1 / self.rate_hz, self.max_age_s, self.latency_s, 0.2,
                                chance.choice(("zero", "hold", "stop", "decelerate")),
                                chance.choice((0.0, 0.0, 0.5)))  # fmt: skip
        self.slowing_s = 0.0  # that the safe action may take
        if settings.safe_action == "decelerate":
            self.slowing_s = max(0.25, *(v / a for v, a in zip(fastest, self.limits.acceleration_rad_s2, strict=True)))
        topics = {name: f"/{name}" for name in ("image", "joint_states", "force")}
        self.gate = Gate(self.limits, settings, topics, self._sent)
        self.joints = [self._joint(model, i) for i in range(count)]
        self.beyond = [not low <= j.position <= high for j, low, high in zip(self.joints, lower, upper, strict=True)]
        self.end_s = START_S + chance.uniform(2.0, 2.8)
        self.faults = self._faults()
        self._kinds = {fault.kind for fault in self.faults}
        self.policy = chance.choice(("up", "down", "bang", "sine", "walk", "huge"))
        self.now_s, self.last_s, self._walk = START_S, START_S, [0.0] * count
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0
        self._frozen: dict[str, Any] = {}
        self._enabled_again = False
        self._accepted_s = dict.fromkeys(self.names, 0.0)  # when the newest accepted sample of a joint was taken
        self._in_force: list[float] = []

    def _joint(self, model: str, index: int) -> JointModel:
        chance, limits = self.chance, self.limits
        low, high = limits.lower_rad[index], limits.upper_rad[index]
        where = chance.choice((chance.uniform(low, high), chance.uniform(low, high), high - 0.01, low + 0.01, high, low,
                               high + chance.uniform(0, 0.5)))  # fmt: skip
        return JointModel(
            model, where, self.latency_s, limits.velocity_rad_s[index],
            limits.acceleration_rad_s2[index] * chance.choice((1.0, 1.0, 2.0)), chance,
        )  # fmt: skip

    def _faults(self) -> list[Fault]:
        faults = []
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            from_s = self.chance.uniform(START_S + 0.3, self.end_s - 0.7)
            faults.append(Fault(self.chance.choice(FAULTS), from_s, from_s + self.chance.uniform(0.05, 1.5),
                                self.chance.random()))  # fmt: skip
        return faults

    # the clocks ------------------------------------------------------------------------------------------------------

    def now(self) -> Instant:
        return Instant(round(self.now_s * 1e9), self.ros_ns(self.now_s))

    def ros_ns(self, at_s: float) -> int:
        ros_s = at_s
        if not self._kinds & _CLOCKS:
            return EPOCH_NS + round(ros_s * 1e9)
        for fault in self.faults:
            if fault.kind == "clock_still" and fault.from_s <= at_s:
                ros_s -= (
                    min(at_s, fault.to_s) - fault.from_s
                    if fault.size < 0.5
                    else max(0.0, (fault.from_s < at_s < fault.to_s) * (at_s - fault.from_s))
                )
            if fault.kind == "clock_back" and fault.from_s <= at_s:
                ros_s -= fault.size * 0.5
            if fault.kind == "clock_forward" and fault.from_s <= at_s:
                ros_s += fault.size * 0.5
        return EPOCH_NS + round(ros_s * 1e9)

    # what happens ----------------------------------------------------------------------------------------------------

    def at(self, when_s: float, what: Callable[..., None], *arguments: Any) -> None:
        self._order += 1
        heapq.heappush(self._events, (when_s, self._order, what, arguments))

    def active(self, kind: str) -> Fault | None:
        if kind in self._kinds:
            for fault in self.faults:
                if fault.kind == kind and fault.from_s <= self.now_s < fault.to_s:
                    return fault
        return None

    def run(self) -> Outcome:
        self.gate.enable(True, self.now())
        self.at(self.now_s, self._look)
        self.at(self.now_s + self.chance.uniform(0, 0.01), self._joint_states)
        self.at(self.now_s, self._other_inputs)
        self.at(self.now_s + 0.02, self._tick)
        for fault in self.faults:
            self.at(fault.from_s, self._begin, fault)
        last_words_s = self.end_s + self.max_age_s + 0.4 + self.slowing_s
        while self._events and self._events[0][0] < last_words_s:
            self.now_s, _, what, arguments = heapq.heappop(self._events)
            for joint in self.joints:
                joint.advance(self.now_s)
            what(*arguments)
        for joint in self.joints:
            joint.advance(self.now_s + 3.0)
        self._check_the_end()
        return self.outcome

    def _begin(self, fault: Fault) -> None:
        self.outcome.faults_in_motion += any(abs(joint.velocity) > 1e-3 for joint in self.joints)
        if fault.kind == "disable":
            self.gate.enable(False, self.now())
            self.at(fault.to_s, lambda: self.gate.enable(True, self.now()))
        if fault.kind == "barred":
            self.gate.bar("somebody", "somebody says so", self.now())
            self.at(fault.to_s, lambda: self.gate.bar("somebody", "", self.now()))
        if fault.kind == "slowed":
            self.gate.scale(fault.size, self.now())
            self.at(fault.to_s, lambda: self.gate.scale(1.0, self.now()))
        if fault.kind == "narrow":
            share = 0.1 + 0.9 * fault.size
            limits = self.limits
            self.gate.narrow(JointLimits.of(
                limits.names, limits.lower_rad,
                [low + share * (high - low) for low, high in zip(limits.lower_rad, limits.upper_rad, strict=True)],
                [2 * v for v in limits.velocity_rad_s],
            ))  # fmt: skip

    def _look(self) -> None:
        self.gate.look(self.now())
        blind_s = self.now_s - min(self._accepted_s.values()) - self.max_age_s
        if any(self._in_force) and blind_s > BLIND_SLACK_S + self.slowing_s:
            self._problem(f"drives {blind_s:.2f} s longer than a sample may be old")
        late = self.active("looks_late")
        self.at(self.now_s + (LOOKS_LATE_S * late.size if late and late.size > 0.3 else 0.02), self._look)

    def _other_inputs(self) -> None:
        for name in ("image", "force"):
            if self.now_s > self.end_s and self.chance.random() < 0.5:
                continue
            if name == "force" and self.active("other_input_silent"):
                continue
            if name == "image" and self.active("other_input_refused"):
                self.gate.refuse("image", "broken", forget=True)
                continue
            try:
                self.gate.accept(name, self.now(), self.ros_ns(self.now_s - 0.001))
            except InputError as error:
                self.gate.refuse(name, str(error))
        self.at(self.now_s + 1 / 30, self._other_inputs)

    def _joint_states(self) -> None:
        if self.now_s < self.end_s and not self.active("silent"):
            self._measure()
        self.at(self.now_s + self.chance.uniform(0.8, 1.2) / self.joint_hz, self._joint_states)

    def _measure(self) -> None:
        stamp_ns, names = self.ros_ns(self.now_s), list(self.names)
        positions, velocities = [j.position for j in self.joints], [j.velocity for j in self.joints]
        delay_s = self.chance.uniform(0.0005, TRANSIT_S)
        one = self.chance.randrange(len(names))
        if self.active("nan"):
            positions[one] = self.chance.choice((math.nan, math.inf, -math.inf))
        if self.active("impossible"):
            positions[one] = self.chance.choice((1e30, -1e30, 1e9, -200.0))
        if self.active("one_joint_only"):
            names, positions, velocities = [names[0]], [positions[0]], [velocities[0]]
        if self.active("others_only"):
            names = ["gripper"] * len(names)
        if self.active("stuck_reading"):
            positions = self._frozen.setdefault("reading", positions)
            velocities = [self.chance.choice((0.0, math.nan))] * len(names)
        if self.active("velocities_nan"):
            velocities = [math.nan] * len(names)
        if self.active("velocities_absent"):
            velocities = []
        if self.active("positions_short"):
            positions = positions[:-1]
        if self.active("named_twice"):
            names, positions = names + names[:1], positions + positions[:1]
        if self.active("frozen_stamp"):
            stamp_ns = self._frozen.setdefault("stamp", stamp_ns)
        if fault := self.active("old_stamps"):
            stamp_ns -= round(fault.size * 1.0e9)
        if fault := self.active("stamps_ahead"):
            stamp_ns += round((0.11 + fault.size) * 1e9)
        delay_s += self._lateness_s()
        self.at(self.now_s + delay_s, self._deliver, self.now_s, stamp_ns, names, positions, velocities)
        if self.active("same_again"):
            self.at(self.now_s + delay_s + 0.004, self._deliver, self.now_s, stamp_ns, names, positions, velocities)

    def _lateness_s(self) -> float:
        if self.active("stamps_ahead"):
            return 0.0  # late as well it would say that it is newer than it is (docs/safety.md, what is assumed)
        if fault := self.active("late"):
            return fault.size * 0.45
        if fault := self.active("disorder"):
            return self.chance.random() * fault.size * 0.4
        return 0.0

    def _deliver(
        self, taken_s: float, stamp_ns: int, names: list[str], positions: list[float], velocities: list[float]
    ) -> None:
        with contextlib.suppress(InputError):
            if self.gate.joint_states(self.now(), stamp_ns, names, positions, velocities):
                self._accepted_s.update(dict.fromkeys(names, taken_s))

    def _tick(self) -> None:
        stalled = self.active("engine_stalls")
        takes_s = self.chance.uniform(0.001, min(0.05, 0.9 / self.rate_hz))
        if self.gate.is_fresh(self.now()):
            self.at((stalled.to_s if stalled else self.now_s) + takes_s, self._act, self.gate.observed_ns())
        self.at(self.now_s + 1 / self.rate_hz, self._tick)

    def _act(self, observed_ns: int) -> None:
        wanted = [self._wanted(i) for i in range(len(self.names))]
        if self.active("action_nan"):
            wanted[0] = math.nan
        with contextlib.suppress(InputError):
            self.gate.release(self.now(), wanted, observed_ns)

    def _wanted(self, index: int) -> float:
        fastest = self.limits.velocity_rad_s[index]
        value = {
            "up": fastest, "down": -fastest, "huge": self.chance.choice((1e9, -1e9)),
            "bang": fastest if math.sin(3 * self.now_s) > 0 else -fastest,
            "sine": fastest * math.sin(7 * self.now_s), "walk": 0.0,
        }[self.policy]  # fmt: skip
        if self.policy == "walk":
            self._walk[index] = min(max(self._walk[index] + self.chance.gauss(0, 0.3 * fastest), -fastest), fastest)
            value = self._walk[index]
        return value if self.kind == "velocity" else self.joints[index].position + value * 0.5

    # what is checked -------------------------------------------------------------------------------------------------

    def _sent(self, values: list[float]) -> None:
        self.outcome.sends += 1
        if self.kind == "velocity" and any(values) and not self.gate.enabled and not self._is_slower(values):
            self._problem(f"{values} was sent while it was disabled")
        for index, (joint, value) in enumerate(zip(self.joints, values, strict=True)):
            if not math.isfinite(value):
                self._problem(f"{value} was sent")
            if self.kind == "velocity" and abs(value) > self.limits.velocity_rad_s[index] + SLACK_RAD:
                self._problem(f"{value} rad/s was sent, allowed are {self.limits.velocity_rad_s[index]}")
            joint.send(self.now_s, value)
            self.outcome.moved |= abs(joint.velocity) > 1e-3 or (self.kind == "velocity" and abs(value) > 1e-3)
        self._in_force = list(values) if self.kind == "velocity" else []
        if any(self._in_force):
            # The gate is asked after the send for when it will stop what it has just sent.
            self.at(self.now_s, self._check_send, list(values))

    def _is_slower(self, values: list[float]) -> bool:
        """Return whether this is a step on the way to rest."""
        before = self._in_force or [0.0] * len(values)
        return bool(self.slowing_s) and all(
            abs(v) <= abs(b) and v * b >= 0 for v, b in zip(values, before, strict=True)
        )

    def _check_send(self, values: list[float]) -> None:
        until_s = self.gate.until_ns / 1e9 + 0.1
        for index, (joint, value) in enumerate(zip(self.joints, values, strict=True)):
            low, high = joint.farthest(self.now_s, value, until_s)
            self._check(index, low, high, f"after {value:+.3f} at {self.now_s - START_S:.3f} s")

    def _check_the_end(self) -> None:
        for index, joint in enumerate(self.joints):
            self._check(index, joint.lowest, joint.highest, "in the end")
            if self.kind == "velocity" and abs(joint.velocity) > 1e-3:
                self._problem(f"j{index} still moves at {joint.velocity:.3f} rad/s in the end")

    def _check(self, index: int, low: float, high: float, when: str) -> None:
        if self.beyond[index] or any(fault.kind == "stuck_reading" for fault in self.faults):
            return  # a reading that hangs breaks what is assumed; that it is noticed is shown by the rig
        slack = SLACK_RAD
        if self._kinds & _CLOCKS:
            slack += TRANSIT_S * self.limits.velocity_rad_s[index]
        if self.joints[index].kind == "lag":
            slack += LAG_SLACK * self.latency_s * 2 * self.limits.velocity_rad_s[index]
        lower, upper = self.limits.lower_rad[index], self.limits.upper_rad[index]
        if low < lower - slack or high > upper + slack:
            over = max(lower - low, high - upper)
            self._problem(f"j{index} ({self.joints[index].kind}) gets {over:.4f} rad beyond a limit {when}")

    def _problem(self, what: str) -> None:
        if len(self.outcome.problems) < 3:
            faults = ", ".join(f"{f.kind} at {f.from_s - START_S:.2f} s" for f in self.faults)
            self.outcome.problems.append(f"seed {self.outcome.seed}: {what} [{self.policy}, {faults}]")


def play(seeds: range) -> list[Outcome]:
    """Play the histories of these seeds."""
    return [History(seed).run() for seed in seeds]
