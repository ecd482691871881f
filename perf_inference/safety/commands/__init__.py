"""What is sent to the joints: how much of what the policy wants, and what is safe. A module for each way to say it."""

from __future__ import annotations

from perf_inference.safety.commands.positions import Positions
from perf_inference.safety.commands.trajectories import Trajectories
from perf_inference.safety.commands.velocities import Velocities
from perf_inference.safety.commands.way_to_send import Commands
from perf_inference.safety.joints import Joints
from perf_inference.safety.settings import GateSettings


def commands_of(joints: Joints, settings: GateSettings) -> Commands:
    """Return the way to command these joints."""
    if settings.trajectory:
        return Trajectories(joints, settings)
    if settings.kind == "velocity":
        return Velocities(joints, settings.safe_action == "decelerate")
    return Positions(joints, settings.period_s)
