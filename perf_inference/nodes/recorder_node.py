"""Records topics, timings and a summary of the run.

The ROS thread only takes undecoded messages out of their readers and hands them over; decoding, formatting and writing
happen on the writer's thread, in the order of hand-over.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.serialization import deserialize_message
from std_srvs.srv import Trigger

from perf_inference.errors import ConfigError, RecordingError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.stamps import Scalar
from perf_inference.nodes import runner
from perf_inference.nodes.messages import (
    ERROR,
    OK,
    WARN,
    from_key_values,
    message_dict,
    stamp_ns,
    timing_record,
)
from perf_inference.nodes.parameters import declare, parameter
from perf_inference.nodes.raw_input import RawInput
from perf_inference.nodes.recorded_topics import RecordedTopic, RecordedTopics
from perf_inference.nodes.reporting import STATUS_QOS, TIMING_QOS, Report, Reporter
from perf_inference.recording.selection import Selection
from perf_inference.recording.session import Session, replace_json
from perf_inference.recording.summary import Summary
from perf_inference.recording.writer import LineFile, Writer
from perf_inference.telemetry.machine import MachineSampler
from perf_inference.telemetry.tegrastats_process import DEFAULT_COMMAND

_MACHINERY = ("/rosout", "/parameter_events")
_TAKE_S, _DISCOVER_S, _SUMMARY_S = 0.05, 0.5, 5.0
_LOG_NS = 5_000_000_000


@dataclass(frozen=True)
class RecorderParameters:
    """Parameters of recorder_node."""

    topics: tuple[str, ...] = parameter(
        ("all",), "topics to record, by name or glob pattern; all: those of the node's namespace, but no images"
    )
    exclude: tuple[str, ...] = parameter((), "topics to leave out, by name or glob pattern")
    output_dir: str = parameter("runs", "where the run's directory is made")
    session: str = parameter("run", "first part of the directory's name")
    start_time: str = parameter("", "second part of the directory's name, YYYYmmdd_HHMMSS; empty: now")
    auto_save_interval: int = parameter(10, "records after which they are handed to the kernel", at_least=1)
    auto_save_period_s: float = parameter(1.0, "time after which they are, if that comes first [s]", at_least=0.01)
    tegrastats_command: str = parameter(DEFAULT_COMMAND, "what prints a Jetson's figures; empty: nothing")
    tegrastats_log: bool = parameter(False, "keep its raw lines beside the run, in tegrastats.log")
    queue_size: int = parameter(10_000, "records that may wait for the disk; more are dropped", at_least=1)


class RecorderNode(runner.RunnableNode):
    """Writes `topics_<n>.jsonl`, the timings, the summary and `session.json`."""

    def __init__(self, name: str = "recorder_node") -> None:
        super().__init__(name)
        p = declare(self, RecorderParameters)
        self._session = Session(p.output_dir, p.session, p.start_time, asdict(p))
        try:
            self._timings_file = LineFile(self._session.timings)
            self._topics_file = LineFile(self._session.next_topics())
        except RecordingError as error:
            raise ConfigError(str(error)) from error
        log = self._session.directory / "tegrastats.log" if p.tegrastats_log else None
        self._machine = MachineSampler(p.tegrastats_command, tegrastats_log=log)
        self._machine.start()
        self._summary = Summary(self._machine.window, platform.node() or "host")  # of the writer's thread
        self._seq, self._files, self._paused, self._logged_ns = 0, 1, False, 0
        self._writer = Writer(p.auto_save_interval, p.auto_save_period_s, p.queue_size, self._log_saved)
        self._writer.put(None, self._summary.restore, self._session.timings)
        self._timings = RawInput(self, DiagnosticArray, "inference/timing", TIMING_QOS)
        self._status = RawInput(self, DiagnosticStatus, "inference/status", STATUS_QOS)
        only_by_name = (*_MACHINERY, self._timings.topic, self._status.topic)
        self._topics = RecordedTopics(self, Selection(p.topics, p.exclude, self.get_namespace(), only_by_name))
        self.reporter = Reporter(self, self.report)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        for period_s, work in (
            (_TAKE_S, self._take),
            (_DISCOVER_S, self._topics.discover),
            (_SUMMARY_S, self._refresh),
        ):
            self.create_timer(period_s, work, clock=steady)
        for name, answer in (("pause", self._pause), ("resume", self._resume), ("split", self._split)):
            self.create_service(Trigger, f"~/{name}", answer)
        self._topics.discover()
        self.get_logger().info(f"recording into {self._session.directory}")

    def stop(self) -> None:
        """Tell the last state; what the others still send is recorded until `release`."""
        self.reporter.beat()

    def drained(self) -> bool:
        """Return whether everybody has gone whose messages are recorded."""
        self._take()
        others = (
            self.count_publishers(source.topic) - 1 for source in (self._timings, self._status)
        )  # -1: the reporter
        return not self._topics.published() and not any(count > 0 for count in others)

    def release(self) -> None:
        """Write what is left and close the files."""
        self._take()
        self._machine.tick()  # the window of the last timings ends here
        self.get_logger().info(f"Saving final {self._writer.counts().waiting} records")
        counts = self._writer.close()
        if counts.error:
            self.get_logger().error(f"the last records are lost: {counts.error}")
        try:
            self._write_summary(self._counts())
        except OSError as error:
            self.get_logger().error(f"no summary: {error}")
        self._machine.close()
        self.get_logger().info(f"{counts.records} records are in {self._session.directory}")

    def report(self) -> Report:
        """Return the recorder's own state."""
        counts = self._writer.counts()
        values: dict[str, Scalar] = {
            "records": counts.records,
            "bytes": counts.bytes,
            "dropped": counts.dropped,
            "lost_before": self._topics.lost,
            "failed": counts.failed,
            "queue": counts.waiting,
            "topics": len(self._topics),
            "skipped": ", ".join(self._topics.skipped),
            "directory": str(self._session.directory),
            "files": self._files,
            "last_error": counts.last_error,
        }
        if counts.error:
            return Report(ERROR, counts.error, values)
        if counts.dropped or counts.failed:
            lost = f"{counts.dropped} records dropped, {counts.failed} not readable"
            return Report(WARN, f"{lost} {counts.last_error}".strip(), values)
        return Report(OK, "paused" if self._paused else "recording", values)

    def _take(self) -> None:
        """Empty the readers into the writer's queue."""
        put = self._writer.put
        for data, _ in self._timings.take():
            put(None, self._add_timings, data)
        for data, _ in self._status.take():
            put(None, self._add_heartbeat, data)
        for topic, data, t_ns in sorted(self._topics.take(), key=lambda taken: taken.t_ns):
            if self._paused:
                continue
            self._seq += 1
            if put(self._topics_file, _line, topic, self._seq, t_ns, data):
                topic.records += 1
            else:
                topic.dropped += 1
                self.get_logger().error("the disk is too slow: records are dropped", throttle_duration_sec=5.0)

    def _add_timings(self, data: bytes) -> None:
        for status in deserialize_message(data, DiagnosticArray).status:
            record = timing_record(status)
            if self._summary.timing(record):
                self._writer.write(self._timings_file, record)

    def _add_heartbeat(self, data: bytes) -> None:
        status = deserialize_message(data, DiagnosticStatus)
        self._summary.heartbeat(status.name, status.hardware_id, from_key_values(status.values))

    def _refresh(self) -> None:
        self._writer.put(None, self._write_summary, self._counts())

    def _write_summary(self, counts: Mapping[str, Any]) -> None:
        replace_json(self._session.summary, self._summary.as_dict())
        self._session.describe({**counts, "duplicate_timings": self._summary.duplicates})

    def _counts(self) -> dict[str, Any]:
        """Return the counts of `session.json`."""
        counts = asdict(self._writer.counts())
        return {**counts, "topics": self._topics.counts(), "skipped": dict(self._topics.skipped)}

    def _log_saved(self, records: int) -> None:
        now_ns = CLOCKS.monotonic_ns()
        if now_ns - self._logged_ns > _LOG_NS:
            self._logged_ns = now_ns
            self.get_logger().info(f"Auto-saved {records} records")

    def _pause(self, request: Any, response: Any) -> Any:
        self._take()
        self._paused = True
        return _answer(response, "paused: topics are not recorded, timings still are")

    def _resume(self, request: Any, response: Any) -> Any:
        self._take()
        self._paused = False
        return _answer(response, "recording")

    def _split(self, request: Any, response: Any) -> Any:
        self._take()
        try:
            old, self._topics_file = self._topics_file, LineFile(self._session.next_topics())
        except (RecordingError, OSError) as error:
            return _answer(response, str(error), success=False)
        self._writer.retire(old)
        self._files += 1
        return _answer(response, f"recording into {self._topics_file.path}")


def _answer(response: Any, message: str, success: bool = True) -> Any:
    response.success, response.message = success, message
    return response


def _line(topic: RecordedTopic, seq: int, t_ns: int, data: bytes) -> dict[str, Any]:
    """Return the record of a message."""
    message = deserialize_message(data, topic.kind)
    stamp = getattr(getattr(message, "header", None), "stamp", None)
    return {
        "seq": seq,
        "t": t_ns,
        "topic": topic.name,
        "type": topic.type_name,
        "stamp": None if stamp is None else stamp_ns(stamp),
        "message": message_dict(message),
    }


def main() -> None:
    """Run the node."""
    runner.main(RecorderNode)


if __name__ == "__main__":
    main()
