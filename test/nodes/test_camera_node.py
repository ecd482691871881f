"""camera_node: a video file and an address as cameras; stamps, formats, passwords, and what is gone and comes back."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from support.camera_server import CameraServer, image_of, number_in
from support.processes import Process, Ros

from perf_inference.nodes.images.converter import to_bgr
from perf_inference.nodes.monitor.watched_node import WatchedNode
from perf_inference.nodes.monitor_node import MonitorParameters
from perf_inference.nodes.reports.messages import from_key_values, level, stamp_ns
from perf_inference.nodes.reports.reporter import STATUS_QOS

Start = Callable[..., Process]
CALIBRATION = {
    "image_width": 128, "image_height": 128, "camera_name": "front", "distortion_model": "plumb_bob",
    "camera_matrix": {"rows": 3, "cols": 3, "data": [500.0, 0, 320, 0, 510, 240, 0, 0, 1]},
    "distortion_coefficients": {"rows": 1, "cols": 5, "data": [0.1, -0.2, 0.001, 0.002, 0]},
}  # fmt: skip


def _values(status: DiagnosticStatus) -> dict[str, Any]:
    return from_key_values(status.values)


def _stamps(messages: list[Any]) -> list[int]:
    return [stamp_ns(message.header.stamp) or 0 for message in messages]


def test_a_video_file_is_a_camera_that_may_go_and_come_back(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    video, away, calibration = tmp_path / "drive.avi", tmp_path / "away", tmp_path / "front.yaml"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 20, (128, 128))
    for number in range(8):
        writer.write(image_of(number))
    writer.release()
    calibration.write_text(yaml.safe_dump(CALIBRATION))
    came: list[tuple[Image, int]] = []
    keep = lambda message: came.append((message, ros.node.get_clock().now().nanoseconds))  # noqa: E731
    ros.node.create_subscription(Image, "front/image_raw", keep, qos_profile_sensor_data)
    compressed = ros.collect(CompressedImage, "front/image_raw/compressed", qos_profile_sensor_data)
    infos = ros.collect(CameraInfo, "front/camera_info", qos_profile_sensor_data)
    beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    node = start_node(
        "camera_node", "-r", "image:=front/image_raw", "-p", f"source:={video}", "-p", f"calibration:={calibration}",
        "-p", "frame_id:=front", "-p", "reconnect_max_s:=0.5",
    )  # fmt: skip
    alike = lambda: set(_stamps([m for m, _ in came])) & set(_stamps(compressed)) & set(_stamps(infos))  # noqa: E731
    assert ros.spin_until(lambda: len(alike()) > 8), node.output()
    images = [message for message, _ in came]
    first = images[0]
    assert (first.header.frame_id, first.encoding, first.width, first.height) == ("front", "bgr8", 128, 128)
    stamps = _stamps(images)
    assert all(earlier < later for earlier, later in pairwise(stamps))
    assert all(stamp < now for stamp, (_, now) in zip(stamps, came, strict=True)), "taken before it came"
    numbers = [number_in(to_bgr(message)) for message in images]
    assert set(numbers) <= set(range(8))
    both = dict(zip(_stamps(compressed), compressed, strict=True))
    for raw, packed in [(message, both[s]) for message, s in zip(images, stamps, strict=True) if s in both]:
        assert float(np.abs(to_bgr(raw).astype(int) - to_bgr(packed)).mean()) < 3
    assert (list(infos[0].k), infos[0].distortion_model) == (CALIBRATION["camera_matrix"]["data"], "plumb_bob")  # type: ignore[index]
    assert (infos[0].header.frame_id, list(infos[0].p)[3]) == ("front", 0.0)
    assert ros.spin_until(lambda: beats and _values(beats[-1]).get("state") == "running")
    said = _values(beats[-1])
    assert said["format"] == "MJPG 128x128 at 20 Hz by FFMPEG"
    assert (said["driver"], said["pixel_format"], said["fps"]) == ("FFMPEG", "MJPG", 20.0)

    video.rename(away)
    assert ros.spin_until(lambda: "lost for" in beats[-1].message), node.output()
    assert level(beats[-1]) == DiagnosticStatus.WARN
    watched = WatchedNode("camera_node", MonitorParameters().of_nodes())
    watched.heard(beats[-1], 1.0)
    parts = {status.name.rpartition("/")[2]: status for status in watched.statuses(1.0)}
    assert level(parts["camera"]) == DiagnosticStatus.WARN
    assert "drive.avi" in parts["camera"].message
    assert _values(parts["camera"])["residual"] == 0
    had = len(came)
    away.rename(video)
    assert ros.spin_until(lambda: len(came) > had and _values(beats[-1])["reconnects"] == 1), node.output()
    node.wait_for("reconnected once")
    assert "was removed; it is tried again" in node.output() or "is not there; it is tried again" in node.output()


def test_an_address_with_a_password_is_never_printed_and_its_server_may_go(
    ros: Ros, start_node: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    server = CameraServer()
    url = server.url.replace("http://", "http://operator:hunter2@")
    images = ros.collect(Image, "image")  # a reliable reader
    beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    node = start_node("camera_node", "-p", f"source:={url}", "-p", "reconnect_max_s:=0.5", "-p", "fps:=20.0")
    assert ros.spin_until(lambda: len(images) > 20), node.output()
    server.close()
    assert ros.spin_until(lambda: beats and "lost for" in beats[-1].message and _values(beats[-1])["failed_opens"] > 0)
    server.open()
    had = len(images)
    assert ros.spin_until(lambda: len(images) > had + 20 and _values(beats[-1])["reconnects"] == 1)
    made = [number_in(to_bgr(message)) for message in images]
    stamps = _stamps(images)
    assert all(earlier < later for earlier, later in pairwise(stamps))
    assert all(earlier < later for earlier, later in pairwise(made))
    after_ms = sorted((stamp - number) / 1e6 for stamp, number in zip(stamps, made, strict=True))
    assert after_ms[0] > 0, "no stamp lies before its image was made"
    assert node.stop() == 0
    server.close()
    said = node.output() + "".join(str(beat) for beat in beats)
    assert "hunter2" not in said
    assert "operator" not in said
    assert re.search(r"http://\*\*\*@127.0.0.1:\d+/stream.mjpg \(address\) is published on /image", said), said
    assert "every node in the domain can read this parameter" in said
    with capsys.disabled():
        print(f"\nfrom made to the stamp, of {len(after_ms)}: median {after_ms[len(after_ms) // 2]:.2f} ms, "
              f"at most {after_ms[-1]:.1f} ms")  # fmt: skip
