"""Which topics are recorded."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/PointCloud2")
_SHARED = ("/diagnostics", "/tf", "/tf_static", "/clock")  # what a robot with a namespace has outside of it
_CATCH_ALL = ("all", "*", "/*", "**", "/**")


class Selection:
    """Topics by name or glob pattern; `all` is the namespace but for images, hidden topics and the machinery."""

    def __init__(
        self, topics: Sequence[str], exclude: Sequence[str] = (), namespace: str = "/", only_by_name: Sequence[str] = ()
    ) -> None:
        """Names without a leading slash are within `namespace`; `only_by_name` are no part of `all`."""
        prefix = namespace.rstrip("/") + "/"
        self._all = any(topic in _CATCH_ALL for topic in topics)
        self._named = _absolute([topic for topic in topics if topic not in _CATCH_ALL], prefix)
        self._exclude = _absolute(exclude, prefix)
        self._prefix, self._only_by_name = prefix, frozenset(only_by_name)

    def wants(self, topic: str, type_name: str) -> bool:
        """Return whether this topic is to be recorded."""
        if any(fnmatchcase(topic, pattern) for pattern in self._exclude):
            return False
        if any(fnmatchcase(topic, pattern) for pattern in self._named):
            return True
        if not self._all or topic in self._only_by_name or type_name in IMAGES or "/_" in topic:
            return False
        return topic.startswith(self._prefix) or topic in _SHARED


def _absolute(patterns: Sequence[str], prefix: str) -> list[str]:
    return [pattern if pattern.startswith("/") else prefix + pattern for pattern in patterns]
