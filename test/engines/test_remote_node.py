"""A node whose model a server runs goes on while the server is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
if not (find_spec("mlserver") and find_spec("tritonclient")):
    pytest.skip("needs mlserver and tritonclient", allow_module_level=True)

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from support.inference_server import MLServer
from support.processes import Process, Ros

from perf_inference.demo.scenes import Item, Scene, render
from perf_inference.nodes.images.converter import from_bgr
from perf_inference.nodes.reports.messages import from_key_values
from perf_inference.nodes.reports.reporter import STATUS_QOS


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MLServer]:
    started = MLServer(tmp_path)
    started.start()
    yield started
    started.stop()


@pytest.mark.parametrize("protocol", ["http", pytest.param("grpc", marks=pytest.mark.long)])
def test_the_server_is_killed_and_restarted_under_a_node(
    ros: Ros, start_node: Callable[..., Process], server: MLServer, protocol: str
) -> None:
    image = from_bgr(render(Scene((Item("circle", "red", 200, 240, 48.0),), seed=5)), Header(frame_id="camera"))
    publisher = ros.node.create_publisher(Image, "image", qos_profile_sensor_data)
    ros.node.create_timer(0.05, lambda: publisher.publish(image))
    statuses = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    detections = ros.collect(String, "detections_json")

    def values() -> dict[str, object]:
        return from_key_values(statuses[-1].values) if statuses else {}

    def told(text: str) -> bool:
        return bool(statuses) and text in statuses[-1].message

    node = start_node("yolo_node", "-p", f"model:={server.url(protocol, 'detector')}")
    assert ros.spin_until(lambda: detections, 20), node.output()
    assert "red circle" in detections[-1].data
    assert ros.spin_until(lambda: values().get("runtime") == "remote")

    server.stop()
    assert ros.spin_until(lambda: told("failed: ") and told("Connection refused"), 20), statuses[-1].message
    assert ros.spin_until(lambda: values()["ledger.image.failed"] > 10, 20)
    assert node.alive

    server.start()
    before = len(detections)
    assert ros.spin_until(lambda: len(detections) > before + 10, 20), node.output()
    assert "red circle" in detections[-1].data
    assert ros.spin_until(lambda: told("running"), 20), statuses[-1].message
    assert values()["ledger.image.residual"] == 0
