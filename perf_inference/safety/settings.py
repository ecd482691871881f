"""What the gate is set to."""

from __future__ import annotations

from dataclasses import dataclass

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
