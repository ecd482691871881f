"""A node that ends in order is gone at once: for the others in the graph, and from shared memory."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from support.onnx_models import slow_detector
from support.processes import Process, Ros

from perf_inference.bringup.shared_memory import SHM, own_segments
from perf_inference.nodes.reports.messages import from_key_values
from perf_inference.nodes.reports.reporter import STATUS_QOS

PRODUCTS = 300  # of matrices: an inference of a second or more
LEASE_S = 20  # after which Fast DDS believes that a participant without a word has gone


@pytest.mark.parametrize("name", ["yolo_node", "caption_node", "policy_node", "recorder_node"])
def test_it_leaves_the_graph_and_no_memory(
    ros: Ros, start_node: Callable[..., Process], name: str, tmp_path: object
) -> None:
    more = ("-p", f"output_dir:={tmp_path}") if name == "recorder_node" else ()
    node = start_node(name, *more)
    ros.wait_until_active(name)
    segments = [SHM / segment.name for segment in own_segments(node.pid)]
    assert segments or any(SHM.glob("fastrtps_*"))  # Fast DDS 2 (Jazzy, Humble) has other names
    assert all(segment.exists() for segment in segments)
    node.send(signal.SIGINT)
    assert node.wait(20) == 0, node.output()
    assert ros.spin_until(lambda: name not in ros.node.get_node_names(), LEASE_S / 4)
    assert not [segment for segment in segments if segment.exists()]


@pytest.mark.parametrize("cameras", ["[]", "[front]"])  # whoever reads an image works on it; a worker does
def test_it_leaves_the_graph_in_the_middle_of_an_inference(
    ros: Ros, start_node: Callable[..., Process], tmp_path: Path, cameras: str
) -> None:
    model = slow_detector(tmp_path / "slow.onnx", 640, PRODUCTS)
    node = start_node("yolo_node", "-p", f"model:={model}", "-p", "threads:=1", "-p", f"cameras:={cameras}")
    ros.wait_until_active("yolo_node")
    topic = "image" if cameras == "[]" else "front/image"
    images = ros.node.create_publisher(Image, topic, qos_profile_sensor_data)
    assert ros.spin_until(lambda: images.get_subscription_count() == 1, 20), node.output()
    image = Image(height=64, width=64, encoding="bgr8", step=192)
    image.data.frombytes(bytes(64 * 192))
    beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    assert ros.spin_until(lambda: beats, 20)
    images.publish(image)
    in_work = f"ledger.{topic.partition('/')[0]}.in_work"
    assert ros.spin_until(lambda: from_key_values(beats[-1].values).get(in_work) == 1, 20), node.output()
    node.send(signal.SIGINT)
    assert node.wait(20) == 0, node.output()
    assert "it is left behind" in node.output(), "the inference was too short for this test"
    assert ros.spin_until(lambda: "yolo_node" not in ros.node.get_node_names(), LEASE_S / 4)


def test_it_ends_in_order_where_nothing_takes_what_it_prints(domain: int) -> None:
    script = "exec 2>&- >&-; exec $0 -c 'from perf_inference.nodes.ros import runner; runner.leave(0)'"
    assert subprocess.run(["sh", "-c", script, sys.executable], check=False, timeout=60).returncode == 0
