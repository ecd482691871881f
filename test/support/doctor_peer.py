"""A node of somebody else: `doctor_peer.py publish|subscribe NAME WIDTH HEIGHT RATE_HZ RELIABILITY [BUSY_MS]`."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from array import array

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

TOPIC = "image"


def publish(node: Node, qos: QoSProfile, width: int, height: int, rate_hz: float) -> None:
    publisher = node.create_publisher(Image, TOPIC, qos)
    message = Image(
        width=width, height=height, step=3 * width, encoding="bgr8", data=array("B", bytes(3 * width * height))
    )

    def expose() -> None:
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)

    node.create_timer(1 / rate_hz, expose)


def subscribe(node: Node, qos: QoSProfile, busy_ms: float) -> None:
    heard = False

    def work(message: Image) -> None:
        nonlocal heard
        if not heard:
            heard = True
            print("received", flush=True)
        end_s = time.monotonic() + busy_ms / 1000
        while time.monotonic() < end_s:
            pass

    node.create_subscription(Image, TOPIC, work, qos)


def main() -> None:
    role, name, width, height, rate_hz, reliability, *busy_ms = sys.argv[1:]
    rclpy.init()
    node = rclpy.create_node(name)
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy[reliability])
    if role == "publish":
        publish(node, qos, int(width), int(height), float(rate_hz))
    else:
        subscribe(node, qos, float(busy_ms[0]) if busy_ms else 0.0)
    print("ready", flush=True)
    with contextlib.suppress(ExternalShutdownException, KeyboardInterrupt):
        rclpy.spin(node)
    # Whether the middleware hangs at the end is no verdict on the doctor; the kernel ends it, also after Python.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(10)
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
