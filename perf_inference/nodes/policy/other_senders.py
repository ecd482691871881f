"""Whether somebody else commands the robot, or says where its joints are.

Anybody in the domain may publish on `action` and on `joint_states`; the gate can only notice it. Messages are counted
and not publishers: a process that was killed stays matched for 20 s. Where this ROS 2 does not tell who sent one
(Humble, Jazzy), those on `action` that are more than were sent here are somebody else's.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Empty

from perf_inference.measure.clocks import CLOCKS
from perf_inference.nodes.policy.gate_setup import GateSetup
from perf_inference.nodes.reports.faults import faults_of
from perf_inference.nodes.ros.endpoint import node_of
from perf_inference.nodes.ros.raw_input import RawInput

ACTION, JOINT_STATES = "action", "joint_states"
_LOOK_S, _WINDOW_NS = 0.2, 1_000_000_000
_QOS = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)  # which hears everybody
_PARTICIPANT_BYTES = 12  # of a gid, as DDSI-RTPS has it (9.3.1.2); the rest is the endpoint's
_UNKNOWN = b""  # in place of the gid of whoever sent a message
_MORE = 3  # messages a second beyond our own are somebody's


class OtherSenders:
    """Watches both topics, warns in the log when it begins, and in the heartbeat while it lasts."""

    def __init__(self, node: Node, setup: GateSetup, another_sends: Callable[[str], None]) -> None:
        """Take down who is there before this node publishes; then advertise `action`, and call `begin`.

        Args:
            another_sends: hears, again and again, who else sends on `action`; "": nobody.
        """
        self._node, self._joints, self._another_sends = node, frozenset(setup.limits.names), another_sends
        self._topics = {ACTION: setup.topics.action, JOINT_STATES: setup.topics.joint_states}
        self._before = self._senders(ACTION)
        self._ours = frozenset(map(bytes.fromhex, setup.ours))
        self._said: tuple[str, ...] = ()
        self._participant = self._own_participant()
        self._minds_actions = not setup.shadow

    def begin(self, kind: Any, sent: Callable[[], int]) -> None:
        """Look from now on.

        Args:
            kind: the messages of `action`.
            sent: returns how many actions have left this node.
        """
        self._take_own()
        self._sent, self._sent_before = sent, deque([(CLOCKS.monotonic_ns(), sent())])
        kinds = {JOINT_STATES: JointState, ACTION: kind}
        self._heard = {topic: _Heard(self._node, kind, self._topics[topic]) for topic, kind in kinds.items()}
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self._node.create_timer(_LOOK_S, self._look, clock=steady)

    def switch(self, on: bool, do: Callable[[], None]) -> None:
        """Let `do` take the publisher of `action` away, where others are to send then, or make another one."""
        self._before = self._senders(ACTION)
        do()
        self._minds_actions = not on
        if not on:
            self._take_own()
            self._sent_before = deque([(CLOCKS.monotonic_ns(), self._sent())])

    def take_for_ours(self, gids: Sequence[str]) -> None:
        """Know publishers that are no others'."""
        self._ours = self._ours.union(map(bytes.fromhex, gids))

    def _take_own(self) -> None:
        name = (self._node.get_name(), self._node.get_namespace())
        new = [
            _gid(info) for info in self._node.get_publishers_info_by_topic(self._topics[ACTION])
            if _gid(info) not in self._before and (info.node_name, info.node_namespace) == name
        ]  # fmt: skip
        here = [gid for gid in new if gid[:_PARTICIPANT_BYTES] == self._participant]
        self._ours = self._ours.union(here or new)

    def _own_participant(self) -> bytes:
        """Return how the gids of this node's endpoints begin: another node of the same name may start just now."""
        topic = f"_own_{uuid4().hex}"  # hidden, and nobody else's
        publisher = self._node.create_publisher(Empty, topic, 1)
        infos = self._node.get_publishers_info_by_topic(topic)
        self._node.destroy_publisher(publisher)
        return _gid(infos[0])[:_PARTICIPANT_BYTES] if infos else b""

    def _look(self) -> None:
        found: dict[str, str] = {}  # who: what is said of it
        another = ""
        for topic, heard in self._heard.items():
            counts, names = heard.within_a_second(), self._senders(topic)
            if topic == ACTION and not self._minds_actions:
                continue
            others = (
                self._others(topic, heard, counts)
                if heard.tells_senders
                else self._unnamed(topic, heard, counts, names)
            )
            if others:
                absolute = self._topics[topic]
                each = [
                    f"{names.get(gid, 'unknown')}{f' ({n} messages/s)' if n else ''}"
                    for gid, n in sorted(others.items())
                ]
                told = ", ".join(each if heard.tells_senders else dict.fromkeys(each))
                what = (
                    f"somebody else publishes on {absolute}" if topic == ACTION
                    else f"{len(others)} publishers send the same joints on {absolute}"
                )  # fmt: skip
                found["".join([topic, *(gid.hex() for gid in sorted(others))])] = f"{what}: {told}"
                another = f"{what}: {told}" if topic == ACTION else another
        if found:
            faults_of(self._node).notice("; ".join(found.values()))
        self._log(found)
        self._another_sends(another)

    def _others(self, topic: str, heard: _Heard, counts: Mapping[bytes, int]) -> dict[bytes, int]:
        """Return who has sent what within the last second that somebody else is to send, or one alone."""
        if topic == ACTION:
            return {gid: n for gid, n in counts.items() if gid not in self._ours}
        same = {gid: n for gid, n in counts.items() if self._joints & heard.joints.get(gid, frozenset())}
        return same if len(same) > 1 else {}

    def _log(self, found: Mapping[str, str]) -> None:
        """Say it once for each set of senders."""
        for who, what in found.items():
            if who not in self._said:
                self._node.get_logger().warning(what)
        if self._said and not found:
            self._node.get_logger().info("nobody else sends on action or joint_states any more")
        self._said = tuple(found)

    def _unnamed(
        self, topic: str, heard: _Heard, counts: Mapping[bytes, int], names: dict[bytes, str]
    ) -> dict[bytes, int]:
        """Return who else sends, where this ROS 2 does not tell who sent a message."""
        if topic == ACTION:
            now_ns, sent = CLOCKS.monotonic_ns(), self._sent()
            self._sent_before.append((now_ns, sent))
            while self._sent_before[0][0] < now_ns - _WINDOW_NS - round(2 * _LOOK_S * 1e9):
                self._sent_before.popleft()
            more = sum(counts.values()) - (sent - self._sent_before[0][1])
            might = sorted({name for gid, name in names.items() if gid not in self._ours})
            names[_UNKNOWN] = " or ".join(might) or "unknown"
            return {_UNKNOWN: more} if more > _MORE else {}
        same = {who for who, joints in heard.joints.items() if self._joints & joints}
        shared = len(names) - len(counts.keys() - same)  # each other set of joints is somebody's who sends no others
        if not same or shared < 2:
            return {}
        found = dict.fromkeys(sorted(names)[:shared], 0)
        if shared < len(names):
            names.update(dict.fromkeys(found, "among " + ", ".join(sorted(set(names.values())))))
        return found

    def _senders(self, topic: str) -> dict[bytes, str]:
        """Return the publishers of a topic and their nodes."""
        infos = self._node.get_publishers_info_by_topic(self._topics[topic])
        return {_gid(info): node_of(info) for info in infos}


class _Heard:
    """How many messages came from whom within the last second; or with which joints, where no sender is told."""

    def __init__(self, node: Node, kind: Any, topic: str) -> None:
        self.tells_senders = True
        self.joints: dict[bytes, frozenset[str]] = {}  # in the newest message of each, of JointState
        self._kind = kind
        self._input = RawInput(node, kind, topic, _QOS)
        self._counts: deque[tuple[int, Counter[bytes]]] = deque()

    def within_a_second(self) -> Counter[bytes]:
        """Take what has come, and return the counts."""
        now_ns, newest = CLOCKS.monotonic_ns(), {}
        counted: Counter[bytes] = Counter()
        for data, info in self._input.take_with_info():
            gid = info.get("publisher_gid")
            self.tells_senders = gid is not None
            key = bytes(gid["data"]) if gid else self._of(data)
            counted[key] += 1
            newest[key] = data
        self._counts.append((now_ns, counted))
        while self._counts[0][0] < now_ns - _WINDOW_NS:
            self._counts.popleft()
        total: Counter[bytes] = Counter()
        for _, counts in self._counts:
            total.update(counts)
        if self._kind is JointState:
            names = {gid: _joints(data) for gid, data in newest.items()}
            self.joints = {gid: joints for gid, joints in {**self.joints, **names}.items() if gid in total}
        return total

    def _of(self, data: bytes) -> bytes:
        """Return what stands for the sender of a message where none is told: its joints."""
        return "\n".join(sorted(_joints(data))).encode() if self._kind is JointState else _UNKNOWN


def _joints(data: bytes) -> frozenset[str]:
    """Return the joints of a message; none where it is malformed: the policy refuses it too."""
    try:
        return frozenset(deserialize_message(data, JointState).name)
    except Exception:  # of the middleware
        return frozenset()


def _gid(info: Any) -> bytes:
    return bytes(info.endpoint_gid)
