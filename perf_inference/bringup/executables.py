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
SIM_IMAGE_BYTES = 640 * 480 * 3


def image_bytes(executable: str, parameters: Mapping[str, object]) -> int:
    """Return the size of an image that a node with these parameters publishes [bytes]; 0: none, or it is not known.

    A device may give another size than it was asked for.
    """
    return SIM_IMAGE_BYTES if executable == "sim_robot_node" and parameters.get("part") != "arm" else 0
