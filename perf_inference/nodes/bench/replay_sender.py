"""The sender of `bench replay`: a recording in memory, each message published when it is due.

    parent -> {"begin_ns": monotonic, "seconds": 5.0, "rate_hz": 30.0, "seed": null}
    sender -> {"matched": 2}                  once; readers of the measured topic
    sender -> {"stamps": [...], "late_ns": [...]}

A message of the measured topic carries the time at which it was due as its stamp. The others keep their place between
two of the measured ones. Messages come again from the first on where the recording is over.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import signal
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from perf_inference.bringup import child_process
from perf_inference.errors import ConfigError, PerfInferenceError
from perf_inference.nodes.ros.definitions import installed_definition
from perf_inference.nodes.ros.leaving import leave_with
from perf_inference.nodes.ros.message_types import message_class
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.open import Bag, open_source

_MOST_BYTES = 2 << 30
_SPIN_NS = 700_000
_NICE = -10
_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class Send(NamedTuple):
    """One message to publish."""

    due_ns: int  # from the begin on
    topic: str
    data: bytes
    measured: bool


class Recording:
    """All messages of a recording, by topic.

    Raises:
        ConfigError: it has no message of the measured topic that carries a stamp, or is too large.
    """

    def __init__(self, path: Path, topic: str) -> None:
        source = open_source(path)
        if not isinstance(source, Bag):
            raise ConfigError(f"{path} must be a recording")
        self.types: dict[str, str] = {}
        self.messages: dict[str, list[tuple[int, bytes]]] = {}
        taken = 0
        for message in source.messages():
            if message.topic == "/clock":
                continue
            taken += len(message.data)
            if taken > _MOST_BYTES:
                raise ConfigError(f"{path} must fit into {_MOST_BYTES >> 30} GiB of memory: cut it, or name --topics")
            self.types.setdefault(message.topic, message.type)
            self.messages.setdefault(message.topic, []).append((message.t_ns, bytes(message.data)))
        self.topic = topic or self._only_images()
        if self.topic not in self.messages:
            raise ConfigError(f"--topic must be one of {', '.join(sorted(self.messages))}; got '{self.topic}'")
        self.codec = Codec(installed_definition(self.types[self.topic]))
        own = self.messages[self.topic]
        if self.codec.stamped(own[0][1], 1, 1) is None:
            raise ConfigError(f"{self.topic} ({self.types[self.topic]}) must have a header, by which answers are told")
        self.distinct = len({self.codec.stamped(data, 0, 0) for _, data in own})
        span_ns = own[-1][0] - own[0][0]
        self.rate_hz = (len(own) - 1) / (span_ns / 1e9) if span_ns > 0 else 0.0

    def schedule(self, rate_hz: float, seconds: float, seed: int | None) -> Iterator[Send]:
        """Yield what is to be sent, in the order of the due times; 0 Hz: as recorded; a seed: Poisson arrivals."""
        own = self.messages[self.topic]
        numbers = None if seed is None else random.Random(seed)
        begin_ns, count = own[0][0], len(own)
        period_ns = 1e9 / (rate_hz or self.rate_hz or 1.0)
        stretch = (self.rate_hz / rate_hz) if rate_hz and self.rate_hz else 1.0
        others = sorted((t_ns, topic, data) for topic, messages in self.messages.items() if topic != self.topic
                        for t_ns, data in messages)  # fmt: skip
        loop_ns = (own[-1][0] - begin_ns) + (1e9 / self.rate_hz if self.rate_hz else 1e9)
        sends: list[Send] = []
        due_ns, number = 0.0, 0
        while due_ns < seconds * 1e9:
            lap, index = divmod(number, count)
            sends.append(Send(round(due_ns), self.topic, own[index][1], True))
            number += 1
            if numbers is not None:
                due_ns += numbers.expovariate(1 / period_ns)
            elif rate_hz:
                due_ns = number * period_ns
            else:
                lap, index = divmod(number, count)
                due_ns = lap * loop_ns + own[index][0] - begin_ns
        lap = 0
        while others and lap * loop_ns * stretch < seconds * 1e9:
            for t_ns, topic, data in others[bisect_left(others, begin_ns, key=lambda one: one[0]) if lap else 0 :]:
                at_ns = max(0.0, (lap * loop_ns + t_ns - begin_ns) * stretch)
                if at_ns < seconds * 1e9:
                    sends.append(Send(round(at_ns), topic, data, False))
            lap += 1
        yield from sorted(sends, key=lambda send: send.due_ns)

    def _only_images(self) -> str:
        images = [topic for topic, kind in self.types.items() if kind.endswith("msg/Image")]
        if len(images) != 1:
            raise ConfigError(f"--topic must say what is measured: {', '.join(sorted(self.messages)) or 'no topics'}")
        return images[0]


def send(recording: Recording, publishers: dict[str, Any], order: dict[str, Any]) -> dict[str, Any]:
    """Publish from the begin on; return the stamps of the measured topic, and how late each was."""
    sends = list(recording.schedule(float(order["rate_hz"]), float(order["seconds"]), order.get("seed")))
    begin_ns = int(order["begin_ns"])
    to_system_ns = time.time_ns() - time.monotonic_ns()
    stamps, late = [], []
    for one in sends:
        due_ns = begin_ns + one.due_ns
        stamp_ns = due_ns + to_system_ns
        data = one.data
        if one.measured:
            data = recording.codec.stamped(data, *divmod(stamp_ns, 10**9)) or data
        left_ns = due_ns - time.monotonic_ns() - _SPIN_NS
        if left_ns > 0:
            time.sleep(left_ns / 1e9)
        while (now_ns := time.monotonic_ns()) < due_ns:
            pass
        publishers[one.topic].publish(bytes(data))
        if one.measured:
            stamps.append(stamp_ns)
            late.append(now_ns - due_ns)
    return {"stamps": stamps, "late_ns": late}


def _publisher(node: Node, topic: str, kind: str, remap: dict[str, str]) -> Any:
    """Return a publisher; None, with a word on stderr: its type is not installed here."""
    try:
        return node.create_publisher(message_class(kind), remap.get(topic, topic), _QOS)
    except ConfigError as error:
        print(f"{topic} is not played: {error}", file=sys.stderr)
        return None


def come_first() -> None:
    """Let this thread run as soon as it is due, where the user may: no node that keeps all cores busy makes it late.

    It spins for less than a millisecond before each message, so that as a real-time thread it takes nobody's core.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def main() -> int:
    """Serve the trials that come on standard input, until it ends."""
    how = json.loads(sys.argv[1])
    child_process.end_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    try:
        recording = Recording(Path(how["recording"]), how["topic"])
    except PerfInferenceError as error:
        print(json.dumps({"failed": str(error)}), flush=True)
        return 1
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = Node("replay_sender")
    publishers = {topic: publisher for topic, kind in recording.types.items()
                  if (publisher := _publisher(node, topic, kind, how["remap"]))}  # fmt: skip
    for topic in set(recording.messages) - set(publishers):
        del recording.messages[topic]
    about = {"topic": recording.topic, "rate_hz": recording.rate_hz, "distinct": recording.distinct,
             "count": len(recording.messages[recording.topic])}  # fmt: skip
    print(json.dumps({"loaded": about}), flush=True)
    deadline_s = time.monotonic() + float(how["ready_s"])
    measured = publishers[recording.topic]
    while not measured.get_subscription_count() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    print(json.dumps({"matched": measured.get_subscription_count(), "topic": measured.topic_name}), flush=True)
    come_first()
    gc.collect()
    gc.disable()
    for line in sys.stdin:
        print(json.dumps(send(recording, publishers, json.loads(line))), flush=True)
    leave_with(node)
    return 0


if __name__ == "__main__":
    sys.exit(main())
