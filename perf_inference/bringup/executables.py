"""The executables of this package: the only list of them. `setup.py` runs this file, so it imports nothing of ours."""

from __future__ import annotations

from collections.abc import Mapping

NODES = {
    "policy_node": False,
    "yolo_node": True,
    "caption_node": False,
    "speech_node": False,
    "monitor_node": False,
    "recorder_node": False,
    "replay_node": True,
    "camera_node": True,
    "sim_robot_node": True,
}
"""Executable, and whether it may publish images; each is a module of `perf_inference.nodes` with a `main()`."""

CONTAINER, COMMAND = "container", "perf-inference"
SIM_IMAGE_BYTES, USUAL_IMAGE_BYTES = 640 * 480 * 3, 1920 * 1080 * 4


def image_bytes(executable: str, parameters: Mapping[str, object]) -> int:
    """Return the size of an image that a node with these parameters publishes [bytes]; 0: none, or it is not known."""
    if executable == "sim_robot_node":
        return SIM_IMAGE_BYTES if parameters.get("part") != "arm" else 0
    sides = (parameters.get("width"), parameters.get("height")) if executable == "camera_node" else ()
    known = [side for side in sides if isinstance(side, int) and 0 < side <= 32_768]
    # A device may have more than it was asked for: never less than what is usual.
    return max(known[0] * known[1] * 3, USUAL_IMAGE_BYTES) if len(known) == 2 else 0
