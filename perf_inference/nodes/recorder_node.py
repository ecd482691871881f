"""Records topics, timings and a summary of the run.

The ROS thread only takes undecoded messages out of their readers and hands them over; decoding, formatting and writing
happen on the writer's thread, in the order of hand-over.
"""

from __future__ import annotations

import platform
import queue
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.utilities import get_rmw_implementation_identifier
from std_srvs.srv import Trigger

from perf_inference.errors import ConfigError, RecordingError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.stamps import Scalar
from perf_inference.nodes.lifecycle.managed_node import ManagedNode
from perf_inference.nodes.recording.dropped import Dropped
from perf_inference.nodes.recording.kept_image import KeptImage
from perf_inference.nodes.recording.parameters import RecorderParameters
from perf_inference.nodes.recording.reports import RecordedReports
from perf_inference.nodes.recording.topics import RecordedTopic, RecordedTopics
from perf_inference.nodes.reports.faults import faults_of
from perf_inference.nodes.reports.messages import ERROR, OK, WARN
from perf_inference.nodes.reports.reporter import STATUS_QOS, TIMING_QOS, Report
from perf_inference.nodes.ros import runner
from perf_inference.nodes.ros.raw_input import RawInput, RawMessage
from perf_inference.recording.message import BagMessage
from perf_inference.recording.recorder.compressor import Compressor
from perf_inference.recording.recorder.free_space import FreeSpace
from perf_inference.recording.recorder.segments import SegmentLimits, Segments
from perf_inference.recording.recorder.selection import Encodings, Selection
from perf_inference.recording.recorder.session import Session, replace_json
from perf_inference.recording.recorder.summary import Summary
from perf_inference.recording.recorder.writer import Writer
from perf_inference.recording.run_directory import IMAGE, TEGRASTATS_LOG
from perf_inference.telemetry.machine import MachineSampler

_MACHINERY = ("/rosout", "/parameter_events")
_TAKE_S, _DISCOVER_S, _SUMMARY_S = 0.05, 0.5, 5.0
_LOG_NS = 5_000_000_000
_SPLIT_S = 0.5
_SAID_S = 1.0
_BUSY = "records wait for the disk; the next file begins after them"


class RecorderNode(ManagedNode):
    """Writes `topics_<n>.jsonl`, the timings, the summary and `session.json`."""

    def __init__(self, name: str = "recorder_node") -> None:
        super().__init__(name, RecorderParameters)
        self._timings: RawInput | None = None
        self._status: RawInput | None = None

    def configure(self) -> None:
        p: RecorderParameters = self.parameters
        namespace = self.get_namespace()
        encodings = Encodings(p.encoding, namespace)
        rmw = get_rmw_implementation_identifier()
        self._session = Session(p.output_dir, p.session, p.start_time, asdict(p), p.access, rmw)
        space = self._space = FreeSpace(self._session.directory, p.min_free_bytes)
        self._compressor = Compressor() if p.compression == "zstd" else None
        self._writer = Writer(
            p.auto_save_interval, p.auto_save_period_s, p.queue_size, p.queue_bytes, space.problem, self._log_saved
        )
        durable = p.durability == "power"
        try:
            timings_file = self._writer.open(self._session.timings, durable)
            self._segments = Segments(
                self._writer,
                self._session.next_topics,
                self._session.about,
                SegmentLimits(p.max_segment_bytes, p.max_segment_s),
                durable,
                self._compressor.add if self._compressor else lambda path: None,
            )
        except RecordingError as error:
            raise ConfigError(str(error)) from error
        log = self._session.directory / TEGRASTATS_LOG if p.tegrastats_log else None
        self._machine = MachineSampler(p.tegrastats_command, tegrastats_log=log)
        self._machine.start()
        self._summary = Summary(self._machine.window, platform.node() or "host")  # of the writer's thread
        self._reports = RecordedReports(self._writer, timings_file, self._summary, faults_of(self))
        self._seq, self._paused, self._logged_ns = 0, False, 0
        self._splitting: queue.SimpleQueue[str] | None = None  # where the outcome of a split will be
        self._dropped = Dropped(lambda *gap: self._writer.call(self._segments.drops, *gap))
        self._writer.call(self._summary.restore, self._session.timings)
        self.at_clean_up(self._close)
        self._reports_on = tuple(map(self.resolve_topic_name, ("inference/timing", "inference/status")))
        only_by_name = (*_MACHINERY, *self._reports_on)
        selection = Selection(p.topics, p.exclude, namespace, only_by_name)
        self._topics = RecordedTopics(self, selection, encodings)
        self._image: KeptImage | None = None
        if p.keep_image:
            path = self._session.directory / IMAGE
            self._image = KeptImage(self, path, selection.excludes, self._writer.call, space.problem)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        for period_s, work in (
            (_TAKE_S, self._take),
            (_DISCOVER_S, self._discover),
            (_SUMMARY_S, self._refresh),
        ):
            self.create_timer(period_s, work, clock=steady)
        for name, answer in (("pause", self._pause), ("resume", self._resume), ("split", self._split)):
            self.create_service(Trigger, f"~/{name}", answer)
        self.get_logger().info(f"recording into {self._session.directory}")

    def what_it_is(self) -> dict[str, Scalar]:
        return {"records": 0}

    def listen(self, on: bool) -> None:
        """Subscribe to reports and topics; or take what has come, and record nothing."""
        if on and self._timings is None:
            self._timings = RawInput(self, DiagnosticArray, "inference/timing", TIMING_QOS)
            self._status = RawInput(self, DiagnosticStatus, "inference/status", STATUS_QOS)
            self._topics.discover()
        elif not on:
            self._take()
            self._topics.close()
            if self._image is not None:
                self._image.close()
            for source in (self._timings, self._status):
                if source is not None:
                    source.close()
            self._timings = self._status = None

    def _discover(self) -> None:
        if self._timings is not None:
            self._topics.discover()
            if self._image is not None:
                self._image.look()

    def stop(self) -> None:
        """Tell the last state; what the others still send is recorded until `release`."""
        self.reporter.beat()

    def finish(self) -> None:
        """Do nothing yet: what the others say last is recorded."""

    def drained(self) -> bool:
        """Return whether everybody has gone whose messages are recorded."""
        if self._timings is None:
            return True
        self._take()
        others = (self.count_publishers(topic) - 1 for topic in self._reports_on)  # -1: the reporter
        return not self._topics.published() and not any(count > 0 for count in others)

    def release(self) -> None:
        """Write what is left and close the files."""
        super().finish()

    def _close(self) -> None:
        self._take()
        self._machine.tick()  # the window of the last timings ends here
        self.get_logger().info(f"Saving final {self._writer.counts().waiting} records")
        self._dropped.tell()
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
        unheard = self._reports.unheard(self.get_publishers_info_by_topic(self._reports_on[1]), self.reporter.name)
        values: dict[str, Scalar] = {
            "records": counts.records,
            "bytes": counts.bytes,
            "left_bytes": self._space.left_bytes,
            "dropped": counts.dropped,
            "lost_before": self._topics.lost,
            "failed": counts.failed,
            "queue": counts.waiting,
            "topics": len(self._topics),
            "skipped": self._topics.skipped_names(),
            "directory": str(self._session.directory),
            "files": self._segments.count,
            "last_error": counts.last_error,
            "unheard": ", ".join(unheard[:20]),
            "unheard_s": round(self._reports.unheard_s, 1),
            "paused": str(self._paused).lower(),
        }
        if counts.error:
            return Report(ERROR, counts.error, values)
        if self._compressor and self._compressor.error:
            return Report(WARN, self._compressor.error, values)
        if counts.dropped or counts.failed:
            lost = f"{counts.dropped} records dropped, {counts.failed} not readable"
            return Report(WARN, f"{lost} {counts.last_error}".strip(), values)
        if unheard:
            return Report(WARN, f"not heard, hence not recorded: {values['unheard']}", values)
        return Report(OK, "paused" if self._paused else "recording", values)

    def _take(self) -> None:
        """Empty the readers into the writer's queue."""
        if self._image is not None:
            self._image.take()
        call = self._writer.call
        for source, take in ((self._timings, self._reports.timings), (self._status, self._reports.heartbeat)):
            for message in source.take() if source is not None else ():
                call(take, message.data)
        for topic, message in sorted(self._topics.take(), key=lambda taken: taken.message.t_ns):
            if not self._paused:
                self._seq += 1
                self._put(topic, self._seq, message)

    def _put(self, topic: RecordedTopic, seq: int, message: RawMessage) -> None:
        data, t_ns, publish_ns, publish_seq = message
        record = BagMessage(t_ns, topic.name, topic.type_name, data, publish_ns, publish_seq)
        if self._writer.put(self._segments.message, topic.channel, seq, record, size_bytes=len(data)):
            topic.records += 1
            self._dropped.tell()
            return
        topic.dropped += 1
        self._dropped.add(topic.name, topic.channel, seq)
        self.get_logger().error("the disk is too slow: records are dropped", throttle_duration_sec=5.0)

    def _refresh(self) -> None:
        if self.configured:  # and not being closed
            self._writer.call(self._write_summary, self._counts())

    def _write_summary(self, counts: Mapping[str, Any]) -> None:
        replace_json(self._session.summary, self._summary.as_dict())
        self._session.describe({**counts, "duplicate_timings": self._summary.duplicates})

    def _counts(self) -> dict[str, Any]:
        """Return the counts of `session.json`."""
        counts = asdict(self._writer.counts())
        return {
            **counts,
            "unheard_s": round(self._reports.unheard_s, 1),
            "topics": self._topics.counts(),
            "skipped": dict(self._topics.skipped),
        }

    def _log_saved(self, records: int) -> None:
        now_ns = CLOCKS.monotonic_ns()
        if now_ns - self._logged_ns > _LOG_NS:
            self._logged_ns = now_ns
            self.get_logger().info(f"Auto-saved {records} records")

    def _pause(self, request: Any, response: Any) -> Any:
        self._take()
        self._set_paused(True)
        return _answer(response, "paused: topics are not recorded, timings still are")

    def _resume(self, request: Any, response: Any) -> Any:
        self._take()
        self._set_paused(False)
        return _answer(response, "recording")

    def _set_paused(self, paused: bool) -> None:
        """Say so in the log: anybody in the domain may have asked."""
        if paused != self._paused:
            self._paused = paused
            said = "paused by a request" if paused else "recording again, by a request"
            self.get_logger().info(said, throttle_duration_sec=_SAID_S)

    def _split(self, request: Any, response: Any) -> Any:
        self._take()
        if self._splitting is None:  # else the one before still waits for the disk: nobody's second waits behind it
            outcome: queue.SimpleQueue[str] = queue.SimpleQueue()
            seq = self._seq + 1
            if self._writer.call(lambda: outcome.put(self._segments.split_on_request(seq))):
                self._splitting = outcome
                self._writer.wake()
        try:
            why = self._splitting.get(timeout=_SPLIT_S) if self._splitting is not None else _BUSY
        except queue.Empty:
            return _answer(response, _BUSY, success=False)
        self._splitting = None
        return _answer(response, why or f"recording into {self._segments.path}", success=not why)


def _answer(response: Any, message: str, success: bool = True) -> Any:
    response.success, response.message = success, message
    return response


def main() -> None:
    """Run the node."""
    runner.main(RecorderNode)


if __name__ == "__main__":
    main()
