"""A node that ends in order is gone at once: for the others in the graph, and from shared memory."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from support.processes import Process, Ros

from perf_inference.bringup.shared_memory import SHM, own_segments

LEASE_S = 20  # after which Fast DDS believes that a participant without a word has gone


@pytest.mark.parametrize("name", ["yolo_node", "caption_node", "policy_node", "recorder_node"])
def test_it_leaves_the_graph_and_no_memory(
    ros: Ros, start_node: Callable[..., Process], name: str, tmp_path: object
) -> None:
    more = ("-p", f"output_dir:={tmp_path}") if name == "recorder_node" else ()
    node = start_node(name, *more)
    ros.wait_until_active(name)
    segments = [SHM / segment.name for segment in own_segments(node.pid)]
    assert segments or any(SHM.glob("fastrtps_*"))  # Fast DDS 2 (Jazzy, Humble) has other names
    assert all(segment.exists() for segment in segments)
    node.send(signal.SIGINT)
    assert node.wait(20) == 0, node.output()
    assert ros.spin_until(lambda: name not in ros.node.get_node_names(), LEASE_S / 4)
    assert not [segment for segment in segments if segment.exists()]
