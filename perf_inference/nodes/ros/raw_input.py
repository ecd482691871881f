"""An input that is read undecoded, at the reader's own pace: for recording everything at little cost.

rclpy's executor spends a tenth to a half of a millisecond per message on waking up. A reader that is emptied 20 times a
second spends a hundredth of that, and its history holds what comes in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.ledger import GapCounter
from perf_inference.nodes.ros.reader_thread import LeftAlone


class RawMessage(NamedTuple):
    """A message out of a reader."""

    data: bytes  # CDR
    t_ns: int  # system time at the reader
    publish_ns: int | None  # system time at the publisher; None: not known here
    publish_seq: int | None  # in the publisher's own count; None: not known here


class RawInput:
    """A subscription that no executor waits for."""

    def __init__(self, node: Node, message_type: Any, topic: str, qos: QoSProfile) -> None:
        """Subscribe."""
        self.qos = qos
        self.lost: int | None = None  # before it was taken: gaps in the publishers' sequences; None: not known here
        self._node, self._type, self._gaps = node, message_type, GapCounter()
        self._subscription = node.create_subscription(
            message_type, topic, _never_called, qos, callback_group=LeftAlone(), raw=True
        )

    @property
    def topic(self) -> str:
        return str(self._subscription.topic_name)

    def take(self) -> Iterator[RawMessage]:
        """Yield what has come."""
        for data, info in self.take_with_info():
            gid = info.get("publisher_gid")
            sequence = info.get("publication_sequence_number")
            if gid is not None:
                gap = self._gaps.lost(gid["data"], sequence)
                self.lost = (self.lost or 0) + (gap or 0)
            t_ns = info["received_timestamp"] or CLOCKS.system_ns()
            yield RawMessage(data, t_ns, info["source_timestamp"] or None, sequence)

    def take_with_info(self) -> Iterator[tuple[bytes, Any]]:
        """Yield what has come as the middleware has it, with its message info; nothing is counted."""
        handle = self._subscription.handle
        with handle:
            while (taken := handle.take_message(self._type, True)) is not None:
                yield taken

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)


def adapted_qos(offered: Sequence[QoSProfile], depth: int) -> QoSProfile:
    """Return the strongest profile that matches every one of these publishers."""
    reliable = all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in offered)
    kept = all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if kept else DurabilityPolicy.VOLATILE,
    )


def _never_called(message: Any) -> None:
    pass
