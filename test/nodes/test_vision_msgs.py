"""The messages of vision_msgs themselves, where the package is installed: the same as `detections_json` says."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
pytest.importorskip("vision_msgs", reason="needs vision_msgs, of a ROS 2 installation")

from builtin_interfaces.msg import Time
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from support.processes import Process, Ros
from vision_msgs import msg as vision_msgs

from perf_inference.demo.scenes import Item, Scene, render
from perf_inference.nodes.images.converter import from_bgr
from perf_inference.nodes.vision.detections import (
    classification_message,
    detections_dict,
    detections_message,
    label_info_message,
)
from perf_inference.tasks.vision.found import Found

SCENE = Scene((Item("circle", "red", 200, 240, 48.0), Item("square", "blue", 460, 250, 37.0)), seed=5)
HEADER = Header(stamp=Time(sec=7, nanosec=8), frame_id="camera")
NUMBERS = np.array([1, 0]), np.array([0.9, 0.8], np.float32)


def as_said(array: object) -> list[dict[str, object]]:
    """Return the detections of a message with the names and nesting of the JSON."""
    return [
        {
            "results": [{"hypothesis": {"class_id": r.hypothesis.class_id, "score": r.hypothesis.score}}
                        for r in one.results],
            "bbox": {
                "center": {"position": {"x": one.bbox.center.position.x, "y": one.bbox.center.position.y},
                           "theta": one.bbox.center.theta},
                "size_x": one.bbox.size_x,
                "size_y": one.bbox.size_y,
            },
            "id": one.id,
        }
        for one in array.detections  # type: ignore[attr-defined]
    ]  # fmt: skip


@pytest.mark.parametrize("by_index", [False, True])
def test_boxes_are_as_the_json_says(by_index: bool) -> None:
    boxes = np.array([[50, 60, 40, 20, 0.3], [1, 2, 3, 4, -0.2]], np.float32)
    for kind, geometry in (("obb", boxes), ("detect", boxes[:, :4]), ("pose", boxes[:, :4])):
        found = Found(kind, 640, 480, ("a", "b"), *NUMBERS, geometry)
        message = detections_message(HEADER, found, by_index)
        said = detections_dict(HEADER, found, by_index)["detections"]
        assert as_said(message) == [{key: one[key] for key in ("results", "bbox", "id")} for one in said]
        assert message.header == HEADER
        assert all(one.header == HEADER for one in message.detections)


def test_a_class_has_its_name_or_its_number() -> None:
    found = Found("classify", 640, 480, ("a", "b"), *NUMBERS, np.zeros((2, 0), np.float32))
    for by_index, names in ((False, ["b", "a"]), (True, ["1", "0"])):
        message = classification_message(HEADER, found, by_index)
        assert [one.class_id for one in message.results] == names
        assert [one.score for one in message.results] == pytest.approx([0.9, 0.8])
        assert message.header == HEADER
    labels = label_info_message(HEADER, ("a", "b"))
    assert [(one.class_id, one.class_name) for one in labels.class_map] == [(0, "a"), (1, "b")]


def test_the_node_publishes_both_and_the_labels_for_who_comes_late(
    ros: Ros, start_node: Callable[..., Process]
) -> None:
    image = from_bgr(render(SCENE), Header(frame_id="camera"))
    publisher = ros.node.create_publisher(Image, "image", qos_profile_sensor_data)

    def send() -> None:
        image.header.stamp = ros.node.get_clock().now().to_msg()
        publisher.publish(image)

    ros.node.create_timer(0.1, send)
    said, arrays = ros.collect(String, "detections_json"), ros.collect(vision_msgs.Detection2DArray, "detections")
    classes = ros.collect(vision_msgs.Classification, "classification")
    node = start_node("yolo_node", "-p", "class_agnostic:=true")
    assert ros.spin_until(lambda: len(said) > 5 and len(arrays) > 5, 30), node.output()
    by_stamp = {(one["header"]["stamp"]["sec"], one["header"]["stamp"]["nanosec"]): one for one in
                (json.loads(message.data) for message in said)}  # fmt: skip
    both = [(array, by_stamp[stamp]) for array in arrays
            if (stamp := (array.header.stamp.sec, array.header.stamp.nanosec)) in by_stamp]  # fmt: skip
    assert len(both) > 3
    for array, json_ in both:
        assert array.header.frame_id == "camera"
        assert as_said(array) == [{key: one[key] for key in ("results", "bbox", "id")} for one in json_["detections"]]
    assert sorted(one.results[0].hypothesis.class_id for one in arrays[-1].detections) == ["blue square", "red circle"]
    kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    labels = ros.collect(vision_msgs.LabelInfo, "label_info", kept)
    assert ros.spin_until(lambda: labels, 20)
    assert {one.class_name for one in labels[-1].class_map} >= {"blue square", "red circle"}
    assert not classes
