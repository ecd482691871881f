"""What a view shows of a running graph: heartbeats, timings, captions, diagnostics, and images while somebody looks."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from perf_inference.nodes.monitor.observer import Observer
from perf_inference.nodes.reports.messages import ERROR, OK, STALE, WARN, level
from perf_inference.nodes.view.feed import TYPES, Feed

_LOOK_S = 0.5
_MOST_IMAGES, _MOST_STATUSES, _MOST_VALUES, _LONGEST = 4, 500, 60, 300
_SILENT_S = 5.0  # a status as old as this is stale, as for the diagnostic aggregator
_LEVELS = {OK: "OK", WARN: "WARN", ERROR: "ERROR", STALE: "STALE"}


class Diagnosed(NamedTuple):
    """The newest status of a name on /diagnostics, cut to what can be shown."""

    heard_s: float  # monotonic
    said: str
    message: str
    hardware_id: str
    values: tuple[tuple[str, str], ...]

    @property
    def level(self) -> str:
        """OK, WARN, ERROR or STALE, which it is of itself when it is too old."""
        return "STALE" if time.monotonic() - self.heard_s > _SILENT_S else self.said


class Scene:
    """Reads the graph; all but `feeds`, whose items are for any thread, is for the thread that spins."""

    def __init__(
        self,
        namespace: str = "",
        images: Collection[str] = (),
        warn: Callable[[str], None] | None = None,
        on_new: Callable[[], None] = lambda: None,
    ) -> None:
        """Join the graph.

        Args:
            namespace: of the nodes that are shown.
            images: topics of the images; empty: those named `annotated`, or where there is none, `image`.
            warn: takes a line about messages that cannot be used, once per kind.
            on_new: called at each image (ROS thread).
        """
        self.observer = Observer(namespace, warn)
        self.node = self.observer.node
        self.diagnostics: dict[str, Diagnosed] = {}
        self.feeds: dict[str, Feed] = {}  # replaced as a whole, so that others may read it
        self._images = [self.node.resolve_topic_name(topic) for topic in images]
        self._on_new, self._looked_s = on_new, float("-inf")
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def spin(self, timeout_s: float) -> None:
        """Take what comes within the time, and look for images."""
        if time.monotonic() - self._looked_s >= _LOOK_S:
            self._looked_s = time.monotonic()
            self._look()
        for feed in self.feeds.values():
            feed.tick()
        self.observer.spin(timeout_s)

    def close(self) -> None:
        """Leave the graph."""
        self.observer.close()

    def _look(self) -> None:
        """Find the image topics that somebody publishes."""
        found = {}
        for name, types in self.node.get_topic_names_and_types():
            kind = next((one for one in types if one in TYPES), None)
            if kind is not None and self.node.count_publishers(name):
                found[name] = kind
        wanted = self._chosen(found)
        if list(wanted) == list(self.feeds):
            return
        for gone in self.feeds.keys() - wanted.keys():
            self.feeds[gone].close()
        self.feeds = {
            name: self.feeds.get(name) or Feed(self.node, name, kind, self._on_new) for name, kind in wanted.items()
        }

    def _chosen(self, found: dict[str, str]) -> dict[str, str]:
        if self._images:
            return {name: found[name] for name in self._images if name in found}
        own = self.node.get_namespace().rstrip("/") + "/"
        for last in ("annotated", "image", "image_raw"):
            names = sorted(name for name in found if name.startswith(own) and name.rpartition("/")[2] == last)
            if names:
                return {name: found[name] for name in names[:_MOST_IMAGES]}
        return {}

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status[:_MOST_STATUSES]:
            name = status.name[:_LONGEST]
            if name not in self.diagnostics and len(self.diagnostics) >= _MOST_STATUSES:
                oldest = min(self.diagnostics, key=lambda one: self.diagnostics[one].heard_s)
                if self.diagnostics[oldest].level != "STALE":
                    continue
                del self.diagnostics[oldest]
            self.diagnostics[name] = _diagnosed(status)


def _diagnosed(status: DiagnosticStatus) -> Diagnosed:
    values: list[Any] = status.values[:_MOST_VALUES]
    return Diagnosed(
        time.monotonic(),
        _LEVELS.get(level(status), "ERROR"),
        status.message[:_LONGEST],
        status.hardware_id[:_LONGEST],
        tuple((pair.key[:_LONGEST], pair.value[:_LONGEST]) for pair in values),
    )
