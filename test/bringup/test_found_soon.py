"""How often a participant announces itself, as anybody in its domain hears it: with our settings, and in stock."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from perf_inference.bringup import middleware, tuning

_NODE = (
    "import rclpy, sys; rclpy.init(); node = rclpy.create_node('announced'); print('up', flush=True); sys.stdin.read()"
)
_GROUP = "239.255.0.1"  # RTPS 2.5, 9.6.2.4: where participants announce themselves
_WRITER = bytes((0, 1, 0, 0xC2))  # RTPS 2.5, 9.3.2.1: who writes it
_FIRST_S, _LATER_S = 3.5, 4.5  # for how long they announce themselves more often at first; then we listen
_OURS = {
    tuning.TUNING, "FASTDDS_BUILTIN_TRANSPORTS", "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE",
    "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY", *tuning.ALLOCATOR,  # on this host only nothing is multicast
}  # fmt: skip


@pytest.fixture
def hearing(domain: int) -> Iterator[socket.socket]:
    """What is announced in this domain."""
    if not os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp").startswith("rmw_fastrtps"):
        pytest.skip("is about Fast DDS")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as group:
        group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        group.bind((_GROUP, 7400 + 250 * domain))
        group.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(_GROUP) + bytes(4))
        yield group


def _announced(hearing: socket.socket, seconds: float) -> list[int]:
    """Return how often each participant announces itself; on several networks at a time is once."""
    times_s: dict[bytes, list[float]] = {}
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        hearing.settimeout(left_s)
        try:
            message = hearing.recv(65_536)
        except TimeoutError:
            break
        if message.startswith(b"RTPS") and _WRITER in message:
            times_s.setdefault(message[8:20], []).append(time.monotonic())
    return sorted(1 + sum(b - a > 0.3 for a, b in pairwise(all_s)) for all_s in times_s.values())


def test_ours_announce_themselves_every_second(hearing: socket.socket) -> None:
    user = {name: value for name, value in os.environ.items() if name not in _OURS}
    environments = {
        "publisher of images": tuning.tuned(user, images=True),
        "another node": tuning.tuned(user, images=False),
        "gate": middleware.without_shared_memory(tuning.tuned(user)),
        "stock": {**user, tuning.TUNING: "off"},
    }
    with ExitStack() as all_of_them:
        nodes = [
            all_of_them.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _NODE], env=given, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
            for given in environments.values()
        ]
        for node in nodes:
            assert node.stdout.readline() == b"up\n"
        _announced(hearing, _FIRST_S)
        stock, *ours = _announced(hearing, _LATER_S)
    assert len(ours) == 3
    assert stock <= 2 < 3 <= ours[0], (stock, ours)
