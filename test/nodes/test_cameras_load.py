"""1, 2 and 4 cameras on one yolo_node: throughput, latency and ledgers (`make prove PROVE=cameras_load`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from onnx import TensorProto, helper
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from support.onnx_models import save
from support.processes import Process, Ros

from perf_inference.nodes.images.converter import from_bgr
from perf_inference.nodes.reports.messages import heartbeat_of, timing_record
from perf_inference.nodes.reports.reporter import STATUS_QOS, TIMING_QOS

NAMES = ("front", "rear", "left", "right")
SECONDS, RATE_HZ, SIDE = 6.0, 20.0, 160


def convolutions(path: Path, batch: int | str, layers: int = 6, channels: int = 24) -> Path:
    """Write a detector of some ms that finds nothing: convolutions over [batch, 3, 160, 160]."""
    numbers = np.random.default_rng(0)
    constants: dict[str, Any] = {"zero": np.zeros((1, 6, 525), np.float32), "shape": np.array([-1, 1, 1], np.int64)}
    nodes, before = [], "images"
    for i in range(layers):
        width = channels if i else 3
        constants[f"w{i}"] = (numbers.normal(size=(channels, width, 3, 3)) / width / 9).astype(np.float32)
        strides = [2, 2] if i == 0 else [1, 1]
        nodes.append(helper.make_node("Conv", [before, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1], strides=strides))
        before = f"c{i}"
    nodes += [
        helper.make_node("ReduceMean", [before], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["one"]),
        helper.make_node("Mul", ["zero", "one"], ["output0"]),
    ]
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])]
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [batch, 6, 525])]
    return save(path, nodes, inputs, outputs, constants, {"names": "{0: 'a', 1: 'b'}", "task": "detect"})


class Cameras:
    """Publishes an image of 640x480 for each camera at 20 Hz, one after the other."""

    def __init__(self, ros: Ros, names: tuple[str, ...]) -> None:
        self._ros, self.dead = ros, set[str]()
        image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
        for index, name in enumerate(names):
            message = from_bgr(image, Header(frame_id=name))
            publisher = ros.node.create_publisher(Image, f"{name}/image", qos_profile_sensor_data)

            def publish(name: str = name, publisher: Any = publisher, message: Any = message) -> None:
                if name not in self.dead:
                    message.header.stamp = ros.node.get_clock().now().to_msg()
                    publisher.publish(message)

            ros.spin_until(lambda: False, index * 0.01)  # apart from each other, as cameras are
            ros.node.create_timer(1 / RATE_HZ, publish)


@pytest.mark.long
@pytest.mark.parametrize(("batch", "what"), [(1, "batch 1"), (4, "batch 4, fixed"), ("n", "any batch")])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_throughput_and_latency(
    ros: Ros, start_node: Callable[..., Process], tmp_path: Path, count: int, batch: int | str, what: str
) -> None:
    names = NAMES[:count]
    timings = ros.collect(DiagnosticArray, "inference/timing", TIMING_QOS)
    beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    node = start_node(
        "yolo_node", "-p", f"model:={convolutions(tmp_path / 'm.onnx', batch)}", "-p", f"cameras:=[{', '.join(names)}]",
        "-p", "threads:=1",
    )  # fmt: skip
    cameras = Cameras(ros, names)

    def records() -> list[dict[str, Any]]:
        return [timing_record(status) for message in timings for status in message.status]

    def each() -> dict[str, int]:
        said = records()
        return {name: sum(record["camera"] == name for record in said) for name in names}

    assert ros.spin_until(lambda: min(each().values(), default=0) > 20, 60), node.output()
    timings.clear()
    ros.spin_until(lambda: False, SECONDS)
    said = records()
    latency = np.array([record["latency_ms"] for record in said])
    rates = [value / SECONDS for value in each().values()]
    runs = np.mean([record["batch"] for record in said])
    infer = np.median([record["infer_ms"] for record in said])
    residuals = [state.ledger["residual"] for state in heartbeat_of(beats[-1]).inputs.values()]
    each_hz = f"{min(rates):.1f} to {max(rates):.1f} each"
    percentiles = f"p50 {np.median(latency):.1f} p90 {np.percentile(latency, 90):.1f}"
    print(
        f"\n{what:<16}{count:>8} cameras{sum(rates):>8.1f} Hz ({each_hz})  images a run {runs:.2f}  "
        f"infer p50 {infer:.1f} ms  latency {percentiles} ms  residual {residuals}"
    )
    assert residuals == [0] * count
    assert max(rates) < 2 * min(rates)
    if count > 1:
        cameras.dead.add(names[-1])
        ros.spin_until(lambda: False, 1.0)
        timings.clear()
        ros.spin_until(lambda: False, SECONDS)
        after = {name: value / SECONDS for name, value in each().items()}
        print(f"{'':<16}{names[-1]} dead: {', '.join(f'{name} {rate:.1f} Hz' for name, rate in after.items())}")
        assert after[names[-1]] == 0
        assert min(after[name] for name in names[:-1]) > 0.8 * min(rates)
    assert node.stop() == 0
