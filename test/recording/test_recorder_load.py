"""recorder_node beside a bare raw subscription in another process: it records all that the other receives."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.processes import Process, Ros, wait_until

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticStatus

from perf_inference.bringup import tuning
from perf_inference.nodes.reports.messages import from_key_values
from perf_inference.nodes.reports.reporter import STATUS_QOS
from perf_inference.recording.jsonl.line import unsealed

START = "20260102_030405"

PUBLISHER = """
import sys, time, array, rclpy
from rclpy.duration import Duration
from sensor_msgs.msg import Image, JointState
rclpy.init()
node = rclpy.create_node("publisher")
images, states = node.create_publisher(Image, "image", 10), node.create_publisher(JointState, "joint_states", 1000)
while min(images.get_subscription_count(), states.get_subscription_count()) < 2:
    time.sleep(0.05)
time.sleep(1.0)
image = Image(height=480, width=640, encoding="bgr8", step=1920, data=array.array("B", bytes(640 * 480 * 3)))
state = JointState(name=[f"joint_{n}" for n in range(7)], position=[0.0] * 7, velocity=[0.5] * 7, effort=[0.5] * 7)
count, states_per_image, period_s = int(sys.argv[1]), int(sys.argv[2]), 1 / 30
start = time.monotonic()
for number in range(count):
    image.header.stamp.nanosec = number + 1
    images.publish(image)
    for part in range(states_per_image):
        due = start + number * period_s + part * period_s / states_per_image
        time.sleep(max(0.0, due - time.monotonic()))
        state.header.stamp.nanosec = number * states_per_image + part + 1
        states.publish(state)
for publisher in (images, states):
    publisher.wait_for_all_acked(Duration(seconds=5.0))
print("published", count, count * states_per_image, flush=True)
sys.stdin.read()
"""

BARE = """
import sys, threading, rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, JointState
rclpy.init()
node = rclpy.create_node("bare")
counts = {"image": 0, "joint_states": 0}
def receive(name):
    def callback(data):
        counts[name] += 1
    return callback
node.create_subscription(Image, "image", receive("image"), QoSProfile(depth=10), raw=True)
node.create_subscription(JointState, "joint_states", receive("joint_states"), QoSProfile(depth=1000), raw=True)
executor = SingleThreadedExecutor()
executor.add_node(node)
print("ready", flush=True)
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set())).start()
while not over.is_set():
    executor.spin_once(timeout_sec=0.1)
    print(counts["image"], counts["joint_states"], flush=True)
"""


class Script:
    """A script in a process of its own, and the last line that it printed."""

    def __init__(self, text: str, *arguments: str) -> None:
        self.last = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", text, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=tuning.tuned(os.environ),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.last = line.strip()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10.0)
        self._reader.join(5.0)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.mark.thorough
@pytest.mark.timing
@pytest.mark.parametrize(
    ("images", "states_per_image"), [(60, 10), pytest.param(1800, 33, marks=pytest.mark.long, id="keeps-up")]
)
def test_the_recorder_keeps_up_with_a_bare_raw_subscription(
    ros: Ros, start_node: Callable[..., Process], tmp_path: Path, images: int, states_per_image: int
) -> None:
    states = images * states_per_image
    beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    bare = Script(BARE)
    publisher = Script(PUBLISHER, str(images), str(states_per_image))
    try:
        process = start_node(
            "recorder_node", "-p", f"output_dir:={tmp_path}", "-p", f"start_time:='{START}'",
            "-p", "topics:=['image','joint_states']", "-p", "encoding:=['image=cdr']",
        )  # fmt: skip
        process.wait_for("recording into")
        assert wait_until(lambda: publisher.last == f"published {images} {states}", 60.0 + images / 15), publisher.last
        assert wait_until(lambda: bare.last == f"{images} {states}", 10.0), bare.last
        heard = [int(word) for word in bare.last.split()]
        caught_up = ros.spin_until(lambda: beats and from_key_values(beats[-1].values)["records"] == sum(heard), 20.0)
        assert caught_up, f"the bare subscription heard {heard}, the recorder's last heartbeat: {beats[-1:]}"
    finally:
        publisher.close()
        bare.close()
    assert process.stop() == 0
    counts: dict[str, list[int]] = {"/image": [], "/joint_states": []}
    sizes: set[int] = set()
    directory = tmp_path / f"run_{START}"
    with open(directory / "topics_1.jsonl", "rb") as lines:
        for line in lines:
            record: dict[str, Any] = unsealed(line)
            if "record" not in record:
                counts[record["topic"]].append(record["stamp"])
                if record["topic"] == "/image":
                    sizes.add(len(record["cdr"]))
                    assert "message" not in record
    recorded = [len(counts["/image"]), len(counts["/joint_states"])]
    print(f"sent {images} {states}, bare raw subscription {heard}, recorded {recorded}")
    assert recorded == heard
    assert counts["/image"] == list(range(1, images + 1)), "each, in order"
    assert counts["/joint_states"] == list(range(1, states + 1))
    assert min(sizes) > 640 * 480 * 3 * 4 / 3
    about = orjson.loads((directory / "session.json").read_bytes())["counts"]
    assert (about["dropped"], about["failed"]) == (0, 0)
