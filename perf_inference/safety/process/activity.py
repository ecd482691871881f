"""Whether the policy's node is active: only then may anybody enable the policy, and becoming active enables nobody."""

from __future__ import annotations

from perf_inference.safety.gate import Gate
from perf_inference.safety.ros_clock import Instant

INACTIVE = "the policy's node is not active"
_WHO = "lifecycle"


def deactivate(gate: Gate, now: Instant) -> None:
    """Send the safe action, disable the policy, and let nobody enable it before `activate`."""
    gate.disable("the policy's node was deactivated", now)
    gate.bar(_WHO, INACTIVE, now)


def activate(gate: Gate, now: Instant) -> None:
    """Let the policy be enabled."""
    gate.bar(_WHO, "", now)
