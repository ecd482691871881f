"""`perf-inference bench graph`: what a graph costs, by process."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.processes import Process

pytest.importorskip("rclpy")


def test_a_command_that_starts_no_graph_is_said(start_command: Callable[..., Process]) -> None:
    bench = start_command("bench", "graph", "--rounds", "1", "--", "recover", "nowhere.jsonl")
    assert bench.wait(60) == 1
    assert "no action of 'recover nowhere.jsonl' came: it ended with status 1; it said: " in bench.output()


def test_a_wrong_setup_is_refused(start_command: Callable[..., Process]) -> None:
    bench = start_command("bench", "graph", "--setup", "three processes", "--", "run", "--sim")
    assert bench.wait(60) == 78
    assert "bench: --setup must be part of one of recorded, a process each; recorded, in one process" in bench.output()


@pytest.mark.long
def test_each_process_has_its_row(start_command: Callable[..., Process], tmp_path: Path) -> None:
    result = tmp_path / "g.jsonl"
    bench = start_command("bench", "graph", "--rounds", "1", "--seconds", "2", "--json", str(result))
    assert bench.wait(180) == 0, bench.output()
    for name in (
        "starter",
        "sim_arm",
        "policy_node",
        "yolo_node",
        "recorder_node",
        "container",
        "all",
        "yolo_node + caption_node",
        "yolo_node, from the stamp",
        "actions, off a steady grid",
    ):
        assert f"\n{name} " in bench.output()
    seen = [int(n) for n in re.findall(r"yolo_node, from the stamp .* n (\d+)", bench.output())]
    assert len(seen) == 5
    assert min(seen) > 0.6 * 2 * 30, "images are lost: the camera has no segment that they fit into"
    series = [record.get("series") for record in map(json.loads, result.read_text().splitlines())]
    assert {"in one process: first action", "recorded, in groups: actions off the grid"} <= set(series)
