"""The images of a graph for somebody who looks at them: the newest of a topic as JPEG, while it is asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from perf_inference.errors import InputError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.nodes.images.converter import Converter
from perf_inference.nodes.images.jpeg import jpeg_of
from perf_inference.nodes.images.raw_image import read_image
from perf_inference.nodes.reports.messages import stamp_ns

TYPES = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}
_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)  # matches everybody, and nobody waits for it
_WANTED_S = 3.0  # after it was asked for the last time
_WIDEST_PX = 1280


class Jpeg(NamedTuple):
    """An image as it is shown."""

    number: int  # of the message, counted here
    data: bytes
    stamp_ns: int | None
    problem: str  # why there is none


class Feed:
    """One topic; `tick` on the ROS thread, all else on any."""

    def __init__(self, node: Node, topic: str, type_name: str, on_new: Callable[[], None]) -> None:
        """Subscribe to nothing yet; `on_new` is called at each message (ROS thread)."""
        self.topic, self.type_name = topic, type_name
        self._node, self._on_new = node, on_new
        self._subscription: Any = None
        self._wanted_s = float("-inf")
        self._count = 0
        self._newest: tuple[int, bytes] = (0, b"")  # number, CDR; of no message: 0
        self._lock = threading.Lock()
        self._converter = Converter()
        self._shown: Jpeg | None = None
        self._shown_s = float("-inf")

    @property
    def number(self) -> int:
        """The number of the newest message; 0: none has come since the subscription was made."""
        return self._newest[0]

    def want(self) -> None:
        """Keep the subscription, or make one, for some seconds from now on."""
        self._wanted_s = time.monotonic()

    def tick(self) -> None:
        """Subscribe or unsubscribe as is wanted (ROS thread)."""
        wanted = time.monotonic() - self._wanted_s < _WANTED_S
        if wanted and self._subscription is None:
            self._subscription = self._node.create_subscription(
                TYPES[self.type_name], self.topic, self._take, _QOS, raw=True
            )
        elif not wanted and self._subscription is not None:
            self.close()

    def close(self) -> None:
        """Unsubscribe (ROS thread)."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
            self._newest = (0, b"")  # what is shown to the next is not what was, minutes ago

    def due_s(self, period_s: float) -> float:
        """Return how long to wait so that images are made at most once in a period [s]."""
        return max(0.0, self._shown_s + period_s - time.monotonic())

    def jpeg(self) -> Jpeg:
        """Return the newest image; it is made once, whoever else asks for it."""
        with self._lock:
            number, cdr = self._newest
            if self._shown is None or self._shown.number != number:
                self._shown_s = time.monotonic()
                self._shown = self._made(number, cdr)
            return self._shown

    def _take(self, cdr: bytes) -> None:
        self._count += 1
        self._newest = (self._count, cdr)
        self._on_new()

    def _made(self, number: int, cdr: bytes) -> Jpeg:
        if not number:
            return Jpeg(0, b"", None, "no image has come yet")
        try:
            message = self._message(cdr)
            data = jpeg_of(self._converter.bgr(message), _WIDEST_PX)
        except InputError as error:
            return Jpeg(number, b"", None, str(error))
        return Jpeg(number, data, stamp_ns(message.header.stamp) or CLOCKS.system_ns(), "")

    def _message(self, cdr: bytes) -> Any:
        if TYPES[self.type_name] is Image:
            return read_image(cdr)
        try:
            return deserialize_message(cdr, CompressedImage)
        except Exception as error:  # of each middleware's own kind
            raise InputError("these bytes are no serialized compressed image") from error
