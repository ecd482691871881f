"""Why a policy does not drive."""

from __future__ import annotations

from perf_inference.console.causes.cause import Cause, shown, word
from perf_inference.console.node import NodeSeen

SAFE, DISABLED, DRIVING = "safe action: ", "disabled: safe action", "driving"
UNTOLD = "whether it drives is not told"
STOPS = ("estop", "other_sender", "gate", "tracking", "unusable_input", "stale_input", "no_action", "starting", "safe")
_TOPICS = "perf-inference doctor --only topics --only inputs"


def state_of(node: NodeSeen) -> str | None:
    """Return what a policy or its gate says of driving: `driving`, or why not; None: it is no policy.

    Its message may tell of some trouble in place of that; then the heartbeat's `state` has it.
    """
    state = node.said.others.get("state")
    if (found := _state(str(state) if state is not None else node.message)) is not None:
        return found
    if state is None and any(_state(beat.message) is not None for beat in node.beats):
        return f"{UNTOLD}: it says only: {node.message}"
    return None


def _state(said: str) -> str | None:
    if said == DISABLED:
        return "disabled"
    if said.startswith(SAFE):
        return said[len(SAFE) :]
    return said if said == DRIVING else None


def causes(node: NodeSeen, now_s: float) -> list[Cause]:
    """Return why the safe action is sent, and what else slows a policy down on purpose."""
    found = []
    scale = node.said.others.get("gate.speed_scale")
    if isinstance(scale, int | float) and scale < 1:
        found.append(
            Cause(
                "speed_scale",
                45,
                f"{shown(node.name)}: speed_scale is {scale:g}: it drives slower, as somebody says",
                "ros2 topic echo speed_scale",
            )
        )
    state = state_of(node)
    if state == "disabled":
        found.append(
            Cause(
                "disabled", 20, f"{shown(node.name)} is disabled: the safe action is sent", "perf-inference call enable"
            )
        )
    elif state not in (None, DRIVING) and not str(state).startswith(UNTOLD):
        found.append(_why(node, str(state).removeprefix("disabled: ")))
    return found


def _why(node: NodeSeen, reason: str) -> Cause:
    text = f"{shown(node.name)} sends the safe action: {shown(reason)}"
    if reason.startswith("estop"):
        return Cause("estop", 96, text, "ros2 topic echo estop    # release it, then: perf-inference call enable")
    if "is used by" in reason or "sends" in reason or "publish" in reason:
        return Cause(
            "other_sender", 95, text, "ros2 topic info -v action    # end it, then: perf-inference call enable"
        )
    if reason.startswith("the gate"):
        return Cause("gate", 98, text, "perf-inference doctor --only cores")
    if reason.startswith("tracking"):
        return Cause("tracking", 93, text, "ros2 topic echo joint_states    # compare them with action")
    if "that can be used" in reason:
        return Cause("unusable_input", 92, text, _TOPICS)
    if reason.startswith("nothing"):
        return Cause("stale_input", 91, text, _TOPICS)
    if reason.startswith("no action"):
        return Cause(
            "no_action", 60, f"{text}: see what takes its time", f"perf-inference set {word(node.name)} precision int8"
        )
    if reason in ("stopping", "waiting for an action"):
        return Cause("starting", 44, text, "perf-inference nodes")
    return Cause("safe", 90, text, "perf-inference doctor")
