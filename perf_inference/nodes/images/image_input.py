"""The input `image` of a node, raw or compressed."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from perf_inference.errors import InputError
from perf_inference.measure.ledger import Ledger
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.images.raw_image import read_image
from perf_inference.nodes.ros.subscription import Input

TRANSPORTS = ("raw", "compressed")


def image_input(
    node: Node,
    transport: str,
    arrive: Callable[[Arrival], None],
    unreadable: Callable[[InputError], None],
    ledger: Ledger,
    expected_hz: float = 0.0,
    topic: str = "image",
) -> Input:
    """Subscribe to `image`, or to what image_transport's publishers call its compressed topic: `image/compressed`.

    As there, it is `image` that is remapped: `image:=/front/image_raw` reads /front/image_raw/compressed.
    """
    if transport == "raw":
        return Input(
            node, Image, topic, arrive, ledger, expected_hz=expected_hz, read=read_image, unreadable=unreadable
        )
    made = Input(
        node, CompressedImage, node.resolve_topic_name(topic) + "/compressed", arrive, ledger, expected_hz=expected_hz
    )
    made.asked_for = topic
    return made
