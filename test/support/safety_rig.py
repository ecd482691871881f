"""A rig over DDS: an arm without stops and without a dead-man, driven by the real policy_node, and what goes wrong.

`python -m support.safety_rig --trials 20`, with `test` in PYTHONPATH, prints how far beyond a limit each kind of fault
let it get. The policy sends full speed towards a limit for ever; both joints follow what was sent last, for ever: one
after a first-order lag of 50 ms (as the simulated robot's), one at once.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import rclpy
from geometry_msgs.msg import WrenchStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool

from perf_inference.bringup import middleware
from perf_inference.bringup.domain import free_domain
from support.joint_model import JointModel
from support.onnx_models import constant_policy
from support.processes import Process, inherited, set_here, wait_until

NAMES = ("shoulder", "elbow")
LOWER_RAD, UPPER_RAD, FASTEST_RAD_S = (-1.5, -1.5), (1.5, 1.5), 2.5
JOINT_HZ, IMAGE_HZ, SAMPLE_S = 100, 30, 0.01
FAULTS = (
    "none", "silent", "nan", "impossible", "others_only", "one_joint_only", "positions_short", "frozen_stamp",
    "late_0.2", "late_0.28", "late_0.4", "disorder", "old_stamps", "stamps_ahead", "stuck_reading", "no_velocity",
    "image_silent", "image_broken", "force_nan", "disabled",
)  # fmt: skip
CLOCK_FAULTS = ("none", "clock_still", "clock_back", "clock_forward", "late_0.28")


class Trial(NamedTuple):
    """How one ended."""

    beyond_rad: float  # the farthest beyond a limit; below zero: within
    moved_rad: float


class Rig:
    """The arm, its sensors, and whatever is wrong with them."""

    def __init__(self, domain: int, clock: bool, seed: int, action: Any = None) -> None:
        """Begin; `action`: the type of the messages that drive it (velocities otherwise)."""
        self.chance = random.Random(seed)
        self.fault, self.fault_s = "none", 0.0
        self._clock, self._lock = clock, threading.RLock()
        self._joints: list[JointModel] = []
        self._later: list[tuple[float, JointState]] = []
        self._before: dict[str, Any] = {}
        self.place([0.0, 0.0])
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = node = rclpy.create_node("rig", context=self._context)
        self._states = node.create_publisher(JointState, "joint_states", 10)
        self._images = node.create_publisher(Image, "image", qos_profile_sensor_data)
        self._force = node.create_publisher(WrenchStamped, "force", qos_profile_sensor_data)
        self._clocks = node.create_publisher(Clock, "/clock", 10) if clock else None
        self._image = Image(height=48, width=64, encoding="bgr8", step=192, data=array("B", bytes(48 * 192)))
        self._enable = node.create_client(SetBool, "policy_node/enable")
        node.create_timer(SAMPLE_S, self._sample)
        node.create_timer(1 / IMAGE_HZ, self._see)
        # The arm hears commands with nothing between it and who sends them: a process that is killed at the lock of a
        # port in shared memory holds up for seconds whoever sends to it, as the sensors do (docs/safety.md).
        self._arm_context = rclpy.Context()
        with set_here(middleware.without_shared_memory(os.environ)):
            rclpy.init(context=self._arm_context, domain_id=domain)
            self._arm_node = rclpy.create_node("rig_arm", context=self._arm_context)
        self._arm_node.create_subscription(action or Float64MultiArray, "action", self._on_action, 10)
        self._executors = {}
        for each, context in ((node, self._context), (self._arm_node, self._arm_context)):
            self._executors[each] = SingleThreadedExecutor(context=context)
            self._executors[each].add_node(each)
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._spin, args=(e,), daemon=True) for e in self._executors.values()]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for node, executor in self._executors.items():
            executor.shutdown()
            node.destroy_node()
        for context in (self._context, self._arm_context):
            context.try_shutdown()

    def _spin(self, executor: SingleThreadedExecutor) -> None:
        while not self._ended.is_set():
            executor.spin_once(timeout_sec=0.02)

    # the arm ---------------------------------------------------------------------------------------------------------

    def place(self, positions: list[float]) -> None:
        """Put the arm somewhere, at rest."""
        with self._lock:
            self._joints = [
                JointModel("lag", positions[0], 0.15, lag_s=0.05), JointModel("delay", positions[1], 0.15),
            ]  # fmt: skip
            for joint in self._joints:
                joint.advance(time.monotonic())

    def state(self) -> list[JointModel]:
        with self._lock:
            for joint in self._joints:
                joint.advance(time.monotonic())
            return self._joints

    def _on_action(self, message: Float64MultiArray) -> None:
        with self._lock:
            for joint, value in zip(self._joints, message.data, strict=True):
                joint.advance(time.monotonic())
                joint.send(time.monotonic(), value, 0.0)

    # its sensors -----------------------------------------------------------------------------------------------------

    def begin(self, fault: str) -> None:
        with self._lock:
            self.fault, self.fault_s, self._before = fault, time.monotonic(), {}

    def clock_ns(self) -> int:
        """Return the ROS clock of the robot [ns]: the system's, or the simulation's with its faults."""
        ns = time.time_ns()
        since_ns = round((time.monotonic() - self.fault_s) * 1e9)
        if self.fault == "clock_still":
            ns -= since_ns
        if self.fault == "clock_back":
            ns -= 250_000_000
        if self.fault == "clock_forward":
            ns += 250_000_000
        return ns

    def _stamp(self, message: Any, ns: int) -> None:
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(ns, 1_000_000_000)

    def _sample(self) -> None:
        fault = self.fault
        now_ns = self.clock_ns()
        if self._clocks is not None:
            clock = Clock()
            clock.clock.sec, clock.clock.nanosec = divmod(now_ns, 1_000_000_000)
            self._clocks.publish(clock)
        force = WrenchStamped()
        force.wrench.force.x = math.nan if fault == "force_nan" else 0.0
        self._stamp(force, now_ns)
        self._force.publish(force)
        joints = self.state()
        positions, velocities = [j.position for j in joints], [j.velocity for j in joints]
        names, delay_s = list(NAMES), 0.0
        if fault == "nan":
            positions[self.chance.randrange(2)] = self.chance.choice((math.nan, math.inf))
        elif fault == "impossible":
            positions[self.chance.randrange(2)] = self.chance.choice((1e30, -1e30, 300.0))
        elif fault == "others_only":
            names, positions, velocities = ["gripper"], [0.01], [0.0]
        elif fault == "one_joint_only":
            names, positions, velocities = names[:1], positions[:1], velocities[:1]
        elif fault == "positions_short":
            positions = positions[:1]
        elif fault == "frozen_stamp":
            now_ns = self._before.setdefault("stamp", now_ns)
        elif fault.startswith("late_"):
            delay_s = float(fault.removeprefix("late_"))
        elif fault == "disorder":
            delay_s = self.chance.uniform(0, 0.25)
        elif fault == "old_stamps":
            now_ns -= 250_000_000
        elif fault == "stamps_ahead":
            now_ns += 250_000_000
        elif fault == "stuck_reading":
            positions = self._before.setdefault("positions", positions)
            velocities = [0.0, 0.0]
        elif fault == "no_velocity":
            velocities = self.chance.choice(([], [math.nan, math.nan]))
        message = JointState(name=names, position=positions, velocity=velocities)
        self._stamp(message, now_ns)
        if fault != "silent":
            self._later.append((time.monotonic() + delay_s, message))
        self._later.sort(key=lambda item: item[0])
        while self._later and self._later[0][0] <= time.monotonic():
            self._states.publish(self._later.pop(0)[1])

    def _see(self) -> None:
        if self.fault == "image_silent":
            return
        self._image.step = 100 if self.fault == "image_broken" else 192
        self._stamp(self._image, self.clock_ns())
        self._images.publish(self._image)

    # a trial ---------------------------------------------------------------------------------------------------------

    def enable(self, on: bool) -> None:
        assert wait_until(self._enable.service_is_ready, 30)
        future = self._enable.call_async(SetBool.Request(data=on))
        assert wait_until(future.done, 20), "policy_node does not answer"

    def trial(self, fault: str) -> Trial:
        """Drive towards both limits, let the fault begin on the way, and wait for what comes of it."""
        self.begin("none")
        self._later.clear()
        self.enable(False)
        starts = [self.chance.uniform(-1.2, 0.8), self.chance.uniform(-0.8, 1.2)]
        self.place(starts)
        begins_s = self.chance.uniform(0.05, 0.9)
        assert wait_until(lambda: self._settled(starts), 10)
        self.enable(True)
        wait_until(lambda: abs(self.state()[0].velocity) > 0.1, 5)
        wait_until(lambda: False, begins_s)
        self.begin(fault)
        if fault == "disabled":
            self.enable(False)
        wait_until(lambda: False, 1.4)
        beyond = max(
            max(joint.highest - high, low - joint.lowest)
            for joint, low, high in zip(self.state(), LOWER_RAD, UPPER_RAD, strict=True)
        )
        moved = max(abs(joint.position - start) for joint, start in zip(self.state(), starts, strict=True))
        return Trial(beyond, moved)

    def _settled(self, starts: list[float]) -> bool:
        """Wait until what was sent before is out of the arm; put it back to where it is to start."""
        if any(abs(joint.velocity) > 1e-3 for joint in self.state()):
            return False
        self.place(starts)
        return wait_until(lambda: False, 0.15) or all(abs(joint.velocity) < 1e-3 for joint in self.state())


@contextmanager
def running(rate_hz: float, clock: bool, seed: int = 0, parameters: tuple[str, ...] = ()) -> Iterator[Rig]:
    """A rig with its policy_node, in a domain of their own."""
    domain = free_domain()
    with tempfile.TemporaryDirectory() as folder:
        model = constant_policy(Path(folder) / "towards_the_limits.onnx", (FASTEST_RAD_S, -FASTEST_RAD_S))
        given = [
            f"model:={model}", f"rate:={rate_hz}", "threads:=1", f"limits.lower:={list(LOWER_RAD)}",
            f"limits.upper:={list(UPPER_RAD)}", f"limits.velocity:={[FASTEST_RAD_S] * 2}", *parameters,
        ]  # fmt: skip
        if clock:
            given.append("use_sim_time:=true")
        command = [sys.executable, "-m", "perf_inference.nodes.policy_node", "--ros-args"]
        for parameter in given:
            command += ["-p", parameter]
        node = Process(command, {**inherited(), "ROS_DOMAIN_ID": str(domain), "PYTHONUNBUFFERED": "1"})
        rig = Rig(domain, clock, seed)
        try:
            yield rig
        finally:
            rig.close()
            node.stop()


def table(rate_hz: float, trials: int, clock: bool, faults: tuple[str, ...], seed: int = 0) -> dict[str, list[Trial]]:
    """Run all trials; print a line a fault."""
    found: dict[str, list[Trial]] = {}
    with running(rate_hz, clock, seed) as rig:
        for fault in faults:
            found[fault] = ended = [rig.trial(fault) for _ in range(trials)]
            print(
                f"{rate_hz:3g} Hz {'sim time' if clock else '        '} {fault:16s} {trials} trials: worst "
                f"{max(t.beyond_rad for t in ended):+.3f} rad, beyond by more than 0.02 rad "
                f"{sum(t.beyond_rad > 0.02 for t in ended)}, moved {sum(t.moved_rad > 0.05 for t in ended)}",
                flush=True,
            )
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--rate", type=float, nargs="*", default=[10.0, 50.0])
    parser.add_argument("--fault", nargs="*")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for rate_hz in args.rate:
        table(rate_hz, args.trials, False, tuple(args.fault or FAULTS), args.seed)
        table(rate_hz, args.trials, True, tuple(args.fault or CLOCK_FAULTS), args.seed)


if __name__ == "__main__":
    main()
