"""Recordings of images, made by rosbags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_typestore

T0_NS = 1_700_000_000_000_000_000


def image_bag(path: Path, count: int, distinct: int, rate_hz: float = 10.0, side_px: int = 64) -> Path:
    """Write a rosbag2 with so many images on /image, of which so many are different."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    kinds = ("sensor_msgs/msg/Image", "std_msgs/msg/Header", "builtin_interfaces/msg/Time")
    image, header, time = (store.types[name] for name in kinds)
    numbers = np.random.default_rng(0)
    pixels = [numbers.integers(0, 255, 3 * side_px * side_px, dtype=np.uint8) for _ in range(distinct)]
    with Writer(path, version=9) as writer:
        connection = writer.add_connection("/image", kinds[0], typestore=store)
        for number in range(count):
            t_ns = T0_NS + round(number * 1e9 / rate_hz)
            stamped = header(time(*divmod(t_ns, 10**9)), "camera")
            message = image(stamped, side_px, side_px, "bgr8", 0, 3 * side_px, pixels[number % distinct])
            writer.write(connection, t_ns, store.serialize_cdr(message, kinds[0]))
    return path
