"""Real images through real nodes, configured by parameters alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from diagnostic_msgs.msg import DiagnosticStatus
from std_msgs.msg import String
from support.processes import Process, Ros

from perf_inference.nodes.reports.reporter import STATUS_QOS

WANTED = {"dog": {"dog", "bicycle", "car"}, "person": {"person", "dog", "horse"}}


def test_images_replayed_into_a_real_detector(ros: Ros, start_node: Callable[..., Process], shared_data: Path) -> None:
    vision = shared_data / "vision"
    found: dict[str, dict[str, float]] = {}

    def on_detections(message: String) -> None:
        content = json.loads(message.data)
        objects = found.setdefault(content["header"]["frame_id"], {})
        for detection in content["detections"]:
            hypothesis = detection["results"][0]["hypothesis"]
            objects[hypothesis["class_id"]] = max(hypothesis["score"], objects.get(hypothesis["class_id"], 0.0))

    ros.node.create_subscription(String, "detections_json", on_detections, 10)
    alive = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    yolo = start_node("yolo_node", "-p", f"model:={vision / 'yolox_nano_coco.onnx'}", "-r", "image:=images")
    assert ros.spin_until(lambda: any(s.name == "yolo_node" for s in alive), 20), yolo.output()  # discovery is over
    replay = start_node("replay_node", "-p", f"source:={vision}", "-p", "picture_hz:=2.0", "-r", "image:=images")
    assert ros.spin_until(lambda: set(found) == set(WANTED), 20), f"{found} {yolo.output()} {replay.output()}"
    for image, names in WANTED.items():
        scores = {name: round(found[image].get(name, 0.0), 2) for name in sorted(names)}
        print(f"{image}.jpg: {scores}")
        assert all(score > 0.5 for score in scores.values()), found[image]
    assert replay.stop() == 0
    assert yolo.stop() == 0


def test_a_topic_of_the_wrong_type_is_named(ros: Ros, start_node: Callable[..., Process]) -> None:
    publisher = ros.node.create_publisher(String, "image", 10)
    yolo = start_node("yolo_node")
    said = "topic /image must be sensor_msgs/msg/Image, but std_msgs/msg/String (from test) is published on it"
    assert ros.spin_until(lambda: said in yolo.output(), 20), yolo.output()
    publisher.publish(String(data="no image"))
    assert yolo.stop() == 0
