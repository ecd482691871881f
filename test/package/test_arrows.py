"""The rooms' imports point one way, and ROS stays at the edge."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.paths import TESTS

import perf_inference

ROOT = Path(perf_inference.__file__).parent
ROS = {
    "rclpy", "std_msgs", "sensor_msgs", "geometry_msgs", "diagnostic_msgs", "trajectory_msgs", "std_srvs",
    "rcl_interfaces", "builtin_interfaces", "rosgraph_msgs", "vision_msgs", "cv_bridge", "launch", "launch_ros",
    "bondpy", "lifecycle_msgs",
}  # fmt: skip
# room: what it may import of the package
ALLOWED = {
    "errors": set(),
    "missing": set(),
    "quantities": set(),
    "entry_points": set(),
    "printable": set(),
    "bringup": {"errors", "files", "printable"},
    "files": {"errors"},
    "devices": {"errors"},
    "measure": {"devices", "errors"},
    "engines": {"devices", "entry_points", "errors", "files", "measure", "printable", "missing"},
    "safety": {"errors"},
    "tasks": {"engines", "entry_points", "errors", "files", "measure", "missing"},
    "telemetry": {"bringup", "errors", "measure", "missing"},
    "recording": {"errors", "files", "measure", "printable", "telemetry", "missing"},
    "report": {"errors", "files", "measure", "printable", "recording"},
    "speech": {"bringup", "errors", "files", "measure"},
    "camera": {"errors", "files", "measure", "printable"},
    "demo": {"engines", "errors", "measure", "tasks"},
    "pipeline": {"engines", "errors", "measure"},
    "batch_pipeline": {"engines", "errors", "measure", "pipeline"},
    "inline_pipeline": {"pipeline"},
    "testing": {"engines", "errors", "measure"},
    "model_build": {"bringup", "devices", "engines", "errors", "files", "measure", "printable", "missing"},
    "serving": {"errors", "measure", "engines", "model_build"},
    "models": set(),
    "console": {"errors", "measure", "printable"},
    "doctor": {
        "bringup", "devices", "entry_points", "errors", "measure", "missing", "model_build", "printable", "telemetry",
    },
    "nodes": {
        "batch_pipeline", "bringup", "camera", "console", "demo", "devices", "doctor", "engines", "errors", "files",
        "inline_pipeline", "measure", "missing", "model_build", "pipeline", "printable", "recording", "safety",
        "speech", "tasks", "telemetry",
    },
}  # fmt: skip
# rooms within a room: what each may import of the others; "": the modules beside them
WITHIN = {
    "recording": {
        "cdr": set(),
        "qos": set(),
        "damage": set(),
        "run_directory": set(),
        "message": {"cdr", "qos"},
        "jsonl": {"cdr", "message", "qos"},
        "parquet": {"cdr", "jsonl", "message"},
        "bags": {"cdr", "damage", "jsonl", "message", "parquet", "qos"},
        "file_list": {"run_directory"},
        "open": {"bags", "cdr", "file_list", "jsonl", "message"},
        "convert": {"bags", "cdr", "file_list", "jsonl", "message", "open"},
        "recorder": {"cdr", "jsonl", "message", "qos", "run_directory"},
        "recovery": {"cdr", "jsonl", "message", "run_directory"},
        "analysis": {"cdr", "jsonl", "message", "run_directory"},
        "": set(),
    },
    "engines": {  # a room a runtime; `engines.load` imports it by its name
        "": set(),
        "chat": {"", "remote"},
        "huggingface": {"", "pytorch"},
        "lerobot": {"", "pytorch"},
        "onnx": {""},
        "openvino": {"", "onnx"},
        "pytorch": {""},
        "remote": {""},
        "tensorrt": {""},
    },
    "nodes": {  # the nodes themselves stand beside the rooms
        "reports": set(),
        "ros": {"reports"},
        "vision": {"images", "ros"},
        "images": {"ros"},
        "lifecycle": {"reports", "ros"},
        "engine": {"lifecycle", "reports", "ros"},
        "policy": {"engine", "images", "lifecycle", "reports", "ros"},
        "monitor": {"reports", "ros", "vision"},
        "recording": {"images", "reports", "ros"},
        "graph": {"reports", "ros"},
        "camera": {"images", "reports", "ros"},
        "speech": {"reports", "ros"},
        "view": {"images", "monitor", "reports", "ros"},
        "console": {"reports", "ros"},
        "bench": {"images", "policy", "reports", "ros"},
        "": {
            "camera",
            "engine",
            "images",
            "lifecycle",
            "monitor",
            "policy",
            "recording",
            "reports",
            "ros",
            "speech",
            "vision",
        },
    },
    "safety": {  # the gate stands beside the rooms, and what `process` puts into another process
        "stops": set(),
        "commands": {""},
        "": {"commands"},
        "process": {""},
    },
    "model_build": {
        "machine": set(),
        "converters": {"machine"},
        "": {"converters", "machine", "trial"},
        "trial": {"", "converters", "machine"},
    },
}
TOP = {"cli", "commands", "bench"}  # these may import everything


def _statements(body: list[Any]) -> Iterator[ast.stmt]:
    """Yield each statement, those within others too; no expression holds an import."""
    for statement in body:
        yield statement
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from _statements(getattr(statement, name, []))


def _imports(path: Path) -> set[str]:
    found = set()
    for node in _statements(ast.parse(path.read_text()).body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "perf_inference"}
    return found


@cache
def all_imports() -> dict[Path, set[str]]:
    """Return what each module of the package imports, anywhere in it."""
    return {path: _imports(path) for path in MODULES}


MODULES = sorted(ROOT.rglob("*.py"))


def test_arrows() -> None:
    wrong = []
    for path, imports in all_imports().items():
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room in TOP or room in ("__init__", "__main__", "_moved", "_version"):
            continue
        used = {name.split(".")[1] for name in imports if name.startswith("perf_inference.")}
        used -= {"_moved", "_version", room} | ALLOWED[room]
        if used:
            wrong.append(f"{path}: {room} may import {sorted(ALLOWED[room])}, not {sorted(used)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("outer", WITHIN)
def test_arrows_within_a_room(outer: str) -> None:
    rooms, wrong = WITHIN[outer], []

    def room_of(parts: list[str]) -> str:
        return parts[0] if parts and parts[0] in rooms else ""

    for path in sorted((ROOT / outer).rglob("*.py")):
        room = room_of(list(path.relative_to(ROOT / outer).with_suffix("").parts))
        names = [name.split(".")[2:] for name in all_imports()[path] if name.startswith(f"perf_inference.{outer}.")]
        used = {room_of(parts) for parts in names} - {room} - rooms[room]
        if used:
            wrong.append(f"{path}: {room} may import {sorted(rooms[room])}, not {sorted(used)}")
    assert not wrong, "\n".join(wrong)


def test_ros_at_the_edge() -> None:
    ros = {path: {name.split(".")[0] for name in imports} & ROS for path, imports in all_imports().items()}
    wrong = [f"{path} imports {sorted(ros[path])}" for path in MODULES
             if ros[path] and path.relative_to(ROOT).parts[0] != "nodes"]  # fmt: skip
    assert not wrong, "\n".join(wrong)


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    long = {str(path.relative_to(ROOT)): count for path in MODULES if (count := path.read_text().count("\n")) > 300}
    assert long == {}


def test_a_room_of_many_modules_says_why_it_is_one() -> None:
    architecture = (TESTS.parent / "docs" / "architecture.md").read_text()
    rooms = {path.parent.relative_to(ROOT) for path in MODULES}
    for room in rooms - {Path()}:
        modules = [path for path in MODULES if path.parent == ROOT / room and path.name != "__init__.py"]
        assert len(modules) <= 12 or f"`{room}/` is one room" in architecture, f"{room} has {len(modules)} modules"
