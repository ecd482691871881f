"""A node that waits for its input says so, with what it could read instead."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from geometry_msgs.msg import WrenchStamped
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from support.processes import Ros

from perf_inference.measure.ledger import Ledger
from perf_inference.nodes.engine import waiting
from perf_inference.nodes.engine.waiting import WaitingInputs
from perf_inference.nodes.ros.subscription import Input


class Waiter:
    """The inputs of the test's own node, on a clock that the test holds, and what was logged of them."""

    def __init__(self, ros: Ros, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ros, self.now_s, self.lines = ros, 100.0, list[str]()
        monkeypatch.setattr(waiting, "CLOCKS", SimpleNamespace(monotonic_ns=lambda: round(self.now_s * 1e9)))
        log = SimpleNamespace(warning=self.lines.append)
        monkeypatch.setattr(ros.node, "get_logger", lambda: log)
        self._waiting, self.inputs = WaitingInputs(ros.node), dict[str, Input]()

    def listen(self, name: str, kind: Any, topic: str) -> Input:
        self.inputs[name] = Input(self.ros.node, kind, topic, lambda arrival: None, Ledger())
        self._waiting.look(self.inputs)
        return self.inputs[name]

    def after(self, seconds: float) -> list[str]:
        """Return what is logged when it is looked after so much more time."""
        self.now_s += seconds
        self.lines.clear()
        self._waiting.look(self.inputs)
        return list(self.lines)


@pytest.fixture
def waiter(ros: Ros, monkeypatch: pytest.MonkeyPatch) -> Waiter:
    return Waiter(ros, monkeypatch)


@pytest.fixture
def camera(domain: int) -> Any:
    """Another process' node, as far as the graph is concerned."""
    other = Ros()
    yield other.node
    other.close()


def seen(ros: Ros, topic: str) -> None:
    assert ros.spin_until(lambda: ros.node.count_publishers(topic))


def test_what_is_published_nearby_is_named_with_the_remapping(ros: Ros, waiter: Waiter, camera: Any) -> None:
    camera.create_publisher(Image, "/camera/image_raw", 1)
    camera.create_publisher(String, "/chatter", 1)
    waiter.listen("image", Image, "image")
    seen(ros, "/camera/image_raw")
    seen(ros, "/chatter")
    assert waiter.after(4.9) == []
    assert waiter.after(0.2) == [
        "no message on /image for 5 s: an Image is published on /camera/image_raw; remap image:=/camera/image_raw"
    ]
    assert waiter.after(20) == []
    assert len(waiter.after(11)) == 1  # again, but not at each heartbeat


def test_topics_that_nobody_reads_come_first(ros: Ros, waiter: Waiter, camera: Any) -> None:
    for name in ("a", "b", "c", "d"):
        camera.create_publisher(Image, f"/{name}/image", 1)
    camera.create_subscription(Image, "/a/image", lambda message: None, 1)
    waiter.listen("image", Image, "image")
    for name in ("a", "b", "c", "d"):
        seen(ros, f"/{name}/image")
    assert ros.spin_until(lambda: ros.node.count_subscribers("/a/image"))
    (said,) = waiter.after(6)
    assert said.endswith("published on /b/image, /c/image, /d/image and 1 more; remap image:=/b/image")


def test_a_compressed_camera_is_named_with_the_parameter(ros: Ros, waiter: Waiter, camera: Any) -> None:
    camera.create_publisher(CompressedImage, "/camera/image/compressed", 1)
    waiter.listen("front", Image, "front/image")
    seen(ros, "/camera/image/compressed")
    (said,) = waiter.after(6)
    assert said.endswith("set image_transport: compressed and remap front/image:=/camera/image")


def test_nothing_of_the_kind_names_the_domain(waiter: Waiter, domain: int) -> None:
    waiter.listen("force", WrenchStamped, "force")
    (said,) = waiter.after(6)
    kind = "geometry_msgs/msg/WrenchStamped"
    assert said == f"no message on /force for 6 s: nothing in ROS domain {domain} publishes a WrenchStamped ({kind})"


def test_a_publisher_that_sends_nothing_or_something_else(ros: Ros, waiter: Waiter, camera: Any) -> None:
    publisher = camera.create_publisher(Image, "/image", 1)
    waiter.listen("image", Image, "image")
    assert ros.spin_until(
        lambda: {info.node_name for info in ros.node.get_publishers_info_by_topic("/image")} == {"test"}
    )
    (said,) = waiter.after(6)
    assert "test publishes it, but sends nothing, or its QoS does not fit" in said
    camera.destroy_publisher(publisher)
    camera.create_publisher(String, "/force", 1)
    waiter.inputs.clear()
    waiter.listen("force", WrenchStamped, "force")
    seen(ros, "/force")
    (said,) = waiter.after(6)
    assert said.endswith("what is published on it is std_msgs/msg/String")


def test_a_message_ends_the_waiting(ros: Ros, waiter: Waiter, camera: Any) -> None:
    publisher = camera.create_publisher(Image, "/image", 1)
    source = waiter.listen("image", Image, "image")

    def came() -> bool:
        publisher.publish(Image())
        return source.last_ns is not None

    assert ros.spin_until(came)
    assert waiter.after(0.1) == []
