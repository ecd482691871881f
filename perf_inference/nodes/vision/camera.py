"""What yolo_node has for each of its cameras: an input, the objects that it follows, and topics of its own."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.images.converter import Converter
from perf_inference.nodes.vision.parameters import YoloParameters
from perf_inference.nodes.vision.results import Results
from perf_inference.pipeline import Frame
from perf_inference.tasks.vision.found import Found
from perf_inference.tasks.vision.tracking import ByteTracker


class Camera:
    """One camera; the only one has an empty name, and its topics have none before them."""

    def __init__(self, node: Node, p: YoloParameters, name: str) -> None:
        self.name = name or "image"
        """Of its input."""
        self.prefix = f"{name}/" if name else ""
        self.results = Results(node, p.class_id == "index", self.prefix)
        self.tracker = ByteTracker(p.confidence, p.track_lost_s) if p.tracker == "bytetrack" else None
        self._converter = Converter(p.image_bits, node.get_logger().warning)

    def decoded(self, arrival: Arrival) -> Frame:
        """Return the image of a message; it is valid until the one after the next.

        Raises:
            InputError: it cannot be read.
        """
        return Frame(self._converter.bgr(arrival.message), arrival.stamp_ns)

    def publish(self, found: Found, frame: Frame, arrival: Arrival) -> None:
        """Publish what was found in an image, with the numbers of what is followed."""
        more: dict[str, Any] = {}
        if self.tracker is not None and found.kind != "classify":
            found = self.tracker.update(found, frame.stamp_ns or arrival.received_ns)
            more = {"tracks_lost": self.tracker.lost, "tracks_found": self.tracker.found}
        self.results.publish(arrival.message, frame.data, found, more)
