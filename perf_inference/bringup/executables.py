"""The executables of this package: the only list of them. `setup.py` runs this file, so it imports nothing of ours."""

from __future__ import annotations

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
