"""What the nodes say of themselves, on its way into the timings file and the summary."""

from __future__ import annotations

from typing import Any

import orjson
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.serialization import deserialize_message

from perf_inference.errors import InputError, in_one_line
from perf_inference.nodes.faults import Faults
from perf_inference.nodes.heard import check_heartbeat, checked_timing
from perf_inference.nodes.messages import from_key_values
from perf_inference.recording.recorder.line_file import LineFile
from perf_inference.recording.recorder.summary import Summary
from perf_inference.recording.recorder.writer import Writer


class RecordedReports:
    """Takes serialized messages on the writer's thread; what cannot be used is counted and skipped."""

    def __init__(self, writer: Writer, file: LineFile, summary: Summary, faults: Faults) -> None:
        self._writer, self._file, self._summary, self._faults = writer, file, summary, faults

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
            check_heartbeat(status)
            self._summary.heartbeat(status.name, status.hardware_id, from_key_values(status.values))
        except InputError as error:
            self._faults.refused("a heartbeat", error)

    def _timing(self, status: DiagnosticStatus) -> None:
        try:
            record = checked_timing(status)
            if self._writer.takes() and self._summary.timing(record):
                self._writer.add(self._file, orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        except InputError as error:  # of one: the others of its message are recorded
            self._faults.refused("a timing", error)


def _message(data: bytes, kind: Any) -> Any:
    try:
        return deserialize_message(data, kind)
    except Exception as error:  # whatever the middleware says of bytes that are no message
        raise InputError(f"it cannot be read: {in_one_line(error)}") from error
