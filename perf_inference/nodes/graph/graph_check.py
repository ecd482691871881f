"""Looks at a running graph for the doctor: who could hear whom, what arrives, and what the nodes say of themselves.

Only topics are listened to that somebody else listens to as well: a publisher that works on demand stays at rest.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions

from perf_inference.bringup.search_path import leave_working_directory
from perf_inference.doctor.graph import Beats, Endpoint, Flow, GraphFacts, Mismatch
from perf_inference.errors import ConfigError
from perf_inference.nodes.graph.qos_check import compare
from perf_inference.nodes.graph.topic_probe import TopicProbe
from perf_inference.nodes.reports.heard import checked_beat
from perf_inference.nodes.reports.reporter import STATUS_QOS
from perf_inference.nodes.ros.endpoint import node_of
from perf_inference.nodes.ros.leaving import leave_with
from perf_inference.nodes.ros.message_types import message_class
from perf_inference.nodes.ros.raw_input import RawInput, adapted_qos

_NAME = "perf_inference_doctor"
_MACHINERY = ("/rosout", "/parameter_events")
_STATUS, _STATUS_TYPE = "/inference/status", "diagnostic_msgs/msg/DiagnosticStatus"
_POLL_S, _LOOK_S, _DISCOVERY_POLL_S = 0.02, 0.5, 0.1
_DISCOVERY_S, _QUIET_S, _LONGEST_DISCOVERY_S, _SETTLE_S = 0.5, 0.7, 6.0, 0.3
_ANNOUNCED_S = 3.3  # participants announce themselves every 3 s; a first announcement is lost now and then
_DEPTH, _LARGE_DEPTH = 1000, 20
_LARGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/PointCloud2")
_EPROSIMA = (1, 15)  # Fast DDS' GIDs: vendor, host, lower half of the process id


class GraphCheck:
    """A node that listens for some seconds."""

    def __init__(self) -> None:
        """Join the graph."""
        leave_working_directory()
        self._context = rclpy.Context()
        rclpy.init(context=self._context, args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node: Node = rclpy.create_node(
            f"{_NAME}_{os.getpid()}", context=self._context, enable_rosout=False, start_parameter_services=False
        )
        self._host: tuple[int, ...] | None = None
        self._probes: dict[str, TopicProbe] = {}
        self._not_heard: dict[str, str] = {}
        self._status: dict[str, RawInput] = {}

    def discover(self, pids: Collection[int]) -> None:
        """Wait until the graph is known, and listen to it.

        Args:
            pids: processes of this machine that take part; none: the graph may be on other hosts.
        """
        start_s = quiet_s = time.monotonic()
        awaited = {pid & 0xFFFF for pid in pids}
        seen: set[bytes] = set()
        while (now_s := time.monotonic()) - start_s < _LONGEST_DISCOVERY_S:
            ends = {bytes(info.endpoint_gid) for info in self._everybody()}
            if ends != seen:
                seen, quiet_s = ends, now_s
            all_here = bool(awaited) and awaited <= {gid[4] | gid[5] << 8 for gid in seen}
            if now_s - start_s > (_DISCOVERY_S if all_here else _ANNOUNCED_S) and now_s - quiet_s > _QUIET_S:
                break
            time.sleep(_DISCOVERY_POLL_S)
        own = [info for info in self._node.get_publishers_info_by_topic("/parameter_events") if _ours(info)]
        self._host = _host(own[0]) if own else None
        self._subscribe()
        time.sleep(_SETTLE_S)
        for probe in self._probes.values():
            probe.drain()

    def listen(self, seconds: float) -> GraphFacts:
        """Return what happens within the time."""
        beats: dict[str, Beats] = {}
        start_s = looked_s = time.monotonic()
        while (now_s := time.monotonic()) - start_s < seconds:
            time.sleep(_POLL_S)
            if now_s - looked_s > _LOOK_S:
                looked_s = now_s
                self._subscribe()
            for probe in self._probes.values():
                probe.take()
            for reader in self._status.values():
                for data, _ in reader.take_with_info():
                    _heard(beats, data)
        ends = self._ends()
        pairs = 0
        mismatches: list[Mismatch] = []
        for topic, (publishers, subscribers) in sorted(ends.items()):
            compared, found = compare(topic, publishers, subscribers)
            pairs, mismatches = pairs + compared, mismatches + found
        flows = tuple(self._flow(topic, *pair) for topic, pair in sorted(ends.items()) if all(pair))
        heard = frozenset(end.pid_low for end in map(self._endpoint, self._everybody()) if end.pid_low is not None)
        return GraphFacts(seconds, flows, tuple(dict.fromkeys(mismatches)), pairs, heard, beats)

    def close(self) -> None:
        """Leave the graph."""
        for probe in self._probes.values():
            probe.close()
        for reader in self._status.values():
            reader.close()
        leave_with(self._node, self._context)

    def _everybody(self) -> Iterator[Any]:
        """Yield all publishers and subscriptions, the machinery's too: every node has some of those."""
        for topic, _ in self._node.get_topic_names_and_types():
            yield from self._node.get_publishers_info_by_topic(topic)
            yield from self._node.get_subscriptions_info_by_topic(topic)

    def _ends(self) -> dict[str, tuple[list[Any], list[Any]]]:
        """Return the publishers and subscriptions of each topic, but for those of doctors."""
        found = {}
        for topic, _ in self._node.get_topic_names_and_types():
            publishers = self._node.get_publishers_info_by_topic(topic)
            subscribers = self._node.get_subscriptions_info_by_topic(topic)
            pair = [i for i in publishers if not _ours(i)], [i for i in subscribers if not _ours(i)]
            if any(pair) and topic not in _MACHINERY:
                found[topic] = pair
        return found

    def _subscribe(self) -> None:
        """Listen to what is new."""
        for topic, (publishers, subscribers) in self._ends().items():
            if not publishers or topic in self._not_heard:
                continue
            try:
                if subscribers and topic not in self._probes:
                    self._probes[topic] = self._probe(topic, publishers)
                if topic.endswith(_STATUS) and topic not in self._status and publishers[0].topic_type == _STATUS_TYPE:
                    self._status[topic] = RawInput(self._node, DiagnosticStatus, topic, STATUS_QOS)
            except ConfigError as error:
                self._not_heard[topic] = str(error)

    def _probe(self, topic: str, publishers: list[Any]) -> TopicProbe:
        type_name = publishers[0].topic_type
        kind = message_class(type_name)
        depth = _LARGE_DEPTH if type_name in _LARGE_TYPES else _DEPTH
        qos = adapted_qos([info.qos_profile for info in publishers], depth)
        qos.durability = DurabilityPolicy.VOLATILE  # what was sent before is not counted
        return TopicProbe(RawInput(self._node, kind, topic, qos), kind, len(publishers) == 1)

    def _flow(self, topic: str, publishers: list[Any], subscribers: list[Any]) -> Flow:
        probe = self._probes.get(topic)
        names = {bytes(info.endpoint_gid)[:16]: self._endpoint(info) for info in publishers}
        return Flow(
            topic,
            publishers[0].topic_type,
            tuple(map(self._endpoint, publishers)),
            tuple(map(self._endpoint, subscribers)),
            any(info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for info in publishers),
            sources=() if probe is None else tuple(probe.sources(names)),
            received=0 if probe is None else probe.received,
            bytes=0 if probe is None else probe.bytes,
            largest_bytes=0 if probe is None else probe.largest_bytes,
            not_heard=self._not_heard.get(topic, "" if probe is not None else "it came while the graph was observed"),
        )

    def _endpoint(self, info: Any) -> Endpoint:
        gid = tuple(info.endpoint_gid)
        host = _host(info)
        here = None if host is None or self._host is None else host == self._host
        return Endpoint(node_of(info), gid[4] | gid[5] << 8 if here else None, here)


def _heard(beats: dict[str, Beats], data: bytes) -> None:
    """Keep a heartbeat; another process of the same node begins again. What is none the monitor tells of."""
    try:
        status = deserialize_message(data, DiagnosticStatus)
        beat = checked_beat(status)
    except Exception:  # whatever the middleware says of bytes that are no message
        return
    known = beats.get(status.name)
    beats[status.name] = Beats(known.first if known is not None else beat, beat)


def _host(info: Any) -> tuple[int, ...] | None:
    """Return what tells one host from another in a GID; None: this RMW puts nothing of it there."""
    gid = tuple(info.endpoint_gid)
    return gid[2:4] if gid[:2] == _EPROSIMA else None


def _ours(info: Any) -> bool:
    return bool(info.node_name.startswith(_NAME))
