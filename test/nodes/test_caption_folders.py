"""caption_node with Hugging Face folders: another precision and another folder while captions come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
pytest.importorskip("torch")
pytest.importorskip("transformers")

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger
from support import hf_folders
from support.processes import Process, Ros

from perf_inference.nodes.images.converter import from_bgr
from perf_inference.nodes.reports.messages import from_key_values
from perf_inference.nodes.reports.reporter import STATUS_QOS

pytestmark = pytest.mark.torch


def test_precision_and_folder_change_while_captions_come(
    ros: Ros, start_node: Callable[..., Process], tmp_path: Path
) -> None:
    first, second = hf_folders.llava(tmp_path / "first"), hf_folders.git(tmp_path / "second")
    image = from_bgr(np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8), Header())
    publisher = ros.node.create_publisher(Image, "image", qos_profile_sensor_data)
    ros.node.create_timer(0.05, lambda: publisher.publish(image))
    captions, partial = ros.collect(String, "caption"), ros.collect(String, "caption_partial")
    statuses = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    more = ("-p", "rate:=5.0", "-p", "max_tokens:=4")
    node = start_node("caption_node", "-p", f"model:={first}", *more, env={"OMP_NUM_THREADS": "1"})
    assert ros.spin_until(lambda: len(captions) > 3 and statuses, 120), node.output()
    assert partial

    def values() -> dict[str, object]:
        return from_key_values(statuses[-1].values)

    had = values()
    assert had["model_mb"] > 0.01  # type: ignore[operator]
    assert had["model_parameters"] > 1000  # type: ignore[operator]
    for name, value in (("precision", "int8"), ("model", str(second))):
        wish = Parameter(name=name, value=ParameterValue(type=4, string_value=value))
        request = SetParameters.Request(parameters=[wish])
        result = ros.call(SetParameters, "caption_node/set_parameters", request).results[0]
        assert result.successful, result.reason
        answer = ros.call(Trigger, "caption_node/swap_wait", Trigger.Request(), 240)
        assert answer.success, answer.message
        count = len(captions)
        assert ros.spin_until(lambda count=count: len(captions) > count + 3, 60), node.output()
    assert ros.spin_until(lambda: values()["engine"] == "second" and values()["precision"] == "int8")
    said = values()
    assert (said["swaps"], said["swaps_failed"]) == (2, 0)
    ledger = {key.rpartition(".")[2]: value for key, value in said.items() if key.startswith("ledger.tick.")}
    assert (ledger["failed"], ledger["rejected"], ledger["residual"]) == (0, 0, 0)
    print(f"\nmemory before {had['process_memory_mb']:.0f} MB, after two swaps {said['process_memory_mb']:.0f} MB")
