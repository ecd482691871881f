"""Several cameras on one yolo_node: topics, stamps, ledgers and tracks of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from support.onnx_models import brightness_detector
from support.processes import Process, Ros

from perf_inference.errors import ConfigError
from perf_inference.nodes.images.converter import from_bgr
from perf_inference.nodes.reports.messages import heartbeat_of, timing_record
from perf_inference.nodes.reports.reporter import STATUS_QOS, TIMING_QOS
from perf_inference.nodes.vision.parameters import YoloParameters


class Camera:
    """Publishes images of one level of red at 20 Hz, once it is switched on."""

    def __init__(self, ros: Ros, name: str, level: int) -> None:
        self.on, self._ros = True, ros
        image = np.zeros((64, 64, 3), np.uint8)
        image[..., 2] = level
        self.message = from_bgr(image, Header(frame_id=f"{name}_lens"))
        self._publisher = ros.node.create_publisher(Image, f"{name}/image", qos_profile_sensor_data)
        self.stamps: set[tuple[int, int]] = set()
        self.found = ros.collect(String, f"{name}/detections_json")
        ros.node.create_timer(0.05, self._publish)

    def _publish(self) -> None:
        if self.on:
            stamp = self.message.header.stamp = self._ros.node.get_clock().now().to_msg()
            self.stamps.add((stamp.sec, stamp.nanosec))
            self._publisher.publish(self.message)


@pytest.mark.parametrize("batch", [pytest.param(4, marks=pytest.mark.thorough), "n"])
def test_each_camera_has_topics_and_a_ledger_of_its_own(
    ros: Ros, start_node: Callable[..., Process], tmp_path: Path, batch: int | str
) -> None:
    model = brightness_detector(tmp_path / "m.onnx", batch)
    cameras = {"front": Camera(ros, "front", 51), "rear": Camera(ros, "rear", 204)}
    timings = ros.collect(DiagnosticArray, "inference/timing", TIMING_QOS)
    beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    node = start_node(
        "yolo_node", "-p", f"model:={model}", "-p", "cameras:=[front, rear, left]", "-p", "confidence:=0.05",
        "-p", "tracker:=bytetrack",
    )  # fmt: skip
    assert ros.spin_until(lambda: all(len(camera.found) > 10 for camera in cameras.values()), 60), node.output()
    for name, score in (("front", 0.2), ("rear", 0.8)):
        said = json.loads(cameras[name].found[-1].data)
        assert said["header"]["frame_id"] == f"{name}_lens"
        assert said["node"] == "/yolo_node"
        assert tuple(said["header"]["stamp"].values()) in cameras[name].stamps
        assert [(round(one["score"], 3), one["track_id"]) for one in said["instances"]] == [(score, 1)]
    cameras["rear"].on = False
    before = len(cameras["front"].found)
    assert ros.spin_until(lambda: len(cameras["front"].found) > before + 20, 60), node.output()
    for camera in cameras.values():
        camera.on = False

    def settled() -> bool:
        said = heartbeat_of(beats[-1]).inputs if beats else {}
        return {"front", "rear", "left"} <= set(said) and not any(
            state.count("waiting") or state.count("in_work") for state in said.values()
        )

    assert ros.spin_until(settled, 30)
    said = heartbeat_of(beats[-1])
    assert said.driven_by == "front,rear,left"
    for name in ("front", "rear"):
        assert said.inputs[name].ledger["residual"] == 0
        assert said.inputs[name].topic == f"/{name}/image"
        assert said.inputs[name].count("processed") > 10
    assert said.inputs["left"].count("received") == 0
    assert said.inputs["left"].problem == "no message yet on /left/image"
    records = [timing_record(status) for message in timings for status in message.status]
    assert {record["camera"] for record in records} == {"front", "rear"}
    assert len({record["seq"] for record in records}) == len(records)
    assert {record["batch"] for record in records} <= {1, 2}
    assert {record["batch"] + record["batch_padding"] for record in records} <= ({4} if batch == 4 else {1, 2})
    assert node.stop() == 0


@pytest.mark.parametrize("cameras", [("",), ("front", "front"), ("a/b",), ("2nd",), ("front cam",), ("a__b",), ("é",)])
def test_a_name_that_no_topic_can_have_is_refused(cameras: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="cameras must be"):
        YoloParameters(cameras=cameras).camera_names()
