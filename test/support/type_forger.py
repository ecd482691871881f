"""Somebody on the network who names message types as he likes: `type_forger.py TOPIC=NAMESPACE::NAME...`.

The names go into the type support's own structure, from where the middleware takes what it announces.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys

import rclpy
from rclpy.executors import ExternalShutdownException
from std_msgs.msg import Empty

_NAMES: list[bytes] = []  # the middleware reads them as long as the process lives


class _TypeSupport(ctypes.Structure):
    _fields_ = (("identifier", ctypes.c_char_p), ("callbacks", ctypes.POINTER(ctypes.c_char_p)))


def forge(namespace: str, name: str) -> None:
    """Let std_msgs/msg/Empty be announced under this name from now on."""
    library = ctypes.CDLL("libstd_msgs__rosidl_typesupport_fastrtps_c.so")
    handle = library.rosidl_typesupport_fastrtps_c__get_message_type_support_handle__std_msgs__msg__Empty
    handle.restype = ctypes.POINTER(_TypeSupport)
    callbacks = handle().contents.callbacks
    _NAMES.extend((namespace.encode(), name.encode()))
    callbacks[0], callbacks[1] = _NAMES[-2:]


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("forger")
    for argument in sys.argv[1:]:
        topic, _, full = argument.partition("=")
        forge(*full.rsplit("::", 1))
        publisher = node.create_publisher(Empty, topic, 10)
        node.create_subscription(Empty, topic, lambda message: None, 10)
        node.create_timer(0.1, lambda publisher=publisher: publisher.publish(Empty()))
    print("ready", flush=True)
    with contextlib.suppress(ExternalShutdownException, KeyboardInterrupt):
        rclpy.spin(node)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel ends it where the middleware hangs
    signal.alarm(10)
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
