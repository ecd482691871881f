"""Each of config/yolo_*.yaml starts a node on a model of its kind, and what it finds is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

import rclpy
from onnx import TensorProto, helper
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Header, String
from support.onnx_models import save
from support.paths import ROOT
from support.processes import Ros

from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.images.converter import from_bgr
from perf_inference.nodes.yolo_node import YoloNode

EXTRA = {"detect": 0, "pose": 51, "segment": 32, "obb": 1}


def model_of(kind: str, path: Path) -> Path:
    """Write a model of this kind that finds one object in the middle, of the second of three classes."""
    metadata = {"task": kind, "names": "{0: 'a', 1: 'b', 2: 'c'}", "kpt_shape": "[17, 3]", "stride": "32"}
    side = 64
    if kind == "classify":
        values: dict[str, Any] = {"output0": np.array([[0.1, 0.7, 0.2]], np.float32)}
    else:
        raw = np.zeros((1, 7 + EXTRA[kind], 84), np.float32)
        raw[0, :4, 0], raw[0, 5, 0] = (32, 32, 16, 12), 0.9
        raw[0, 7:, 0] = 0.5
        values = {"output0": raw}
        if kind == "segment":
            values["output1"] = np.ones((1, 32, 16, 16), np.float32)
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, list(array.shape)) for name, array in values.items()
    ]
    nodes = [helper.make_node("Identity", [f"{name}_value"], [name]) for name in values]
    return save(path, nodes, inputs, outputs, {f"{name}_value": array for name, array in values.items()}, metadata)


@pytest.mark.parametrize("kind", ["classify", "detect", "obb", "pose", "segment"])
def test_a_configuration_starts_its_kind(ros: Ros, tmp_path: Path, kind: str) -> None:
    config = ROOT / "config" / f"yolo_{kind}.yaml"
    model = model_of(kind, tmp_path / "m.onnx")
    found = ros.collect(String, "detections_json")
    rclpy.init(args=["--ros-args", "--params-file", str(config), "-p", f"model:={model}"])
    node = YoloNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while node.state != "active":
            executor.spin_once(timeout_sec=30)
        assert node._inference.task.kind == kind
        arrival = Arrival(from_bgr(np.zeros((48, 64, 3), np.uint8), Header(frame_id="lens")), 0, 0)
        task, engine = node._inference.task, node._inference.engine
        inputs, view = task.preprocess(node._decode(arrival, task).data)
        result = task.postprocess(engine.infer(inputs), view)
        assert ros.spin_until(lambda: node.count_subscribers("detections_json"))

        def heard() -> bool:
            node._publish(result, node._decode(arrival, task), arrival)
            return bool(found)

        assert ros.spin_until(heard)
        said = json.loads(found[0].data)
        assert (said["kind"], said["instances"][0]["class_name"]) == (kind, "b")
        assert {"pose": "keypoints", "segment": "mask", "obb": "xywhr"}.get(kind, "score") in said["instances"][0]
    finally:
        node.finish()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
