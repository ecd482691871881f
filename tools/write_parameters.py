#!/usr/bin/env python3
"""Write docs/parameters.md from the dataclasses that the nodes declare their parameters from (`make parameters`)."""

from __future__ import annotations

import sys
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "parameters.md"
KINDS = {
    "policy_node": "policy.parameters.PolicyParameters",
    "yolo_node": "vision.parameters.YoloParameters",
    "caption_node": "caption_node.CaptionParameters",
    "speech_node": "speech.parameters.SpeechParameters",
    "camera_node": "camera.parameters.CameraParameters",
    "recorder_node": "recording.parameters.RecorderParameters",
    "replay_node": "replay_node.ReplayParameters",
    "monitor_node": "monitor_node.MonitorParameters",
    "sim_robot_node": "sim_robot_node.SimParameters",
}
HEAD = """# Parameters

One table a node, made from the dataclasses that the nodes declare them from: `make parameters` writes this page, and a
test compares it. `ros2 param describe /NODE NAME` says the same of a running node. What is marked *live* may be set
while the node runs; all else at the start, in a parameters file or by `-p NAME:=VALUE`.
"""
_TYPES = {
    str: "text", bool: "true or false", int: "whole number", float: "number", tuple[str, ...]: "list of texts",
    tuple[float, ...]: "list of numbers", tuple[int, ...]: "list of whole numbers",
}  # fmt: skip


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for node, kind in KINDS.items():
        module, _, name = kind.rpartition(".")
        parameters = getattr(import_module(f"perf_inference.nodes.{module}"), name)
        hints = get_type_hints(parameters)
        parts.append(f"\n## {node}\n\n| name | type | default | allowed | meaning |\n|---|---|---|---|---|\n")
        parts += [_row(item, hints[item.name]) for item in fields(parameters)]
    return "".join(parts)


def _row(item: Any, hint: Any) -> str:
    said = item.metadata
    default = "must be given" if item.default is MISSING or item.default is None else _value(item.default)
    live = " *live*" if said["while_running"] else ""
    cells = (f"`{said['name'] or item.name}`{live}", _TYPES[hint], default, _allowed(said), said["description"])
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return '""' if value == "" else f"{value:g}" if isinstance(value, float) else str(value)


def _allowed(said: Any) -> str:
    if said["choices"]:
        return ", ".join(said["choices"])
    low, high = said["at_least"], said["at_most"]
    bounded = [f"at least {low:g}" * (abs(low) < 1e300), f"at most {high:g}" * (abs(high) < 1e300)]
    return ", ".join(filter(None, bounded))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(page())
