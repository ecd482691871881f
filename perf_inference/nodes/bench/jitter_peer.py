"""A robot for benchmarks that stands still: camera and joints out, and when each action was received.

It runs as a file of its own and imports nothing of this package, which would tune its process.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from array import array

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from trajectory_msgs.msg import JointTrajectory

WIDTH_PX, HEIGHT_PX, IMAGE_HZ, JOINTS_HZ = 640, 480, 30.0, 100.0


def main() -> None:
    """Publish for some time after the first action; print the times of reception [ns] as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    rclpy.init()
    node = rclpy.create_node("bench_robot")
    received: list[int] = []
    images = node.create_publisher(Image, "image", qos_profile_sensor_data)
    joints = node.create_publisher(JointState, "joint_states", 10)
    image = Image(height=HEIGHT_PX, width=WIDTH_PX, encoding="bgr8", step=WIDTH_PX * 3)
    image.data = array("B", bytes(HEIGHT_PX * WIDTH_PX * 3))
    state = JointState(name=["shoulder", "elbow"], position=[1.0, 1.5], velocity=[0.0, 0.0])

    def stamped(message: Image | JointState) -> Image | JointState:
        message.header.stamp = node.get_clock().now().to_msg()
        return message

    def on_action(message: JointTrajectory, info: object) -> None:
        if len(message.points) > 1:  # driving: what only holds has one
            received.append(info["received_timestamp"])  # type: ignore[index]

    node.create_subscription(JointTrajectory, "action", on_action, QoSProfile(depth=100))
    node.create_timer(1 / IMAGE_HZ, lambda: images.publish(stamped(image)))
    node.create_timer(1 / JOINTS_HZ, lambda: joints.publish(stamped(state)))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    ended = threading.Event()
    deadline = time.monotonic() + 60.0
    while not ended.is_set() and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
        if received and time.time_ns() - received[0] > options.seconds * 1e9:
            ended.set()
    print(json.dumps(received), flush=True)
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
