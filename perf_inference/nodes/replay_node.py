"""Plays a recording or a folder of images into the graph."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.duration import Duration
from rclpy.exceptions import InvalidTopicNameException
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import deserialize_message
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from perf_inference.errors import ConfigError, InputError, RecordingError, in_one_line
from perf_inference.files.images import read_image
from perf_inference.measure.stamps import Scalar
from perf_inference.nodes.images.converter import from_bgr
from perf_inference.nodes.recording.player import Outlet, Player, Step
from perf_inference.nodes.reports.messages import ERROR, OK
from perf_inference.nodes.reports.reporter import Report, Reporter
from perf_inference.nodes.ros import runner
from perf_inference.nodes.ros.definitions import installed_definition
from perf_inference.nodes.ros.message_types import message_class
from perf_inference.nodes.ros.parameters import declare, parameter
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.difference import described
from perf_inference.recording.message import BagMessage, Topic
from perf_inference.recording.open import Bag, ImageFolder, open_source

_LATCHED_DEPTH = 100  # at least: a burst must not overwrite itself
_MOST_DEPTH = (1 << 31) - 1  # of a history, that rclpy takes
_END_S = 0.3
_EX_PARTLY = 3
"""Exit status: played, but some of the source could not be read."""


@dataclass(frozen=True)
class ReplayParameters:
    """Parameters of replay_node."""

    source: str = parameter(
        "",
        "a rosbag2 folder, a .db3 or .mcap file, a recorder's directory or topics_<n>.jsonl, "
        "or a folder or pattern of images",
    )
    rate: float = parameter(1.0, "factor on the original timing, or on picture_hz", at_least=1e-6, at_most=1e6)
    picture_hz: float = parameter(1.0, "images per second, times rate", at_least=1e-6, at_most=1e6)
    loop: bool = parameter(False, "begin again at the end")
    wait_for_subscribers: bool = parameter(True, "begin when somebody listens to one of the topics")
    restamp: bool = parameter(False, "set header stamps to when each message was due (images always have it)")
    clock: bool = parameter(False, "publish the recording's time on /clock")
    exit_when_done: bool = parameter(False, "end the process after the last message")


class ReplayNode(runner.RunnableNode):
    """Plays what `source` names."""

    def __init__(self, name: str = "replay_node") -> None:
        super().__init__(name)
        self._in_force = p = declare(self, ReplayParameters)
        self._error = ""
        if not p.source:
            raise ConfigError("parameter 'source' must name a recording or a folder of images, got nothing")
        if p.clock and self.get_parameter("use_sim_time").value:
            raise ConfigError("clock publishes the time that use_sim_time waits for; set one of them for replay_node")
        try:
            self._source = open_source(p.source)
        except RecordingError as error:
            raise ConfigError(str(error)) from error
        self._outlets: dict[str, Outlet] = {}
        self._kinds: dict[str, Any] = {}
        self._types: dict[str, str] = {}  # that are played, by topic
        self._codecs: dict[str, Codec] = {}  # of these types as they are installed, by topic
        self._told: set[str] = set()
        if isinstance(self._source, Bag):
            self._player = self._bag_player(self._source)
        else:
            self._player = self._image_player(self._source)
        self.reporter = Reporter(self, self.report)
        self._thread = threading.Thread(target=self._work, name="player", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop playing; what is out is out."""
        self._player.stop()
        self._thread.join(_END_S)
        self.reporter.beat()

    def release(self) -> None:
        """Close the source."""
        self._source.close()

    def report(self) -> Report:
        """Return what has been played."""
        values: dict[str, Scalar] = {
            "source": str(self._source.path),
            "messages": self._player.count,
            "skipped": self._player.skipped,
            **{f"skipped.{name}": count for name, count in self._player.skipped_by_topic().items()},
            "late_max_ms": self._player.late_max_ns / 1e6,
        }
        return Report(ERROR if self._error else OK, self._error or self._player.state, values)

    def _work(self) -> None:
        """Play (the player's thread)."""
        log = self.get_logger()
        try:
            finished = self._player.play(self._in_force.loop, self._in_force.wait_for_subscribers)
            if isinstance(self._source, Bag):
                self._tell_problems(self._source)
            log.info(f"{'finished' if finished else 'stopped'}: {self._player.tally()}")
            if self._error:
                self.exit_status = _EX_PARTLY if self._player.count else 1
        except Exception as error:  # a damaged file, or a thread that would end in silence
            self._error = str(error) if isinstance(error, RecordingError) else f"{type(error).__name__}: {error}"
            log.error(f"{self._error}; played before: {self._player.tally()}")
            self.exit_status = 1
            finished = True
        if finished and self._in_force.exit_when_done:
            self.has_finished = True
            os.kill(os.getpid(), signal.SIGINT)

    def _bag_player(self, bag: Bag) -> Player:
        for topic in bag.topics:
            if topic.count:
                self._advertise(topic)
        if not self._outlets:
            topics = ", ".join(f"{topic.name} [{topic.type}, {topic.count}]" for topic in bag.topics) or "none"
            raise ConfigError(f"source '{bag.path}' has no message that can be played here; its topics: {topics}")
        for said in bag.left_out:
            self.get_logger().info(said)
        if bag.failed:
            self._unread("; ".join(bag.failed))
        self._tell_problems(bag)
        names = ", ".join(f"{outlet.name}" for outlet in self._outlets.values())
        self.get_logger().info(f"{bag.path}: {bag.count} messages on {names}")
        tick = None
        if self._in_force.clock:
            options = QoSOverridingOptions.with_default_policies()
            publisher = self.create_publisher(Clock, "/clock", 10, qos_overriding_options=options)

            def tick(t_ns: int) -> None:
                publisher.publish(Clock(clock=Time(nanoseconds=t_ns).to_msg()))

        return Player(self, self._outlets, self._bag_steps, self._in_force.rate, tick=tick)

    def _tell_problems(self, bag: Bag) -> None:
        """Warn of what is skipped, once each."""
        for said in bag.problems():
            if said not in self._told:
                self._told.add(said)
                self.get_logger().warning(f"skipped: {said}")

    def _advertise(self, topic: Topic) -> None:
        warn = self.get_logger().warning
        if topic.encoding != "cdr":
            warn(f"{topic.name} is not played: its messages must be encoded as cdr, not {topic.encoding}")
            return
        if self._in_force.clock and topic.name == "/clock":
            warn("/clock is not played: with clock:=true it follows the replay")
            return
        if topic.name in self._types:
            played = self._types[topic.name]
            if topic.type == played:
                self._compare(topic)
            else:
                warn(f"{topic.name} is not played as {topic.type} ({topic.count} messages): it is played as {played}")
            return
        try:
            kind = message_class(topic.type)
            latched = bool(topic.qos) and all(qos.transient_local for qos in topic.qos)
            depth = max(_LATCHED_DEPTH, *(qos.depth for qos in topic.qos)) if latched else 0
            if depth > _MOST_DEPTH:
                warn(f"{topic.name} was offered with a history of {depth} messages; it is played with {_MOST_DEPTH}")
            self._outlets[topic.name] = Outlet(self, kind, topic.name, min(depth, _MOST_DEPTH))
        except (ConfigError, InvalidTopicNameException) as error:
            warn(f"{topic.name} is not played ({topic.count} messages): {error}")
            return
        self._types[topic.name] = topic.type
        self._compare(topic)
        if self._in_force.restamp and "header" in kind.get_fields_and_field_types():
            self._kinds[topic.name] = kind

    def _compare(self, topic: Topic) -> None:
        """Warn where the recorded type is not the installed one, by which those who listen read it."""
        assert isinstance(self._source, Bag)
        try:
            installed = installed_definition(topic.type)
            if topic.name not in self._codecs:
                self._codecs[topic.name] = Codec(installed)
        except (ConfigError, RecordingError) as error:
            self.get_logger().warning(f"{topic.name}: its messages are not checked: {error}")
            return
        recorded = self._source.definition_of(topic)
        if recorded is not None and (said := described(recorded, installed)):
            self.get_logger().warning(
                f"{topic.name} ({topic.count} messages): {said}; messages that do not fit are skipped"
            )

    def _bag_steps(self) -> Iterator[Step]:
        assert isinstance(self._source, Bag)
        try:
            for message in self._source.messages():
                outlet = self._outlets.get(message.topic)
                if outlet is not None and message.type == self._types[message.topic] and _is_cdr(message):
                    yield Step(message.t_ns, outlet, partial(self._made, message.topic, bytes(message.data)))
        except RecordingError as error:  # at the end: what could be read has been played
            self._unread(str(error))

    def _unread(self, what: str) -> None:
        """Say that some of the source is not played."""
        if what not in self._told:
            self._told.add(what)
            self.get_logger().error(f"not all of the source can be played: {what}")
        self._error = self._error or what

    def _made(self, topic: str, data: bytes, late_ns: int) -> Any:
        """Return what is published of a message.

        Raises:
            InputError: nobody could read it.
        """
        codec, kind = self._codecs.get(topic), self._kinds.get(topic)
        if codec is not None:
            try:
                codec.check(data)
            except InputError as error:
                raise InputError(f"{topic}: {error}") from error
        if kind is None:
            return data
        stamp = self._due_stamp(late_ns)
        stamped = None if codec is None else codec.stamped(data, stamp.sec, stamp.nanosec)
        return self._restamped(topic, kind, data, stamp) if stamped is None else stamped

    def _restamped(self, topic: str, kind: Any, data: bytes, stamp: Any) -> Any:
        try:
            message = deserialize_message(data, kind)
        except Exception as error:  # whatever the middleware makes of bytes that are no such message
            raise InputError(f"{topic}: not a message of its type: {in_one_line(error)}") from error
        message.header.stamp = stamp
        return message

    def _due_stamp(self, late_ns: int) -> Any:
        """Return when the message was due: latencies count from then, not from when a late sender sent it."""
        return (self.get_clock().now() - Duration(nanoseconds=late_ns)).to_msg()

    def _image_player(self, folder: ImageFolder) -> Player:
        if self._in_force.clock:
            raise ConfigError("clock needs a recording: images have no time of their own")
        self._outlets["image"] = Outlet(self, Image, "image")
        self.get_logger().info(f"{folder.path}: {len(folder.files)} images on {self._outlets['image'].name}")
        return Player(self, self._outlets, self._image_steps, self._in_force.rate, gap_ns=self._image_period_ns)

    @property
    def _image_period_ns(self) -> int:
        return round(1e9 / self._in_force.picture_hz)

    def _image_steps(self) -> Iterator[Step]:
        assert isinstance(self._source, ImageFolder)
        for number, path in enumerate(self._source.files):
            yield Step(number * self._image_period_ns, self._outlets["image"], partial(self._image, path))

    def _image(self, path: Path, late_ns: int) -> Image:
        stamp = self._due_stamp(late_ns)
        return from_bgr(read_image(path), Header(stamp=stamp, frame_id=path.stem))


def _is_cdr(message: BagMessage) -> bool:
    return message.source is None or message.source.encoding == "cdr"


def main() -> None:
    """Run the node."""
    runner.main(ReplayNode)


if __name__ == "__main__":
    main()
