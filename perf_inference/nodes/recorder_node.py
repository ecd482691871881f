"""Records topics, timings and a summary of the run.

The ROS thread only takes undecoded messages out of their readers and hands them over; decoding, formatting and writing
happen on the writer's thread, in the order of hand-over.
"""

from __future__ import annotations

import platform
import queue
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.serialization import deserialize_message
from std_srvs.srv import Trigger

from perf_inference.errors import ConfigError, InputError, RecordingError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.stamps import Scalar
from perf_inference.nodes import runner
from perf_inference.nodes.faults import faults_of
from perf_inference.nodes.heard import check_heartbeat, checked_timing
from perf_inference.nodes.messages import ERROR, OK, WARN, from_key_values
from perf_inference.nodes.parameters import declare, parameter
from perf_inference.nodes.raw_input import RawInput, RawMessage
from perf_inference.nodes.recorded_topics import RecordedTopic, RecordedTopics
from perf_inference.nodes.reporting import STATUS_QOS, TIMING_QOS, Report, Reporter
from perf_inference.recording.bag_file import BagMessage
from perf_inference.recording.jsonl.segment import Channel
from perf_inference.recording.recorder.compressor import Compressor
from perf_inference.recording.recorder.free_space import FreeSpace
from perf_inference.recording.recorder.segments import Limits, Segments
from perf_inference.recording.recorder.selection import Encodings, Selection
from perf_inference.recording.recorder.session import Session, replace_json
from perf_inference.recording.recorder.summary import Summary
from perf_inference.recording.recorder.writer import Writer
from perf_inference.telemetry.machine import MachineSampler
from perf_inference.telemetry.tegrastats_process import DEFAULT_COMMAND

_MACHINERY = ("/rosout", "/parameter_events")
_TAKE_S, _DISCOVER_S, _SUMMARY_S = 0.05, 0.5, 5.0
_LOG_NS = 5_000_000_000
_SPLIT_S = 0.5


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
    encoding: tuple[str, ...] = parameter(
        ("json",), "how topics are written: json (nested fields), cdr (serialized), PATTERN=json or PATTERN=cdr"
    )
    auto_save_interval: int = parameter(10, "records after which they are saved", at_least=1)
    auto_save_period_s: float = parameter(1.0, "time after which they are, if that comes first [s]", at_least=0.01)
    durability: str = parameter(
        "process",
        "what saved records survive: process (its end, kill -9: the kernel has them), power (its loss: the disk does)",
        choices=("process", "power"),
    )
    max_segment_bytes: int = parameter(0, "size at which the next file of topics begins; 0: never [bytes]", at_least=0)
    max_segment_s: float = parameter(0.0, "age at which the next file of topics begins; 0: never [s]", at_least=0.0)
    min_free_bytes: int = parameter(
        0, "recording stops while less is free on the disk; 0: it stops when the disk is full [bytes]", at_least=0
    )
    compression: str = parameter(
        "none",
        "of closed files of topics: none, zstd (the last stays as it is, so that the end takes no time)",
        choices=("none", "zstd"),
    )
    tegrastats_command: str = parameter(DEFAULT_COMMAND, "what prints a Jetson's figures; empty: nothing")
    tegrastats_log: bool = parameter(False, "keep its raw lines beside the run, in tegrastats.log")
    queue_size: int = parameter(10_000, "records that may wait for the disk; more are dropped", at_least=1)
    queue_bytes: int = parameter(64 << 20, "bytes that may wait for the disk; more are dropped", at_least=1)


class RecorderNode(runner.RunnableNode):
    """Writes `topics_<n>.jsonl`, the timings, the summary and `session.json`."""

    def __init__(self, name: str = "recorder_node") -> None:
        super().__init__(name)
        p = declare(self, RecorderParameters)
        self._faults = faults_of(self)
        namespace = self.get_namespace()
        encodings = Encodings(p.encoding, namespace)
        self._session = Session(p.output_dir, p.session, p.start_time, asdict(p))
        space = FreeSpace(self._session.directory, p.min_free_bytes)
        self._compressor = Compressor() if p.compression == "zstd" else None
        self._writer = Writer(
            p.auto_save_interval, p.auto_save_period_s, p.queue_size, p.queue_bytes, space.problem, self._log_saved
        )
        durable = p.durability == "power"
        try:
            self._timings_file = self._writer.open(self._session.timings, durable)
            self._segments = Segments(
                self._writer,
                self._session.next_topics,
                self._session.about,
                Limits(p.max_segment_bytes, p.max_segment_s),
                durable,
                self._compressor.add if self._compressor else lambda path: None,
            )
        except RecordingError as error:
            raise ConfigError(str(error)) from error
        log = self._session.directory / "tegrastats.log" if p.tegrastats_log else None
        self._machine = MachineSampler(p.tegrastats_command, tegrastats_log=log)
        self._machine.start()
        self._summary = Summary(self._machine.window, platform.node() or "host")  # of the writer's thread
        self._seq, self._paused, self._logged_ns = 0, False, 0
        self._dropped: dict[str, _Dropped] = {}  # by topic: what the recording has not been told yet
        self._writer.call(self._summary.restore, self._session.timings)
        self._timings = RawInput(self, DiagnosticArray, "inference/timing", TIMING_QOS)
        self._status = RawInput(self, DiagnosticStatus, "inference/status", STATUS_QOS)
        only_by_name = (*_MACHINERY, self._timings.topic, self._status.topic)
        self._topics = RecordedTopics(self, Selection(p.topics, p.exclude, namespace, only_by_name), encodings)
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
        self._tell_dropped()
        counts = self._writer.close(self._segments.close)
        if self._compressor:
            self._compressor.close()
        if counts.error:
            self.get_logger().error(f"the last records are lost: {counts.error}")
        try:
            self._write_summary(self._counts())
        except Exception as error:  # what is recorded stays, and the rest of the end follows
            self.get_logger().error(f"no summary: {type(error).__name__}: {error}")
            self.exit_status = self.exit_status or 1
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
            "files": self._segments.count,
            "last_error": counts.last_error,
        }
        if counts.error:
            return Report(ERROR, counts.error, values)
        if self._compressor and self._compressor.error:
            return Report(WARN, self._compressor.error, values)
        if counts.dropped or counts.failed:
            lost = f"{counts.dropped} records dropped, {counts.failed} not readable"
            return Report(WARN, f"{lost} {counts.last_error}".strip(), values)
        return Report(OK, "paused" if self._paused else "recording", values)

    def _take(self) -> None:
        """Empty the readers into the writer's queue."""
        call = self._writer.call
        for message in self._timings.take():
            call(self._add_timings, message.data)
        for message in self._status.take():
            call(self._add_heartbeat, message.data)
        for topic, message in sorted(self._topics.take(), key=lambda taken: taken.message.t_ns):
            if not self._paused:
                self._seq += 1
                self._put(topic, self._seq, message)

    def _put(self, topic: RecordedTopic, seq: int, message: RawMessage) -> None:
        data, t_ns, publish_ns, publish_seq = message
        record = BagMessage(t_ns, topic.name, topic.type_name, data, publish_ns, publish_seq)
        if self._writer.put(self._segments.message, topic.channel, seq, record, size_bytes=len(data)):
            topic.records += 1
            if self._dropped:
                self._tell_dropped()
            return
        topic.dropped += 1
        dropped = self._dropped.setdefault(topic.name, _Dropped(topic.channel, seq))
        dropped.count, dropped.last_seq = dropped.count + 1, seq
        self.get_logger().error("the disk is too slow: records are dropped", throttle_duration_sec=5.0)

    def _tell_dropped(self) -> None:
        for name, one in list(self._dropped.items()):
            if self._writer.call(self._segments.drops, one.channel, one.count, one.first_seq, one.last_seq):
                del self._dropped[name]

    def _add_timings(self, data: bytes) -> None:
        for status in deserialize_message(data, DiagnosticArray).status:
            self._add_timing(status)

    def _add_timing(self, status: DiagnosticStatus) -> None:
        try:
            record = checked_timing(status)
            if self._writer.takes() and self._summary.timing(record):
                self._writer.add(self._timings_file, orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        except InputError as error:
            self._faults.refused("a timing", error)

    def _add_heartbeat(self, data: bytes) -> None:
        status = deserialize_message(data, DiagnosticStatus)
        try:
            check_heartbeat(status)
            self._summary.heartbeat(status.name, status.hardware_id, from_key_values(status.values))
        except InputError as error:
            self._faults.refused("a heartbeat", error)

    def _refresh(self) -> None:
        self._writer.call(self._write_summary, self._counts())

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
        outcome: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._writer.call(lambda: outcome.put(self._segments.split(self._seq + 1)))
        self._writer.wake()
        try:
            if not outcome.get(timeout=_SPLIT_S):
                return _answer(response, f"the next file cannot be opened after {self._segments.path}", success=False)
        except queue.Empty:
            return _answer(response, "records wait for the disk; the next file begins after them", success=False)
        return _answer(response, f"recording into {self._segments.path}")


@dataclass
class _Dropped:
    channel: Channel
    first_seq: int
    last_seq: int = 0
    count: int = 0


def _answer(response: Any, message: str, success: bool = True) -> Any:
    response.success, response.message = success, message
    return response


def main() -> None:
    """Run the node."""
    runner.main(RecorderNode)


if __name__ == "__main__":
    main()
