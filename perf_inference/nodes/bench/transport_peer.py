"""One end of a measurement of the transport: a process that publishes images, or one that receives them.

Started by `perf-inference bench transport`, two at a time, and told by lines on its standard input what to do next. It
answers with one JSON object a line: `{"matched": true}` when it has found its peer, and what it has counted at the end.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import struct
import sys
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from perf_inference.bringup import child_process
from perf_inference.bringup.shared_memory import own_segments
from perf_inference.nodes.ros.leaving import leave_with

TOPIC = "bench_transport"
QOS = {
    "reliable": QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE),
    "best_effort": QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT),
}
_ACKNOWLEDGED_S = 5.0
_QUIET_NS = 300_000_000
_CDR_HEADER = struct.Struct("<4xiII")  # encapsulation; stamp: sec, nanosec; length of frame_id


class Usage:
    """What the process uses from here on."""

    def __init__(self) -> None:
        self._cpu_ns, self._faults = time.process_time_ns(), _faults()

    def since(self) -> dict[str, int]:
        """Return {cpu_ns, faults, segment_bytes}."""
        return {
            "cpu_ns": time.process_time_ns() - self._cpu_ns,
            "faults": _faults() - self._faults,
            "segment_bytes": max((segment.size_bytes for segment in own_segments()), default=0),
        }


def publish(node: Node, options: argparse.Namespace) -> dict[str, Any]:
    """Publish `frames` images at `rate` once told to; return what it took."""
    publisher = node.create_publisher(Image, TOPIC, QOS[options.qos])
    size = options.width * options.height * options.channels
    encoding = "bgr8" if options.channels == 3 else "mono8"
    message = Image(height=options.height, width=options.width, step=options.width * options.channels,
                    encoding=encoding, data=array("B", bytes(range(256)) * (size // 256 + 1))[:size])  # fmt: skip
    _matched(lambda: publisher.get_subscription_count() > 0)
    sys.stdin.readline()
    usage = Usage()
    sent, period_ns = 0, round(1e9 / options.rate)
    started_ns = time.monotonic_ns()
    for number in range(options.frames):
        if not rclpy.ok():
            break
        left_ns = started_ns + number * period_ns - time.monotonic_ns()
        if left_ns > 0:
            time.sleep(left_ns / 1e9)
        message.header.frame_id = str(number)
        message.header.stamp = stamp(time.monotonic_ns())
        publisher.publish(message)
        sent += 1
    elapsed_ns = time.monotonic_ns() - started_ns
    used = usage.since()
    if options.qos == "reliable":
        publisher.wait_for_all_acked(Duration(seconds=_ACKNOWLEDGED_S))
    return {"sent": sent, "elapsed_ns": elapsed_ns, **used}


def subscribe(node: Node, options: argparse.Namespace) -> dict[str, Any]:
    """Receive until told to end; return the latencies [ns] and what it took."""
    latencies_ns: list[int] = []
    numbers: set[int] = set()
    size = options.width * options.height * options.channels
    wrong = 0

    def on_image(message: Image) -> None:
        count(message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id, len(message.data))

    def on_cdr(message: bytes) -> None:
        sec, nanosec, length = _CDR_HEADER.unpack_from(message)
        pixels = np.frombuffer(message, np.uint8)[-size:]  # what follows the header has a fixed length
        count(sec, nanosec, message[_CDR_HEADER.size : _CDR_HEADER.size + length - 1].decode(), len(pixels))

    def count(sec: int, nanosec: int, number: str, data_bytes: int) -> None:
        nonlocal wrong
        latencies_ns.append(time.monotonic_ns() - sec * 10**9 - nanosec)
        numbers.add(int(number))
        wrong += data_bytes != size

    callback = on_cdr if options.raw else on_image
    subscription = node.create_subscription(Image, TOPIC, callback, QOS[options.qos], raw=options.raw)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    publishers = getattr(subscription, "get_publisher_count", lambda: node.count_publishers(TOPIC))  # not in Humble
    _matched(lambda: publishers() > 0)
    ended = threading.Event()
    usage = Usage()

    def wait_for_the_end() -> None:
        sys.stdin.readline()
        ended.set()
        executor.wake()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    while not ended.is_set() and rclpy.ok():
        executor.spin_once(timeout_sec=1.0)
    used = usage.since()
    arrived, quiet_ns = len(latencies_ns), time.monotonic_ns()
    while time.monotonic_ns() - quiet_ns < _QUIET_NS:  # what is on its way
        executor.spin_once(timeout_sec=0.05)
        if len(latencies_ns) > arrived:
            arrived, quiet_ns = len(latencies_ns), time.monotonic_ns()
    executor.shutdown()
    return {"received": len(numbers), "wrong": wrong, "latencies_ns": latencies_ns, **used}


def stamp(t_ns: int) -> Time:
    """Return a time [ns] as a message has it."""
    return Time(sec=t_ns // 10**9, nanosec=t_ns % 10**9)


def _matched(found: Callable[[], bool]) -> None:
    """Wait for the peer and say so."""
    while not found() and rclpy.ok():
        time.sleep(0.01)
    print(json.dumps({"matched": True}), flush=True)


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def main(arguments: Sequence[str] | None = None) -> None:
    """Be one end until the work is done."""
    parser = argparse.ArgumentParser(prog="python -m perf_inference.nodes.bench.transport_peer", description=__doc__)
    parser.add_argument("role", choices=["publish", "subscribe"])
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--height", type=int, required=True)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--qos", choices=list(QOS), default="reliable")
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--raw", action="store_true", help="receive the serialised message, and look at its data only")
    options = parser.parse_args(arguments)
    child_process.end_with_parent(signal.SIGTERM)
    rclpy.init()
    node = rclpy.create_node(f"transport_{options.role}er")
    result = (publish if options.role == "publish" else subscribe)(node, options)
    print(json.dumps(result), flush=True)
    leave_with(node)


if __name__ == "__main__":
    main()
