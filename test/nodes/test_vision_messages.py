"""What was found as messages, and what of it may be changed while the node runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from builtin_interfaces.msg import Time
from onnx import TensorProto, helper
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header, String
from support.onnx_models import save
from support.processes import Process, Ros

from perf_inference.demo.scenes import Item, Scene, render
from perf_inference.nodes.images.converter import from_bgr
from perf_inference.nodes.vision.detections import detected_names, detections_dict
from perf_inference.nodes.vision.pixels import keypoints_message, mask_messages
from perf_inference.tasks.vision.found import Found, Mask

SCENE = Scene((Item("circle", "red", 200, 240, 48.0), Item("square", "blue", 460, 250, 37.0)), seed=5)
HEADER = Header(stamp=Time(sec=7, nanosec=8), frame_id="camera")
NUMBERS = np.array([1, 0]), np.array([0.9, 0.8], np.float32)


def test_an_oriented_box_turns_the_other_way_in_vision_msgs() -> None:
    # vision_msgs: theta counts counter-clockwise as one looks at the image; in JSON from x towards y, which is down
    boxes = np.array([[50, 60, 40, 20, 0.3], [1, 2, 3, 4, -0.2]], np.float32)
    said = detections_dict(HEADER, Found("obb", 640, 480, ("a", "b"), *NUMBERS, boxes))
    box = said["detections"][0]["bbox"]
    assert (box["size_x"], box["size_y"], box["center"]["position"]) == (40, 20, {"x": 50, "y": 60})
    assert box["center"]["theta"] == pytest.approx(-0.3)
    assert said["instances"][0]["xywhr"][4] == pytest.approx(0.3)
    assert said["header"] == {"stamp": {"sec": 7, "nanosec": 8}, "frame_id": "camera"}
    assert detected_names(json.dumps(said)) == ("a", "b")
    by_number = detections_dict(HEADER, Found("obb", 640, 480, ("a", "b"), *NUMBERS, boxes), by_index=True)
    assert by_number["detections"][0]["results"][0]["hypothesis"]["class_id"] == "1"


def test_a_classifier_has_no_boxes() -> None:
    found = Found("classify", 640, 480, ("a", "b"), *NUMBERS, np.zeros((2, 0), np.float32))
    said = detections_dict(HEADER, found)
    assert said["detections"] == []
    assert [one["class_name"] for one in said["instances"]] == ["b", "a"]


def test_masks_are_two_images() -> None:
    masks = (Mask(1, 0, np.ones((2, 2), np.bool_)), Mask(2, 1, np.ones((2, 2), np.bool_)))
    found = Found("segment", 5, 4, ("a", "b"), *NUMBERS, np.zeros((2, 4), np.float32), masks=masks)
    kinds, which = mask_messages(HEADER, found)
    assert (kinds.encoding, which.encoding, kinds.step, which.step) == ("mono8", "mono16", 5, 10)
    assert kinds.header == which.header == HEADER
    numbers = np.frombuffer(which.data, np.uint16).reshape(4, 5)
    assert numbers.tolist() == [[0, 1, 1, 0, 0], [0, 1, 1, 2, 0], [0, 0, 2, 2, 0], [0, 0, 0, 0, 0]]
    classes = np.frombuffer(kinds.data, np.uint8).reshape(4, 5)
    assert classes[numbers == 1].tolist() == [1] * 4  # the better one has the pixel where they overlap
    assert (classes[numbers == 0] == 255).all()


def test_keypoints_are_an_organised_cloud() -> None:
    points = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    found = Found("pose", 5, 4, ("a", "b"), *NUMBERS, np.zeros((2, 4), np.float32), keypoints=points)
    cloud = keypoints_message(HEADER, found)
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (2, 2, 16, 32)
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "confidence"]
    values = np.frombuffer(cloud.data, np.float32).reshape(2, 2, 4)
    assert np.array_equal(values[..., [0, 1, 3]], points)


@pytest.fixture
def camera(ros: Ros) -> Image:
    message = from_bgr(render(SCENE), Header(frame_id="camera"))
    publisher = ros.node.create_publisher(Image, "image", qos_profile_sensor_data)
    ros.node.create_timer(0.1, lambda: publisher.publish(message))
    return message


def test_limits_change_while_the_node_runs(ros: Ros, camera: Image, start_node: Callable[..., Process]) -> None:
    messages = ros.collect(String, "detections_json")
    node = start_node("yolo_node", "-p", "class_agnostic:=true")

    def names() -> tuple[str, ...]:
        return detected_names(messages[-1].data) if messages else ()

    def set_(**values: object) -> tuple[bool, str]:
        wanted = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        answer = ros.call(SetParameters, "yolo_node/set_parameters", SetParameters.Request(parameters=wanted))
        return all(one.successful for one in answer.results), "".join(one.reason for one in answer.results)

    assert ros.spin_until(lambda: names() == ("blue square", "red circle"), 30), node.output()
    assert set_(classes=["red circle"]) == (True, "")
    assert ros.spin_until(lambda: names() == ("red circle",), 30)
    assert set_(classes=["no such thing"])[0] is False
    assert set_(iou=0.6) == (True, "")
    assert set_(iou=1.5)[0] is False
    assert set_(roi=[0, 0, 0, 5])[1].startswith("roi must be [x, y, width, height]")
    assert set_(classes=["blue square", "red circle"], roi=[320, 0, 320, 480]) == (True, "")
    assert ros.spin_until(lambda: names() == ("blue square",), 30)
    (one,) = json.loads(messages[-1].data)["instances"]
    assert one["xyxy"] == pytest.approx(SCENE.items[1].box(), abs=10)  # in px of the whole image
    assert set_(roi=[0, 0, 0, 0], confidence=1.0) == (True, "")
    assert ros.spin_until(lambda: names() == (), 30)


def test_a_pose_model_publishes_keypoints(
    ros: Ros, camera: Image, start_node: Callable[..., Process], tmp_path: Path
) -> None:
    rows = np.zeros((1, 300, 12), np.float32)
    rows[0, 0] = [16, 20, 32, 40, 0.9, 0, 20, 30, 0.8, 24, 36, 0.7]
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
             helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
             helper.make_node("Add", ["rows", "nothing"], ["output0"])]  # fmt: skip
    model = save(tmp_path / "pose.onnx", nodes, [value("images", TensorProto.FLOAT, [1, 3, 64, 64])],
                 [value("output0", TensorProto.FLOAT, [1, 300, 12])], {"rows": rows, "zero": np.float32(0)},
                 {"task": "pose", "names": "{0: 'hand'}", "kpt_shape": "[2, 3]", "end2end": "True"})  # fmt: skip
    clouds = ros.collect(PointCloud2, "keypoints")
    node = start_node("yolo_node", "-p", f"model:={model}")
    assert ros.spin_until(lambda: clouds, 30), node.output()
    values = np.frombuffer(clouds[-1].data, np.float32).reshape(1, 2, 4)
    # 640x480 in 64x64: a tenth, 8 px of bars above
    assert values[0].tolist() == [pytest.approx([200, 220, 0, 0.8]), pytest.approx([240, 280, 0, 0.7])]
    assert clouds[-1].header.frame_id == "camera"


def test_a_tracker_gives_numbers(ros: Ros, camera: Image, start_node: Callable[..., Process]) -> None:
    messages = ros.collect(String, "detections_json")
    node = start_node("yolo_node", "-p", "class_agnostic:=true", "-p", "tracker:=bytetrack")
    assert ros.spin_until(lambda: len(messages) > 5, 30), node.output()
    said = [json.loads(message.data) for message in messages[2:6]]
    numbers = [{one["class_name"]: one["track_id"] for one in entry["instances"]} for entry in said]
    assert all(entry == numbers[0] for entry in numbers)
    assert sorted(numbers[0].values()) == [1, 2]
    assert {one["id"] for one in said[0]["detections"]} == {"1", "2"}
    assert (said[0]["tracks_lost"], said[0]["tracks_found"]) == (0, 0)
    assert min(one["score"] for one in said[0]["instances"]) > 0.4
