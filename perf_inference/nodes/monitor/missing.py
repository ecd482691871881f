"""Nodes that are expected and never came: nobody else can tell of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from diagnostic_msgs.msg import DiagnosticStatus

from perf_inference.nodes.monitor.watched_node import PREFIX
from perf_inference.nodes.reports.messages import ERROR, OK, key_values

_PARTS = ("engine", "recorder", "node")


class Missing:
    """What is still waited for."""

    def __init__(self, expected: Sequence[str], within_s: float, now_s: float) -> None:
        """Wait from now on for these, `NODE` or `NODE/PART`."""
        self._expected = {_node_of(name): _status_of(name) for name in expected}
        self._within_s, self._began_s = within_s, now_s

    def statuses(self, heard: Collection[str], now_s: float) -> list[DiagnosticStatus]:
        """Return a status of each that was not heard yet, by the name that its own will have."""
        waited_s = now_s - self._began_s
        late = waited_s > self._within_s
        message = (
            f"it never came: it is expected, and was not heard for {waited_s:.0f} s" if late else "it is waited for"
        )
        for name in heard:
            self._expected.pop(name, None)
        return [
            DiagnosticStatus(
                level=ERROR if late else OK, name=PREFIX + status, message=message, hardware_id="expected",
                values=key_values({"waited_s": round(waited_s, 1)}),
            )
            for status in self._expected.values()
        ]  # fmt: skip


def _node_of(name: str) -> str:
    node, _, part = name.strip("/").rpartition("/")
    return node if part in _PARTS and node else name.strip("/")


def _status_of(name: str) -> str:
    return name.strip("/") if _node_of(name) != name.strip("/") else f"{name.strip('/')}/node"
