"""Topics, services, parameters, commands, flags and file fields are those that users' scripts rely on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support import public_names
from support.processes import Process, Ros

AGREED: dict[str, Any] = json.loads(public_names.AGREED.read_text())


def test_commands_and_flags() -> None:
    assert public_names.commands() == AGREED["commands"]


def test_nodes(ros: Ros, start_node: Callable[..., Process], tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images/1.png"), np.zeros((8, 8, 3), np.uint8))
    found = public_names.nodes(ros, start_node, tmp_path)
    assert found == AGREED["nodes"]


@pytest.mark.thorough
def test_file_fields(start_command: Callable[..., Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
    monkeypatch.chdir(tmp_path)
    for _ in range(3):  # a run of seconds may lack what happens seldom, or have it
        demo = start_command("demo", "--duration", "6")
        assert demo.wait(120) == 0, demo.output()
        run = max((tmp_path / "runs").iterdir())
        if (found := public_names.file_fields(run)) == AGREED["files"]:
            return
    assert found == AGREED["files"]
