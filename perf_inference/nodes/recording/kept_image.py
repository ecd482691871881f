"""One annotated image of a run, kept beside its recording: what the camera saw, and what was found in it.

The topic is subscribed to until its first image has come, and no longer: `annotated` is drawn while somebody listens.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from perf_inference.errors import InputError
from perf_inference.files.private import replace_file
from perf_inference.nodes.ros.raw_input import RawInput

NAME, TYPE = "annotated", "sensor_msgs/msg/Image"
_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_WIDEST_PX = 960
_TRIES = 10


class KeptImage:
    """Finds the image and has it written; used on the ROS thread, but for `_write`."""

    def __init__(
        self,
        node: Node,
        path: Path,
        excluded: Callable[[str], bool],
        call: Callable[..., bool],
        problem: Callable[[], str],
    ) -> None:
        """Look for it.

        Args:
            path: of the JPEG; where it is there, nothing is looked for.
            excluded: whether a topic is none of the recording's.
            call: runs a function with arguments on the writer's thread; False: it cannot now.
            problem: why the disk is to be left alone; empty: it is not.
        """
        self._node, self._path, self._excluded, self._call, self._problem = node, path, excluded, call, problem
        self._source: RawInput | None = None
        self._tries = 0 if path.exists() else _TRIES
        self._writing = False

    def look(self) -> None:
        """Look at the graph once."""
        if not self._tries or self._source is not None or self._writing or self._problem():
            return
        prefix = self._node.get_namespace().rstrip("/") + "/"
        for name, types in sorted(self._node.get_topic_names_and_types()):
            ours = name.startswith(prefix) and name.rpartition("/")[2] == NAME and not self._excluded(name)
            if ours and types == [TYPE] and self._node.count_publishers(name):
                self._source = RawInput(self._node, Image, name, _QOS)
                return

    def take(self) -> None:
        """Have the image written once it has come."""
        if self._source is None:
            return
        for message in self._source.take():
            self._tries -= 1
            self.close()
            self._writing = True  # until `_write` is done, which may be at once
            if not self._call(self._write, message.data):
                self._writing = False
            return

    def close(self) -> None:
        """Unsubscribe."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def _write(self, cdr: bytes) -> None:
        """Write the JPEG, or leave it to the next image; on the writer's thread."""
        from perf_inference.nodes.images.converter import to_bgr  # OpenCV, which a recorder has no other use for
        from perf_inference.nodes.images.jpeg import jpeg_of
        from perf_inference.nodes.images.raw_image import read_image

        try:
            message: Any = read_image(cdr)
            replace_file(self._path, jpeg_of(to_bgr(message), _WIDEST_PX))
            self._tries = 0
        except InputError:
            return
        finally:
            self._writing = False
