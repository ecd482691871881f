"""A detector flooded at three times its capacity: every image that was sent is accounted for.

    probe           flood                                               tail
    12 good, then   at 3 x capacity: good, poison (the engine raises),  5 good at 2 Hz
    2 of each kind  short step, unknown encoding, truncated data;
    of bad, singly  twice the node is stopped for a while (losses)

The publisher and its reader are matched before the first image, and the last five come slowly, so that a loss is
always followed by an image whose number shows it.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from support.onnx_models import sometimes_failing_detector
from support.processes import Process, Ros

from perf_inference.measure.ledger import Ledger
from perf_inference.nodes.reports.messages import from_key_values, timing_record
from perf_inference.nodes.reports.reporter import STATUS_QOS, TIMING_QOS
from perf_inference.nodes.ros.subscription import HAS_MESSAGE_INFO, Input

WIDTH_PX, HEIGHT_PX = 128, 96
FLOOD_S, STOPPED_S = 4.0, 0.25  # seconds: several heartbeats must fall into it
PIXELS = np.full((HEIGHT_PX, WIDTH_PX, 3), 50, np.uint8)
FUTURE_S = 4_000_000_000  # a stamp in the year 2096


def image(kind: str) -> Image:
    """Return an image: `good`, `poison`, `future` (a stamp that cannot be), or malformed in one of three ways."""
    value = 255 if kind == "poison" else 50
    data = array("B", np.full_like(PIXELS, value).tobytes())
    message = Image(header=Header(frame_id=kind), height=HEIGHT_PX, width=WIDTH_PX, encoding="bgr8", step=WIDTH_PX * 3)
    if kind == "step":
        message.step = WIDTH_PX
    elif kind == "encoding":
        message.encoding = "bgr9"
    elif kind == "truncated":
        data = data[: len(data) // 2]
    message.data = data
    return message


PICTURES = {kind: image(kind) for kind in ("good", "poison", "future", "step", "encoding", "truncated")}
MALFORMED = ("step", "encoding", "truncated")
# Malformed and poisonous ones in turn, so that none of them always meets a busy engine.
FLOOD_KINDS = ("good", "good", "step", "good", "poison", "good", "encoding", "good", "poison", "truncated", "good")


class Flood:
    """The publisher, and what it saw of the node."""

    def __init__(self, ros: Ros, node: Process) -> None:
        self.ros, self.node = ros, node
        self.sent: dict[str, int] = dict.fromkeys(PICTURES, 0)
        self._publisher = ros.node.create_publisher(Image, "image", qos_profile_sensor_data)
        self.ledgers: list[dict[str, Any]] = []
        self.timings: list[dict[str, Any]] = []
        self.results = ros.collect(String, "detections_json", 1000)
        ros.node.create_subscription(DiagnosticStatus, "inference/status", self._heartbeat, STATUS_QOS)
        ros.node.create_subscription(DiagnosticArray, "inference/timing", self._timed, TIMING_QOS)

    @property
    def total(self) -> int:
        return sum(self.sent.values())

    @property
    def ledger(self) -> dict[str, Any]:
        """What the newest heartbeat says."""
        return self.ledgers[-1] if self.ledgers else {}

    def _heartbeat(self, status: DiagnosticStatus) -> None:
        prefix = "ledger.image."
        values = from_key_values(status.values)
        ledger = {k[len(prefix) :]: v for k, v in values.items() if k.startswith(prefix)}
        if not ledger:  # it is being configured, and has no input yet
            return
        self.ledgers.append(ledger)
        assert self.ledger["residual"] == 0, self.ledger
        assert self.ledger["in_work"] in (0, 1), self.ledger

    def _timed(self, batch: DiagnosticArray) -> None:
        self.timings += [timing_record(status) for status in batch.status]

    def match(self) -> None:
        """Wait until both sides of every topic have found each other."""
        assert self.ros.spin_until(lambda: self._publisher.get_subscription_count() == 1, 20), self.node.output()
        seen = len(self.ledgers)
        assert self.ros.spin_until(lambda: len(self.ledgers) > seen + 1, 20), self.node.output()
        assert self.ros.node.count_publishers("detections_json") == 1

    def send(self, kind: str) -> None:
        message = PICTURES[kind]
        now = self.ros.node.get_clock().now().to_msg()
        message.header.stamp = now
        if kind == "future":
            message.header.stamp.sec = FUTURE_S
        self._publisher.publish(message)
        self.sent[kind] += 1

    def send_at(self, rate_hz: float, kinds: list[str]) -> None:
        """Send at a rate and spin in between; what comes too late is sent at once."""
        start = time.monotonic()
        for number, kind in enumerate(kinds):
            self.pause(start + number / rate_hz - time.monotonic())
            self.send(kind)

    def pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self.ros.spin_until(lambda: time.monotonic() >= until)

    def settle(self) -> dict[str, Any]:
        """Return the ledger once nothing waits any more and all that was sent or lost is in it."""

        def settled() -> bool:
            newest = self.ledger
            arrived = newest.get("received", 0) + (newest.get("lost_before") or 0)
            idle = newest.get("waiting") == newest.get("in_work") == 0
            return idle and arrived >= self.total and len(self.timings) >= newest["processed"]

        seen = len(self.ledgers)
        assert self.ros.spin_until(lambda: len(self.ledgers) > seen + 1 and settled(), 30), (self.ledger, self.sent)
        return self.ledger


def probe(flood: Flood) -> float:
    """Check each way an image can end, one at a time; return what the node can do [Hz]."""
    kinds = ["good"] * 12 + [*MALFORMED, "poison", "future"] * 2
    for kind in kinds:
        results = len(flood.results)
        flood.send(kind)
        if kind in ("good", "future"):
            assert flood.ros.spin_until(lambda n=results: len(flood.results) > n), (kind, flood.node.output())
        else:  # nothing comes of it
            flood.pause(0.2)
    ledger = flood.settle()
    expected = {
        "received": len(kinds), "processed": 14, "rejected": 6, "failed": 2, "replaced": 0, "ignored": 0,
        "lost_before": 0, "published": 14, "implausible_stamps": 2,
    }  # fmt: skip
    assert {key: ledger[key] for key in expected} == expected
    busy_ms = sorted(t["total_ms"] - t["queue_ms"] for t in flood.timings)
    return float(1000 / busy_ms[len(busy_ms) // 2])


@pytest.mark.timing  # the flood must be one: images are lost, replaced and rejected
@pytest.mark.skipif(not HAS_MESSAGE_INFO, reason="this ROS 2 gives no sequence numbers")
@pytest.mark.parametrize("queue_size", [1, pytest.param(64, marks=pytest.mark.long)])
def test_every_image_of_a_flood_is_accounted_for(
    ros: Ros, start_node: Callable[..., Process], tmp_path: Path, queue_size: int
) -> None:
    model = sometimes_failing_detector(tmp_path / "slow.onnx", HEIGHT_PX, WIDTH_PX)
    node = start_node(
        "yolo_node", "-p", f"model:={model}", "-p", "threads:=1", "-p", f"queue_size:={queue_size}"
    )  # fmt: skip
    flood = Flood(ros, node)
    flood.match()
    capacity_hz = probe(flood)
    before = len(flood.ledgers)

    working = sum(kind not in MALFORMED for kind in FLOOD_KINDS) / len(
        FLOOD_KINDS
    )  # the others cost the engine nothing
    rate_hz = 3 * capacity_hz / working
    kinds = list(itertools.islice(itertools.cycle(FLOOD_KINDS), round(FLOOD_S * rate_hz)))
    third = len(kinds) // 3
    flood.send_at(rate_hz, kinds[:third])
    for part in (kinds[third : 2 * third], kinds[2 * third :]):  # the reader's five places overflow while it stands
        os.kill(node.pid, signal.SIGSTOP)
        stopped = max(1, min(len(part) // 2, round(STOPPED_S * rate_hz)))
        flood.send_at(rate_hz, part[:stopped])
        os.kill(node.pid, signal.SIGCONT)
        flood.send_at(rate_hz, part[stopped:])
    flood.send_at(2, ["good"] * 5)
    ledger = flood.settle()

    print(f"\nqueue of {queue_size}: {capacity_hz:.0f} Hz capacity, {rate_hz:.0f} Hz flood of {flood.sent}")
    print(ledger)
    during = flood.ledgers[before:]
    assert len(during) >= 4
    assert any(seen["waiting"] + seen["in_work"] > 0 for seen in during), "seen while it was busy"
    assert {seen["residual"] for seen in flood.ledgers} == {0}
    assert ledger["received"] + ledger["lost_before"] == flood.total
    assert min(ledger[key] for key in ("processed", "replaced", "rejected", "failed", "lost_before")) > 0
    # Nothing ends as what it is not, and each end has its own witness.
    malformed = sum(flood.sent[kind] for kind in MALFORMED)
    assert 6 < ledger["rejected"] <= malformed
    assert 2 < ledger["failed"] <= flood.sent["poison"]
    assert ledger["processed"] <= flood.sent["good"] + flood.sent["future"]
    assert ledger["processed"] == ledger["published"] == len(flood.timings) == len(flood.results)
    assert [timing["seq"] for timing in flood.timings] == list(range(1, ledger["processed"] + 1))
    assert sum(timing["dropped_before"] for timing in flood.timings) == ledger["replaced"]
    aged = [timing["dropped_age_ms"] for timing in flood.timings if timing["dropped_before"]]
    assert min(aged) > 0
    assert node.stop() == 0


def test_the_middlewares_own_events_are_counted_apart(ros: Ros) -> None:
    ledger = Ledger()
    source = Input(ros.node, Image, "image", lambda arrival: None, ledger)
    for lost in (2, 3):
        source._message_lost(SimpleNamespace(total_count=5, total_count_change=lost))
    assert (ledger.snapshot().message_lost, ledger.snapshot().lost_before) == (5, None)
