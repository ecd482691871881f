"""A camera for benchmarks: one image again and again, at a rate, each stamped just before it is sent.

It runs as a file of its own and imports nothing of this package, which would tune its process: the settings are those
of the environment that it is started in.
"""

from __future__ import annotations

import argparse
import json
import time
from array import array

import numpy as np
import rclpy
from rclpy.duration import Duration
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header

MATCH_S, SETTLE_S, LAST_ACK_S = 20.0, 0.5, 2.0


def main() -> None:
    """Wait for a reader of `image`, send the images, print the stamps of all that were sent, and what that cost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("image", help=".npy, BGR [H, W, 3]")
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--reliable", action="store_true")
    options = parser.parse_args()
    image = np.load(options.image)
    height, width = image.shape[:2]
    message = Image(header=Header(frame_id="camera"), height=height, width=width, encoding="bgr8", step=width * 3)
    message.data = array("B", image.tobytes())
    rclpy.init()
    node = rclpy.create_node("bench_camera")
    publisher = node.create_publisher(Image, "image", QoSProfile(depth=10) if options.reliable else
                                      qos_profile_sensor_data)  # fmt: skip
    deadline = time.monotonic() + MATCH_S
    while not publisher.get_subscription_count():
        if time.monotonic() > deadline:
            raise SystemExit(f"bench_camera: nobody reads {publisher.topic_name} after {MATCH_S:g} s")
        time.sleep(0.02)
    time.sleep(SETTLE_S)
    start, before_s = time.monotonic(), time.process_time()
    stamps = []
    for number in range(options.frames):
        time.sleep(max(0.0, start + number / options.rate - time.monotonic()))
        stamp_ns = time.time_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
        publisher.publish(message)
        stamps.append(stamp_ns)
    if options.reliable:
        publisher.wait_for_all_acked(Duration(seconds=LAST_ACK_S))
    print(json.dumps({"stamps_ns": stamps, "cpu_s": time.process_time() - before_s}), flush=True)
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
