"""The input `image` of a node, raw or compressed."""

from __future__ import annotations

import copy
from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from perf_inference.errors import InputError
from perf_inference.measure.ledger import Ledger
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.images.raw_image import read_image
from perf_inference.nodes.images.reliability import AUTO, RELIABLE, Reliability
from perf_inference.nodes.ros.reader_thread import Work
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
    reliability: str = AUTO,
    own_thread: bool | Work = False,
) -> Input:
    """Subscribe to `image`, or to what image_transport's publishers call its compressed topic: `image/compressed`.

    As there, it is `image` that is remapped: `image:=/front/image_raw` reads /front/image_raw/compressed.
    """
    qos = copy.copy(qos_profile_sensor_data)
    if reliability == RELIABLE:
        qos.reliability = ReliabilityPolicy.RELIABLE
    if transport == "raw":
        made = Input(node, Image, topic, arrive, ledger, qos, expected_hz, read_image, unreadable, own_thread)
    else:
        compressed = node.resolve_topic_name(topic) + "/compressed"
        made = Input(node, CompressedImage, compressed, arrive, ledger, qos, expected_hz, own_thread=own_thread)
        made.asked_for = topic
    Reliability(node, made, reliability).watch()
    return made
