"""The one image that a run's directory keeps: the first of `annotated`, and nobody draws for it afterwards."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.processes import Process, Ros

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from sensor_msgs.msg import Image
from std_msgs.msg import Header

from perf_inference.nodes.images.converter import from_bgr
from perf_inference.nodes.recording.kept_image import KeptImage


def image(value: int, width: int = 64) -> Image:
    return from_bgr(np.full((48, width, 3), value, np.uint8), Header())


def run_at_once(work: Callable[..., Any], *arguments: Any) -> bool:
    work(*arguments)
    return True


def keeper(ros: Ros, path: Path, excluded: str = "", problem: str = "") -> KeptImage:
    return KeptImage(ros.node, path, lambda topic: topic == excluded, run_at_once, lambda: problem)


def step(kept: KeptImage) -> None:
    kept.look()
    kept.take()


def test_the_first_image_is_kept_and_no_other_is_asked_for(ros: Ros, tmp_path: Path) -> None:
    path, publisher = tmp_path / "annotated.jpg", ros.node.create_publisher(Image, "front/annotated", 1)
    kept = keeper(ros, path)

    def come() -> bool:
        publisher.publish(image(100, width=1920))
        step(kept)
        return path.exists()

    assert ros.spin_until(come)
    assert ros.spin_until(lambda: publisher.get_subscription_count() == 0)
    before = path.read_bytes()
    for _ in range(3):
        step(kept)
        publisher.publish(image(200))
    assert publisher.get_subscription_count() == 0
    assert path.read_bytes() == before
    shown = cv2.imread(str(path))
    assert shown.shape == (24, 960, 3)
    assert int(shown[10, 10, 0]) == pytest.approx(100, abs=2)


def test_an_image_that_cannot_be_read_is_left_out_for_the_next(ros: Ros, tmp_path: Path) -> None:
    path, publisher = tmp_path / "annotated.jpg", ros.node.create_publisher(Image, "annotated", 1)
    kept, published = keeper(ros, path), 0

    def come() -> bool:
        nonlocal published
        bad = publisher.get_subscription_count() and published < 1
        publisher.publish(Image(height=9, width=9, encoding="nothing", step=9) if bad else image(50))
        published += bool(bad)
        step(kept)
        return path.exists()

    assert ros.spin_until(come)


@pytest.mark.parametrize("why", ["excluded", "disk", "namespace", "type", "there"])
def test_what_is_not_to_be_kept_is_not_asked_for(ros: Ros, tmp_path: Path, why: str) -> None:
    from std_msgs.msg import String

    path = tmp_path / "annotated.jpg"
    if why == "there":
        path.write_bytes(b"of the recorder before")
    publisher = ros.node.create_publisher(String if why == "type" else Image, "annotated", 1)
    known = publisher.topic_name
    kept = keeper(ros, path, known if why == "excluded" else "", "full" if why == "disk" else "")
    if why == "namespace":
        kept._node = _elsewhere(ros)
    assert ros.spin_until(lambda: known in dict(ros.node.get_topic_names_and_types()))
    for _ in range(5):
        step(kept)
    assert publisher.get_subscription_count() == 0
    assert not path.exists() or path.read_bytes() == b"of the recorder before"


def _elsewhere(ros: Ros) -> Any:
    """Return the test's node with another namespace: the graph is the same."""

    class Elsewhere:
        def __getattr__(self, name: str) -> Any:
            return getattr(ros.node, name)

        def get_namespace(self) -> str:
            return "/robot1"

    return Elsewhere()


def test_the_recorder_keeps_it_as_private_as_the_rest(
    ros: Ros, start_node: Callable[..., Process], tmp_path: Path
) -> None:
    publisher = ros.node.create_publisher(Image, "annotated", 1)
    recorder = start_node("recorder_node", "-p", f"output_dir:={tmp_path}", "-p", "start_time:='20260102_030405'")
    path = tmp_path / "run_20260102_030405" / "annotated.jpg"

    def come() -> bool:
        publisher.publish(image(70))
        return path.exists()

    assert ros.spin_until(come), recorder.output()
    assert recorder.stop() == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert cv2.imread(str(path)).shape == (48, 64, 3)
