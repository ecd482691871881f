"""Parameters that are empty lists have a value, so that whoever asks for all of a node's gets all."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy")

from rcl_interfaces.msg import ParameterType  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from support.processes import Ros  # noqa: E402

from perf_inference.nodes.ros.parameters import declare  # noqa: E402

KINDS = (
    "policy.parameters.PolicyParameters", "yolo_node.YoloParameters", "caption_node.CaptionParameters",
    "recorder_node.RecorderParameters", "monitor_node.MonitorParameters", "replay_node.ReplayParameters",
)  # fmt: skip


@pytest.fixture
def node(ros: Ros) -> Iterator[Any]:
    made = rclpy.create_node("declared", context=ros.context)
    yield made
    made.destroy_node()


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_has_a_value_and_a_type(node: Any, kind: str) -> None:
    module, _, name = kind.rpartition(".")
    parameters = getattr(importlib.import_module(f"perf_inference.nodes.{module}"), name)
    declare(node, parameters)
    names = [field.metadata["name"] or field.name for field in fields(parameters)]
    values = node.get_parameters(names)  # one without a value raises, and a service answers nothing at all
    assert [value.type_.value for value in values] == [node.describe_parameter(name).type for name in names]
    assert ParameterType.PARAMETER_NOT_SET not in {value.type_.value for value in values}
    for field, name in zip(fields(parameters), names, strict=True):
        assert node.describe_parameter(name).read_only == (not field.metadata["while_running"]), name
    loaded = node.set_parameters([Parameter(value.name, value.type_, value.value) for value in values])
    refused = {name for name, result in zip(names, loaded, strict=True) if not result.successful}
    starting = {f.metadata["name"] or f.name for f in fields(parameters) if not f.metadata["while_running"]}
    assert refused <= starting, "only what is set at the start is refused when a node's own dump is loaded"
