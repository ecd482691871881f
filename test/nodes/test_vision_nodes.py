"""Detector and captioner over real topics."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger
from support.processes import Process, Ros

from perf_inference.demo.scenes import Item, Scene, render
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.images.converter import from_bgr, to_bgr
from perf_inference.nodes.reports.messages import from_key_values
from perf_inference.nodes.reports.reporter import STATUS_QOS
from perf_inference.nodes.yolo_node import YoloNode
from perf_inference.tasks.vision.annotate import colour_of
from perf_inference.tasks.vision.found import Found

SCENE = Scene(
    (Item("circle", "red", 200, 240, 48.0), Item("square", "blue", 460, 250, 37.0)),
    seed=5,
)


class Camera:
    """Publishes one image at 20 Hz of the test's own spinning, once it is switched on."""

    def __init__(self, ros: Ros) -> None:
        self.ros, self.on = ros, False
        self.message = from_bgr(render(SCENE), Header(frame_id="camera"))
        self.sent = 0
        self._publisher = ros.node.create_publisher(Image, "image", qos_profile_sensor_data)
        self.compressed = CompressedImage(header=self.message.header, format="bgr8; jpeg compressed bgr8")
        self.compressed.data = array("B", cv2.imencode(".jpg", render(SCENE))[1].tobytes())
        self._compressed = ros.node.create_publisher(CompressedImage, "front/compressed", qos_profile_sensor_data)
        self.cut_bytes = 0  # off the end of each serialized image
        self.statuses = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
        ros.node.create_timer(0.05, self._publish)

    def _publish(self) -> None:
        if self.on:
            self.message.header.stamp = self.ros.node.get_clock().now().to_msg()
            cdr = serialize_message(self.message) if self.cut_bytes else b""
            self._publisher.publish(cdr[: -self.cut_bytes] if cdr else self.message)
            self._compressed.publish(self.compressed)
            self.sent += 1

    def values(self) -> dict[str, object]:
        return from_key_values(self.statuses[-1].values) if self.statuses else {}


@pytest.fixture
def camera(ros: Ros) -> Camera:
    return Camera(ros)


def test_detections_name_the_shapes_where_they_are(
    ros: Ros, camera: Camera, start_node: Callable[..., Process]
) -> None:
    messages = ros.collect(String, "detections_json")
    node = start_node("yolo_node")
    camera.on = True
    assert ros.spin_until(lambda: messages, 20), node.output()
    content = json.loads(messages[-1].data)
    assert content["header"]["frame_id"] == "camera"
    assert content["header"]["stamp"]["sec"] > 0
    assert "no model is named: the embedded 'detector' runs" in node.output()
    found = {d["results"][0]["hypothesis"]["class_id"]: d["bbox"] for d in content["detections"]}
    assert set(found) == {"red circle", "blue square"}
    for item in SCENE.items:
        x0, y0, x1, y1 = item.box()
        box = found[item.name]
        assert box["center"]["position"]["x"] == pytest.approx((x0 + x1) / 2, abs=6)
        assert box["center"]["position"]["y"] == pytest.approx((y0 + y1) / 2, abs=6)
        assert box["size_x"] == pytest.approx(x1 - x0, rel=0.15)
        assert box["size_y"] == pytest.approx(y1 - y0, rel=0.15)


def test_the_annotated_image_comes_while_somebody_looks(
    ros: Ros, camera: Camera, start_node: Callable[..., Process]
) -> None:
    start_node("yolo_node")
    camera.on = True
    pictures = ros.collect(Image, "annotated")
    assert ros.spin_until(lambda: pictures, 20)
    drawn = to_bgr(pictures[-1]).astype(int) - to_bgr(camera.message)
    assert np.abs(drawn).max() > 50


def test_a_image_whose_step_does_not_fit_is_counted_and_skipped(
    ros: Ros, camera: Camera, start_node: Callable[..., Process]
) -> None:
    node = start_node("yolo_node")
    messages = ros.collect(String, "detections_json")
    good = camera.message
    camera.message = Image(height=4, width=4, encoding="bgr8", step=5, data=array("B", bytes(48)))
    camera.on = True
    assert ros.spin_until(lambda: camera.values().get("ledger.image.rejected", 0) > 3, 20), node.output()
    assert "image step must be at least 12 bytes for 4 px of bgr8, got 5" in node.output()
    assert not messages
    camera.message = good
    assert ros.spin_until(lambda: messages, 20)
    assert camera.values()["ledger.image.residual"] == 0


def test_a_serialized_image_that_is_cut_off_is_counted_and_skipped(
    ros: Ros, camera: Camera, start_node: Callable[..., Process]
) -> None:
    node = start_node("yolo_node")
    messages = ros.collect(String, "detections_json")
    camera.cut_bytes = 1000
    camera.on = True
    assert ros.spin_until(lambda: camera.values().get("ledger.image.rejected", 0) > 3, 20), node.output()
    assert "a serialized image must have 921600 bytes of data, as it says, got 92" in node.output()
    assert not messages
    camera.cut_bytes = 0
    assert ros.spin_until(lambda: messages, 20)
    assert camera.values()["ledger.image.residual"] == 0


def test_compressed_images_of_a_remapped_camera(ros: Ros, camera: Camera, start_node: Callable[..., Process]) -> None:
    messages = ros.collect(String, "detections_json")
    node = start_node("yolo_node", "-p", "image_transport:=compressed", "-r", "image:=front")
    whole = camera.compressed.data
    camera.compressed.data = whole[: len(whole) // 2]
    camera.on = True
    assert ros.spin_until(lambda: camera.values().get("ledger.image.rejected", 0) > 3, 20), node.output()
    said = f"compressed image of format 'bgr8; jpeg compressed bgr8' is cut off or broken: {len(whole) // 2} bytes"
    assert said in node.output()
    assert not messages
    camera.compressed.data = whole
    assert ros.spin_until(lambda: messages, 20), node.output()
    found = {d["results"][0]["hypothesis"]["class_id"] for d in json.loads(messages[-1].data)["detections"]}
    assert found == {"red circle", "blue square"}
    assert "waits for /front/compressed" in node.output()


@pytest.mark.thorough
def test_a_caption_of_compressed_images(ros: Ros, camera: Camera, start_node: Callable[..., Process]) -> None:
    captions = ros.collect(String, "caption")
    start_node("caption_node", "-p", "rate:=5.0", "-p", "image_transport:=compressed", "-r", "image:=front")
    camera.on = True
    assert ros.spin_until(lambda: len(captions) > 3, 20)
    assert captions[-1].data == "a red circle left of a blue square"


def test_nothing_is_drawn_while_nobody_looks(ros: Ros, domain: int) -> None:
    rclpy.init()
    node = YoloNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while node.state != "active":
            executor.spin_once(timeout_sec=30)
        arrival = Arrival(from_bgr(render(SCENE), Header()), 0, 0)
        boxes = np.array([[10.0, 100.0, 90.0, 180.0]], np.float32)
        result = Found("detect", 640, 480, ("a", "red circle"), np.array([1]), np.array([0.9], np.float32), boxes)
        frame = node._decode(arrival, node._inference.task)
        node._publish(result, frame, arrival)
        assert len(node.results._canvas.message.data) == 0
        pictures = ros.collect(Image, "annotated")
        assert ros.spin_until(
            lambda: ros.node.count_publishers("annotated") and node.results.annotated.get_subscription_count()
        )
        node._publish(result, frame, arrival)
        assert ros.spin_until(lambda: pictures)
        assert to_bgr(pictures[0])[180, 50].tolist() == list(colour_of(1))
        assert to_bgr(arrival.message)[180, 50].tolist() != list(colour_of(1))
        for old in list(ros.node.subscriptions):
            ros.node.destroy_subscription(old)
        assert ros.spin_until(lambda: not node.results.annotated.get_subscription_count())
        node.results._canvas.message.data = array("B")
        node._publish(result, frame, arrival)
        assert len(node.results._canvas.message.data) == 0
    finally:
        node.finish()
        node.destroy_node()
        rclpy.try_shutdown()


def test_a_caption_comes_when_it_is_asked_for(ros: Ros, camera: Camera, start_node: Callable[..., Process]) -> None:
    captions = ros.collect(String, "caption")
    node = start_node("caption_node", "-p", "rate:=0.0")
    answer = ros.call(Trigger, "caption_node/caption", Trigger.Request(), 20)
    assert not answer.success
    assert "no image has come on /image yet" in answer.message
    camera.on = True
    assert ros.spin_until(lambda: camera.values().get("ledger.image.received", 0) > 0, 20), node.output()
    answer = ros.call(Trigger, "caption_node/caption", Trigger.Request())
    assert answer.success, answer.message
    assert answer.message == "a red circle left of a blue square"
    assert ros.spin_until(lambda: captions)
    assert captions[-1].data == answer.message
    assert node.stop() == 0


def test_captions_come_at_their_rate(ros: Ros, camera: Camera, start_node: Callable[..., Process]) -> None:
    captions = ros.collect(String, "caption")
    start_node("caption_node", "-p", "rate:=5.0")
    camera.on = True
    assert ros.spin_until(lambda: len(captions) > 10, 20)
    assert {caption.data for caption in captions} == {"a red circle left of a blue square"}
    assert camera.values()["ledger.tick.residual"] == camera.values()["ledger.image.residual"] == 0

    def set_rate(rate_hz: float) -> bool:
        wanted = [Parameter("rate", value=rate_hz).to_parameter_msg()]
        answer = ros.call(SetParameters, "caption_node/set_parameters", SetParameters.Request(parameters=wanted))
        return bool(answer.results[0].successful)

    assert set_rate(0.0)  # from now on only when it is asked for
    assert ros.spin_until(lambda: camera.values()["expected_hz"] is None)
    before = len(captions)
    assert ros.call(Trigger, "caption_node/caption", Trigger.Request()).success
    assert ros.spin_until(lambda: len(captions) > before)
    assert set_rate(10.0)
    before = len(captions)
    assert ros.spin_until(lambda: camera.values()["expected_hz"] == 10 and len(captions) > before + 10)
    assert not set_rate(-1.0)
