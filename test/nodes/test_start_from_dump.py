"""What `ros2 param dump` reads of a node starts the same node again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")

from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters
from rclpy.parameter import get_parameter_value, parameter_value_to_python
from support.cases import sampled
from support.processes import Process, Ros
from support.public_names import MANAGED, NODES


def dumped(ros: Ros, node: str) -> dict[str, Any]:
    """Return all parameters, asked as `ros2 param dump` asks."""
    if node in MANAGED:
        ros.wait_until_active(node)
    names = ros.call(ListParameters, f"/{node}/list_parameters", ListParameters.Request()).result.names
    values = ros.call(GetParameters, f"/{node}/get_parameters", GetParameters.Request(names=names)).values
    assert len(values) == len(names) > 5
    return {name: parameter_value_to_python(value) for name, value in zip(names, values, strict=True)}


def lasting(values: dict[str, Any]) -> dict[str, Any]:
    """Return them without the memory and the like of the engine, which is another at each start."""
    return {**values, "engine_state": str(values.get("engine_state")).partition(" {")[0]}


def refused_of(ros: Ros, node: str, values: dict[str, Any]) -> set[str]:
    """Set all parameters, as `ros2 param load` does; return those that were refused."""
    wanted = [ParameterMessage(name=name, value=get_parameter_value(str(value))) for name, value in values.items()]
    answer = ros.call(SetParameters, f"/{node}/set_parameters", SetParameters.Request(parameters=wanted))
    return {one.name for one, result in zip(wanted, answer.results, strict=True) if not result.successful}


def read_only_of(ros: Ros, node: str, names: list[str]) -> set[str]:
    """Return the parameters that are for the start."""
    asked = DescribeParameters.Request(names=names)
    described = ros.call(DescribeParameters, f"/{node}/describe_parameters", asked).descriptors
    return {one.name for one in described if one.read_only}


@pytest.mark.parametrize("name", sampled(["policy_node", *(name for name in NODES if name != "policy_node")]))
def test_a_start_from_the_dump_gives_the_same_node(
    ros: Ros, start_node: Callable[..., Process], tmp_path: Path, name: str
) -> None:
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images/1.png"), np.zeros((8, 8, 3), np.uint8))
    changed = {
        "recorder_node": ("output_dir", f"{tmp_path}/runs"),
        "replay_node": ("source", f"{tmp_path}/images"),
        "camera_node": ("source", f"{tmp_path}/images"),
        "monitor_node": ("window_s", 4.0),
        "sim_robot_node": ("camera_rate", 7.0),
        "speech_node": ("rate", 190),
    }
    key, value = changed.get(name, ("threads", 1))
    first = start_node(name, "-p", f"{key}:={value}")
    before = dumped(ros, name)
    assert refused_of(ros, name, before) == read_only_of(ros, name, list(before))
    assert lasting(dumped(ros, name)) == lasting(before)
    assert first.stop() == 0, first.output()
    assert before[key] == value
    file = tmp_path / "dump.yaml"
    file.write_text(yaml.safe_dump({f"/{name}": {"ros__parameters": before}}))
    again = start_node(name, "--params-file", str(file))
    assert lasting(dumped(ros, name)) == lasting(before)
    assert again.stop() == 0, again.output()
    assert "not known" not in again.output()
    assert "ignored" not in again.output()
