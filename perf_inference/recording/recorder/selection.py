"""Which topics are recorded, and how."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from perf_inference.errors import ConfigError

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
        if self.excludes(topic):
            return False
        if any(fnmatchcase(topic, pattern) for pattern in self._named):
            return True
        if not self._all or topic in self._only_by_name or type_name in IMAGES or "/_" in topic:
            return False
        return topic.startswith(self._prefix) or topic in _SHARED

    def excludes(self, topic: str) -> bool:
        """Return whether the user has said that this topic is to be left out."""
        return any(fnmatchcase(topic, pattern) for pattern in self._exclude)


class Encodings:
    """How topics are written: as nested fields (json) or serialized (cdr)."""

    def __init__(self, entries: Sequence[str], namespace: str = "/") -> None:
        """Take entries `json`, `cdr` (for all topics) and `PATTERN=json`, `PATTERN=cdr`; the last that fits counts.

        Raises:
            ConfigError: an entry is none of these.
        """
        prefix = namespace.rstrip("/") + "/"
        self._entries: list[tuple[str, bool]] = []
        for entry in entries:
            pattern, _, word = entry.rpartition("=")
            if word not in ("json", "cdr"):
                raise ConfigError(
                    f"encoding must be a list of 'json', 'cdr', 'PATTERN=json' and 'PATTERN=cdr', got '{entry}'"
                )
            self._entries += [(glob, word == "json") for glob in _absolute([pattern or "/*"], prefix)]

    def nested(self, topic: str) -> bool:
        """Return whether the topic is written as nested fields."""
        fitting = [nested for pattern, nested in self._entries if fnmatchcase(topic, pattern)]
        return fitting[-1] if fitting else True


def _absolute(patterns: Sequence[str], prefix: str) -> list[str]:
    return [pattern if pattern.startswith("/") else prefix + pattern for pattern in patterns]
