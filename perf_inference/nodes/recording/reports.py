"""What the nodes say of themselves, on its way into the timings file and the summary."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import orjson
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.serialization import deserialize_message

from perf_inference.errors import InputError, in_one_line
from perf_inference.nodes.reports.faults import Faults
from perf_inference.nodes.reports.heard import MOST_NODES, checked_beat, checked_timing
from perf_inference.nodes.ros.endpoint import is_named, node_of
from perf_inference.recording.recorder.line_file import LineFile
from perf_inference.recording.recorder.summary import Summary
from perf_inference.recording.recorder.writer import Writer

_UNHEARD_S = 5.0


class RecordedReports:
    """Takes serialized messages on the writer's thread; what cannot be used is counted and skipped."""

    def __init__(self, writer: Writer, file: LineFile, summary: Summary, faults: Faults) -> None:
        self._writer, self._file, self._summary, self._faults = writer, file, summary, faults
        self._heard_s: dict[str, float] = {}  # monotonic, by node
        self.unheard_s, self._looked_s = 0.0, time.monotonic()  # node-seconds in which one was there and not heard
        self._known_s: dict[str, float] = {}  # since when a node is known to publish heartbeats

    def timings(self, data: bytes) -> None:
        """Record the timings of a message on `inference/timing`."""
        try:
            statuses = _message(data, DiagnosticArray).status
        except InputError as error:
            self._faults.refused("a message of timings", error)
            return
        for status in statuses:
            self._timing(status)

    def heartbeat(self, data: bytes) -> None:
        """Take a node's own counts."""
        try:
            status = _message(data, DiagnosticStatus)
            beat = checked_beat(status)
            self._summary.heartbeat(status.name, beat.start, beat.said)
            if status.name in self._heard_s or len(self._heard_s) < MOST_NODES:
                self._heard_s[status.name] = beat.heard_s
        except InputError as error:
            self._faults.refused("a heartbeat", error)

    def unheard(self, publishers: Iterable[Any], own: str) -> list[str]:
        """Return the nodes that publish heartbeats, of which none has come for some seconds (ROS thread).

        Discovery goes other ways than messages do: where a node's shared memory was removed it is known, and not heard.

        Args:
            publishers: of the heartbeats, as rclpy knows them.
            own: name of the node that asks.
        """
        now_s, heard = time.monotonic(), self._heard_s
        names = {_name(info) for info in publishers} - {own}
        self._known_s = {name: self._known_s.get(name, now_s) for name in names}
        unheard = [n for n, since_s in self._known_s.items() if now_s - max(heard.get(n, 0.0), since_s) > _UNHEARD_S]
        self.unheard_s += len(unheard) * min(1.0, now_s - self._looked_s)
        self._looked_s = now_s
        return sorted(unheard)

    def _timing(self, status: DiagnosticStatus) -> None:
        try:
            record = checked_timing(status)
            if self._writer.takes() and self._summary.timing(record):
                self._writer.add(self._file, orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        except InputError as error:  # of one: the others of its message are recorded
            self._faults.refused("a timing", error)


def _name(info: Any) -> str:
    """Return a publisher's node, or where its name has not come, which goes the way of messages, its own number."""
    if not is_named(info):
        return f"a node of unknown name ({bytes(info.endpoint_gid)[:16].hex()})"
    return node_of(info).lstrip("/")


def _message(data: bytes, kind: Any) -> Any:
    try:
        return deserialize_message(data, kind)
    except Exception as error:  # whatever the middleware says of bytes that are no message
        raise InputError(f"it cannot be read: {in_one_line(error)}") from error
