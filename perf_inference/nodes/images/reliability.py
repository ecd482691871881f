"""How `image` is read: best effort, reliable, or what brings more; and why images do not arrive.

A camera in stock settings sends an image in fragments that its shared memory, or a socket, cannot hold. A best-effort
reader loses most of them, and a reliable one gets those that are sent again, if the camera offers that. What helps is
a setting of the *camera's* process, which no reader can make: so it is said, with the line that fixes it.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy

from perf_inference.doctor.processes import own_domain, participants
from perf_inference.errors import ConfigError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.nodes.ros.endpoint import node_of
from perf_inference.nodes.ros.parameters import RELIABILITIES, is_given
from perf_inference.nodes.ros.subscription import Input
from perf_inference.printable import shown

AUTO, BEST_EFFORT, RELIABLE = RELIABILITIES
_LOST = 0.1  # of the images: more is told, and worth a try
_LEAST, _LEAST_NS = 30, 2_000_000_000  # images sent, and time, that a judgement rests on ...
_LONGEST_NS = 6_000_000_000  # ... or this time, where so many do not come
_STOCK_BYTES = 1 << 20  # a segment below this is a stock one
_EPROSIMA = (1, 15)  # the GIDs of Fast DDS say which process a publisher is in


class Counts(NamedTuple):
    """What was received and lost so far, and when [ns, steady]."""

    received: int
    lost: int
    at_ns: int


class Judge:
    """Decides by what has come: pure, each call brings its own time."""

    def __init__(self, wanted: str) -> None:
        """Begin with best effort, unless `reliable` is wanted."""
        self.reliable = wanted == RELIABLE
        self.lost, self.nothing = 0.0, False  # the share in the newest window, and whether nothing came in it
        self._open = wanted == AUTO  # it may be changed
        self._tried_hz: float | None = None  # what best effort brought, while reliable is tried
        self._from: Counts | None = None

    def look(self, now: Counts, offered: bool) -> bool:
        """Take the counts of now; return whether the reader is to be made anew, as `reliable` says.

        Args:
            offered: all publishers, of which there is one at least, are reliable.
        """
        if self._from is None:
            self._from = now
        since = self._from
        received, lost = now.received - since.received, now.lost - since.lost
        took_ns = now.at_ns - since.at_ns
        if took_ns < _LEAST_NS or (received + lost < _LEAST and took_ns < _LONGEST_NS):
            return False
        self._from = now
        self.lost = lost / (received + lost) if received + lost else 0.0
        self.nothing = not received + lost
        rate_hz = received * 1e9 / took_ns
        if self._tried_hz is not None:
            brought_hz, self._tried_hz, self._open = self._tried_hz, None, False
            if rate_hz >= brought_hz:
                return False
            self.reliable, self._from = False, None
            return True
        if self._open and not self.reliable and offered and (self.lost > _LOST or not received):
            self._tried_hz, self.reliable, self._from = rate_hz, True, None
            return True
        return False

    def another_publisher(self, wanted: str) -> None:
        """Judge anew."""
        self._open, self._tried_hz, self._from = wanted == AUTO, None, None
        self.lost, self.nothing = 0.0, False


class Reliability:
    """Watches one input of images; asked at each heartbeat (ROS thread)."""

    def __init__(self, node: Node, source: Input, wanted: str) -> None:
        self._node, self._source, self._wanted = node, source, wanted
        self._judge = Judge(wanted)
        # What the user has said of this reader in particular stays.
        self._fixed = wanted != AUTO or is_given(node, f"qos_overrides.{source.topic}.subscription.reliability")
        self._publishers: frozenset[bytes] = frozenset()
        self._cause, self._asked = "", False

    def watch(self) -> None:
        """Be asked at each heartbeat from now on."""
        self._source.trouble, self._source.more = self.trouble, self.figures

    def trouble(self) -> str:
        """Look at what has come; return what is wrong with how the images come, or nothing."""
        return self._look() or self._source.silence()

    def _look(self) -> str:
        source, infos = self._source, self._node.get_publishers_info_by_topic(self._source.topic)
        if not source.is_open:
            return ""
        publishers = frozenset(bytes(info.endpoint_gid) for info in infos)
        if publishers != self._publishers:
            self._publishers, self._cause, self._asked = publishers, "", False
            self._judge.another_publisher(self._wanted)
        counts = source.ledger.snapshot()
        now = Counts(counts.received, counts.lost_before or 0, CLOCKS.monotonic_ns())
        reliable = [info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in infos]
        offered = bool(reliable) and all(reliable)
        if self._judge.look(now, offered and not self._fixed):
            source.read_reliably(self._judge.reliable)
            said = "reliable" if self._judge.reliable else "best effort again, which brought more"
            self._node.get_logger().info(f"{source.topic} is read {said} (reliability: auto)")
        lost, nothing = self._judge.lost, bool(infos) and self._judge.nothing
        if lost <= _LOST and not nothing:
            return ""
        if not self._asked:
            self._asked = True
            name = f"{self._node.get_name()} camera"
            threading.Thread(target=self._find_cause, args=(infos,), name=name, daemon=True).start()
        if nothing:
            return f"nothing arrives of {source.topic} though {_names(infos)} offers it{self._cause}"
        return f"{lost:.0%} of the images of {source.topic} are lost before they arrive{self._cause}"

    def figures(self) -> dict[str, Any]:
        """Return what the heartbeat says."""
        return {"reliability": RELIABLE if self._judge.reliable else BEST_EFFORT}

    def _find_cause(self, infos: list[Any]) -> None:
        """Look at the processes of the publishers (own thread: all processes are looked at)."""
        own_topic = str(self._node.resolve_topic_name("inference/status"))
        name = (self._node.get_name(), self._node.get_namespace())
        own = next(
            bytes(info.endpoint_gid)[:4] for info in self._node.get_publishers_info_by_topic(own_topic)
            if (info.node_name, info.node_namespace) == name
        )  # fmt: skip
        found = participants(own_domain())
        for info in infos:
            gid = tuple(info.endpoint_gid)
            if gid[:2] != _EPROSIMA:
                continue
            if bytes(gid[:4]) != own:
                self._cause = f": it comes from another host; {remedy()}"
                return
            one = found.of_pid(gid[4] | gid[5] << 8)
            if one is None:
                continue
            if one.segment_bytes is None or one.segment_bytes < _STOCK_BYTES:
                size = one.segment_bytes
                has = "no shared memory" if size is None else f"{size / 1e6:.1f} MB of shared memory"
                self._cause = f": {shown(one.name)} (pid {one.pid}) has {has}, too little for images; {remedy()}"
                return
        self._cause = ": this machine is too busy, or the images are too many"


def remedy() -> str:
    """Return what fixes a camera in stock settings."""
    from perf_inference.bringup.robot import default_config  # hardly ever needed, and it brings much

    try:
        script = str(default_config().with_name("camera_env.sh"))
    except ConfigError:
        script = "config/camera_env.sh"
    return f"start the camera after: source {script}"


def _names(infos: list[Any]) -> str:
    return ", ".join(shown(node_of(info)) for info in infos[:3])
