"""What stands between a policy and a robot's joints: limits, freshness, and what is safe now. Knows no ROS.

`docs/safety.md` states the invariant that `gate.Gate` keeps, and what it assumes of the robot.
"""

from __future__ import annotations

from perf_inference.safety.gate import Gate
from perf_inference.safety.limits import JointLimits
from perf_inference.safety.ros_clock import Instant
from perf_inference.safety.settings import GateSettings

__all__ = ["Gate", "GateSettings", "Instant", "JointLimits"]
