"""The simulated robot: its arm, its camera, or both in one process.

The arm owns the episodes: the first action starts the first one, `sim/episode` says what became of each. The camera
sees the arm through `joint_states` and knows from `sim/episode` what lies on the table.
"""

from __future__ import annotations

import math
import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import WrenchStamped
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, Header, String
from trajectory_msgs.msg import JointTrajectory

from perf_inference.demo.arm import JOINT_NAMES, Arm, tip
from perf_inference.demo.trajectory import Knot, TrajectoryDrive
from perf_inference.demo.world import EPISODE_S, Camera, Judge, World, contact_force
from perf_inference.errors import InputError
from perf_inference.nodes.images.converter import Canvas
from perf_inference.nodes.reports.episode import EPISODE_QOS, EpisodeState
from perf_inference.nodes.reports.faults import faults_of
from perf_inference.nodes.reports.messages import OK
from perf_inference.nodes.reports.reporter import HeartbeatPublisher, Report
from perf_inference.nodes.ros import runner
from perf_inference.nodes.ros.parameters import declare, parameter

PARTS = ("arm", "camera", "all")
FROZEN = ("none", "camera", "joint_states")
_MOST_RAD = 1e3  # of a joint that the camera draws
_STILL_RAD = 1e-3


@dataclass(frozen=True)
class SimParameters:
    """Parameters of sim_robot_node."""

    part: str = parameter("all", "what this process simulates", choices=PARTS)
    seed: int = parameter(0, "fixes every episode: targets, distractors, start poses, light", at_least=0)
    episodes: int = parameter(0, "number of episodes; 0: without end", at_least=0)
    frozen: str = parameter("none", "repeat the first image or the first joint_states, with new stamps", choices=FROZEN)
    action_message: str = parameter("multi_array", "what it is driven by: velocities (multi_array) or joint_trajectory",
                                    choices=("multi_array", "joint_trajectory"))  # fmt: skip
    arm_rate: float = parameter(100.0, "joint_states and force [Hz]", at_least=1, at_most=1000)
    camera_rate: float = parameter(30.0, "images [Hz]", at_least=1, at_most=200)


class SimRobotNode(runner.RunnableNode):
    """Wraps the physics and the images of `perf_inference.demo`."""

    def __init__(self, name: str = "sim_robot_node") -> None:
        super().__init__(name)
        p = declare(self, SimParameters)
        self._parts: list[ArmPart | CameraPart] = []
        if p.part in ("arm", "all"):
            self._parts.append(ArmPart(self, p))
        if p.part in ("camera", "all"):
            self._parts.append(CameraPart(self, p))
        self._heartbeat = HeartbeatPublisher(self, lambda: Report(OK, f"simulating: {p.part}", {"seed": p.seed}))
        self.get_logger().info(f"simulating: {p.part}, seed {p.seed}")

    def stop(self) -> None:
        for part in self._parts:
            part.timer.cancel()
        self._heartbeat.cancel()
        self._heartbeat.beat()


class ArmPart:
    """Joint dynamics, contact force and the judge, at a steady rate."""

    def __init__(self, node: Node, p: SimParameters) -> None:
        self._node, self._p, self._faults = node, p, faults_of(node)
        self._world = World(p.seed)
        self._state = EpisodeState(0, "waiting", 0, 0, 0)
        self._joint_states = node.create_publisher(JointState, "joint_states", 10, qos_overriding_options=_options())
        self._force = node.create_publisher(
            WrenchStamped, "force", qos_profile_sensor_data, qos_overriding_options=_options()
        )
        self._states = node.create_publisher(String, "sim/episode", EPISODE_QOS, qos_overriding_options=_options())
        self._first_joints: JointState | None = None
        self._begin(0)
        self._states.publish(self._state.message())
        velocities = p.action_message == "multi_array"
        kind, callback = (Float64MultiArray, self._on_action) if velocities else (JointTrajectory, self._on_trajectory)
        node.create_subscription(kind, "action", callback, 1, qos_overriding_options=_options())
        self.timer = node.create_timer(1 / p.arm_rate, self._advance, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _begin(self, index: int) -> None:
        self._episode = self._world.episode(index)
        self._arm = Arm(position_rad=self._episode.start_position_rad)
        self._drive = TrajectoryDrive(self._arm)
        self._judge = Judge(self._episode)
        self._started_s = time.monotonic()

    def _on_action(self, message: Float64MultiArray) -> None:
        try:
            if len(message.data) != len(JOINT_NAMES):
                raise ValueError(f"expected {len(JOINT_NAMES)} numbers, got {len(message.data)}")
            self._arm.command(message.data, time.monotonic())
            if self._state.state == "waiting":
                self._begin(0)
                self._announce(EpisodeState(0, "running", time.time_ns(), 0, 0))
                self._arm.command(message.data, time.monotonic())
        except ValueError as error:
            self._faults.refused("an action", InputError(f"action refused: {error}"))

    def _on_trajectory(self, message: JointTrajectory) -> None:
        try:
            knots, now_s = _knots(message), time.monotonic()
            self._drive.follow(knots, now_s)
            if self._state.state == "waiting" and _moves(knots, self._arm.position_rad):
                self._begin(0)
                self._announce(EpisodeState(0, "running", time.time_ns(), 0, 0))
                self._drive.follow(knots, now_s)
        except ValueError as error:
            self._faults.refused("an action", InputError(f"action refused: {error}"))

    def _advance(self) -> None:
        now_s = time.monotonic()
        self._arm.advance(now_s)
        self._drive.advance(now_s)
        tip_px = tip(self._arm.position_rad)
        t_s = now_s - self._started_s if self._state.state == "running" else 0.0
        self._publish(contact_force(tip_px, self._episode.target_at(t_s)))
        if self._state.state == "running" and (self._judge.update(t_s, tip_px) or t_s >= EPISODE_S):
            self._finish(self._judge.reached, t_s)

    def _finish(self, reached: bool, took_s: float) -> None:
        index = self._state.index + 1
        over = 0 < self._p.episodes <= index
        if not over:
            self._begin(index)
        self._announce(
            EpisodeState(
                index=index,
                state="finished" if over else "running",
                started_ns=time.time_ns(),
                reached=self._state.reached + reached,
                finished=self._state.finished + 1,
                last="reached" if reached else "missed",
                last_s=round(took_s, 3),
            )
        )

    def _announce(self, state: EpisodeState) -> None:
        self._state = state
        self._states.publish(state.message())

    def _publish(self, force_n: tuple[float, float, float]) -> None:
        header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id="base")
        joints = JointState(
            header=header,
            name=list(JOINT_NAMES),
            position=array("d", self._arm.position_rad),
            velocity=array("d", self._arm.velocity_rad_s),
        )
        if self._p.frozen == "joint_states":
            self._first_joints = self._first_joints or joints
            joints = self._first_joints
            joints.header = header
        self._joint_states.publish(joints)
        wrench = WrenchStamped(header=header)
        wrench.wrench.force.x, wrench.wrench.force.y, wrench.wrench.force.z = force_n
        self._force.publish(wrench)


def _knots(message: JointTrajectory) -> list[Knot]:
    """Return the knots of a message, its joints in any order.

    Raises:
        ValueError: other joints, or points without a position of each.
    """
    names = list(message.joint_names)
    if sorted(names) != sorted(JOINT_NAMES):
        raise ValueError(f"expected the joints {', '.join(JOINT_NAMES)}, got {names[:5]}")
    order = [names.index(name) for name in JOINT_NAMES]
    knots = []
    for point in message.points:
        if len(point.positions) != len(order) or len(point.velocities) not in (0, len(order)):
            raise ValueError(f"expected {len(order)} positions a point, got {len(point.positions)}")
        after_s = point.time_from_start.sec + point.time_from_start.nanosec / 1e9
        velocity = np.array([point.velocities[i] for i in order]) if len(point.velocities) else None
        knots.append(Knot(after_s, np.array([point.positions[i] for i in order]), velocity))
    return knots


def _moves(knots: list[Knot], position_rad: NDArray[np.float64]) -> bool:
    """Return whether it is more than to stand still: what a policy sends while it is not enabled starts no episode."""
    return any(float(np.abs(knot.position_rad - position_rad).max()) > _STILL_RAD for knot in knots)


class CameraPart:
    """Renders the table from above."""

    def __init__(self, node: Node, p: SimParameters) -> None:
        self._node, self._p, self._faults = node, p, faults_of(node)
        self._world = World(p.seed)
        self._state: EpisodeState | None = None
        self._index = 0
        self._camera = Camera(self._world.episode(0))
        self._builder = ThreadPoolExecutor(1, "next episode")  # lighting a table takes as long as a frame
        self._next = self._builder.submit(self._build, 1)
        self._position_rad = self._world.episode(0).start_position_rad
        self._frozen: Image | None = None
        self._canvas = Canvas()
        self._images = node.create_publisher(
            Image, "camera/image_raw", qos_profile_sensor_data, qos_overriding_options=_options()
        )
        node.create_subscription(
            String, "sim/episode", self._on_episode, EPISODE_QOS, qos_overriding_options=_options()
        )
        node.create_subscription(
            JointState, "joint_states", self._on_joints, qos_profile_sensor_data, qos_overriding_options=_options()
        )
        self.timer = node.create_timer(1 / p.camera_rate, self._expose, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_episode(self, message: String) -> None:
        try:
            self._state = EpisodeState.of(message)
        except InputError as error:
            self._faults.refused("an episode", error)
            return
        if self._state.index != self._index and self._state.state == "running":
            ahead = self._state.index == self._index + 1
            self._index = self._state.index
            self._camera = self._next.result() if ahead else self._build(self._index)
            self._next.cancel()  # where it has not begun: of a flood of episodes only the newest is built ahead
            self._next = self._builder.submit(self._build, self._index + 1)

    def _build(self, index: int) -> Camera:
        return Camera(self._world.episode(index))

    def _on_joints(self, message: JointState) -> None:
        known = dict(zip(message.name or JOINT_NAMES, message.position, strict=False))
        position = [known.get(name, math.nan) for name in JOINT_NAMES]
        if all(abs(angle) <= _MOST_RAD for angle in position):
            self._position_rad = (position[0], position[1])
        elif not message.name or set(JOINT_NAMES) & set(message.name):  # else other joints, a gripper's, say
            error = InputError(f"{' and '.join(JOINT_NAMES)} must be angles of at most {_MOST_RAD:g} rad")
            self._faults.refused("joint_states", error)

    def _expose(self) -> None:
        header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id="camera")
        if self._frozen is not None:
            self._frozen.header = header
            self._images.publish(self._frozen)
            return
        running = self._state is not None and self._state.state == "running"
        t_s = max(0.0, (time.time_ns() - self._state.started_ns) / 1e9) if self._state and running else 0.0
        self._canvas.put(self._camera.image(t_s, self._position_rad), header)
        if self._p.frozen == "camera" and running:
            self._frozen = self._canvas.message  # which no later image is put into
        self._images.publish(self._canvas.message)


def _options() -> QoSOverridingOptions:
    return QoSOverridingOptions.with_default_policies()


def main() -> None:
    """Run the node."""
    runner.main(SimRobotNode)


if __name__ == "__main__":
    main()
