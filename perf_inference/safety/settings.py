"""What the gate is set to."""

from __future__ import annotations

from dataclasses import dataclass

from perf_inference.safety.limits import JointLimits

BRAKES_S = 0.25  # what slows down comes to rest from its velocity limit, where no acceleration is given
SAFE_ACTIONS = ("zero", "hold", "stop", "decelerate")


@dataclass(frozen=True)
class GateSettings:
    """What the gate knows of the policy and the robot; fixed for the life of the process."""

    kind: str  # velocity [rad/s] | position [rad]
    period_s: float  # between two actions of the policy
    max_age_s: float  # of an input's newest accepted sample
    latency_s: float  # after it a command is in force: dead time, and three time constants of a lag
    tolerance_rad: float  # between measured and expected position; 0: not compared
    safe_action: str = "zero"  # one of SAFE_ACTIONS; positions cannot be zeroed, there `zero` holds
    ramp_s: float = 0.0  # after `enable` the velocity limits grow from nothing within this time
    trajectory: bool = False  # commands are trajectories with a braking tail
    open_loop_s: float = 0.3  # how far ahead a trajectory goes on before its tail


def slowing_s(limits: JointLimits, settings: GateSettings) -> float:
    """Return within which time after its last driving the gate has sent all of a row of commands to rest [s]."""
    if settings.trajectory or settings.kind != "velocity" or settings.safe_action != "decelerate":
        return 0.0
    each = zip(limits.velocity_rad_s, limits.acceleration_rad_s2, strict=True)
    return max(max(BRAKES_S, velocity / braking) for velocity, braking in each)
