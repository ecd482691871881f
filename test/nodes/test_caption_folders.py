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
from support.tuner import Tuner

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


@pytest.mark.long
def test_memory_of_a_big_model_is_given_back(ros: Ros, start_node: Callable[..., Process], tmp_path: Path) -> None:
    """`make prove PROVE=memory_of_a_big`: 100 MB of weights, fp32 to int8 and to another folder, captions at 5 Hz."""
    first, second = (
        hf_folders.vision_encoder_decoder(tmp_path / name, seed, width=512, layers=8)
        for seed, name in enumerate(("first", "second"))
    )
    image = from_bgr(np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8), Header())
    publisher = ros.node.create_publisher(Image, "image", qos_profile_sensor_data)
    ros.node.create_timer(0.05, lambda: publisher.publish(image))
    tuner = Tuner(ros, "caption_node")
    captions = ros.collect(String, "caption")
    more = ("-p", "rate:=5.0", "-p", "max_tokens:=4", "-p", "threads:=1")
    node = start_node("caption_node", "-p", f"model:={first}", *more, env={"OMP_NUM_THREADS": "1"})
    assert ros.spin_until(lambda: len(captions) > 5, 120), node.output()

    def memory_mb(most: float) -> float:
        """Return the memory while captions go on: at most this, soon after the old model has gone."""
        count = len(captions)
        assert ros.spin_until(lambda: len(captions) > count + 5, 120), node.output()
        ros.spin_until(lambda: float(tuner.values()["process_memory_mb"]) < most, 20)
        return float(tuner.values()["process_memory_mb"])

    begin = tuner.values()
    size_mb = float(begin["model_mb"])
    assert size_mb > 95
    had_mb = memory_mb(float("inf"))
    found: dict[str, list[float]] = {"first fp32": [had_mb]}
    most = {"int8": had_mb - size_mb / 2, "fp32": had_mb + size_mb / 3}  # no model of before is still there
    for model, precision in ((first, "int8"), (second, "int8"), (second, "fp32"), (first, "fp32")):
        assert tuner.set_together(model=str(model), precision=precision) == ""
        answer = ros.call(Trigger, "caption_node/swap_wait", Trigger.Request(), 600)
        assert answer.success, answer.message
        found.setdefault(f"{model.name} {precision}", []).append(memory_mb(most[precision]))
        print(f"\n{answer.message}: {found}")
    end = tuner.values()
    counts = [key for key in end if key.startswith("ledger.tick.") and isinstance(end[key], int)]
    ledger = {key.rpartition(".")[2]: end[key] - begin[key] for key in counts}
    print(f"\n{size_mb:.0f} MB of weights, 4 swaps; memory of the process [MB]: {found}; {ledger}")
    assert (end["swaps"], end["swaps_failed"]) == (4, 0)
    assert (ledger["failed"], ledger["rejected"], end["ledger.tick.residual"]) == (0, 0, 0)
    assert (ledger["replaced"], ledger["message_lost"]) == (0, 0)
    assert all(mb < most[name.split()[1]] for name, all_mb in found.items() for mb in all_mb)
