"""An input of a node: when each message came, what was lost before it, and whether anybody sends the right type."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

from perf_inference.errors import InputError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.due import DueGrid
from perf_inference.measure.heartbeat import InputState
from perf_inference.measure.ledger import GapCounter, Ledger
from perf_inference.measure.stamps import Arrival, Scalar, rate_hz, source_latency_ns
from perf_inference.nodes.reports.messages import stamp_of
from perf_inference.nodes.ros.endpoint import node_of
from perf_inference.nodes.ros.reader_thread import LeftAlone, ReaderThread, Work
from perf_inference.printable import printable

HAS_MESSAGE_INFO = hasattr(Subscription, "CallbackType")  # not in Humble
_SILENT_S = 1.0
_RATE_NS, _RATE_PERIODS = 5_000_000_000, 5  # what the rates rest on, whichever is longer ...
_RATE_MESSAGES = 300  # ... and at most, as greenwave_monitor's do
_REFUSED_NS = 5_000_000_000  # so long it is told why a message was refused
_SENDERS = 4  # that are named
_NO_COUNT = 1 << 30  # so many messages are not lost between two events: a count that has run over
_MAX_WAIT_NS = 10_000_000_000  # a longer wait between reader and callback is a clock that stepped


class Input:
    """A subscription that hands on `Arrival`s."""

    def __init__(
        self,
        node: Node,
        message_type: Any,
        topic: str,
        arrive: Callable[[Arrival], None],
        ledger: Ledger,
        qos: QoSProfile = qos_profile_sensor_data,
        expected_hz: float = 0.0,
        read: Callable[[bytes], Any] | None = None,
        unreadable: Callable[[InputError], None] = lambda error: None,
        own_thread: bool | Work = False,
    ) -> None:
        """Subscribe; `ledger` takes what was lost before the callback (the rest is for whoever takes the arrival).

        Args:
            read: makes a message of its serialized bytes, in place of rclpy; raises InputError.
            unreadable: called with that error, after the message was counted as rejected.
            own_thread: a thread calls these two, and then this, and not the executor's; it ends with `close`.
        """
        self.ledger = ledger
        self.asked_for = topic  # what is remapped to have another topic
        self.last_ns: int | None = None  # monotonic, of the newest callback
        self.lost_unknown = "" if HAS_MESSAGE_INFO else "this ROS 2 gives no sequence numbers"
        self._node, self._arrive, self._read, self._unreadable = node, arrive, read, unreadable
        self._message_type, self._topic = message_type, topic
        self._options = QoSOverridingOptions.with_default_policies()
        self.trouble: Callable[[], str] = self.silence  # asked at each heartbeat
        self.more: Callable[[], Mapping[str, Scalar]] = dict  # figures of whoever watches it
        self._gaps = GapCounter()
        self.type_name = _type_name(message_type)
        self._wrong_types = ""
        self._newest: deque[tuple[int, int | None]] = deque(maxlen=_RATE_MESSAGES)  # (monotonic, header stamp)
        self._same: tuple[int | None, int] = (None, 0)  # the newest stamp, and when it came first (monotonic)
        self._refused: tuple[int, str] | None = None  # when (monotonic), why
        self._expected_hz = expected_hz or None
        self._grid = DueGrid(expected_hz) if expected_hz > 0 else None
        self.qos = copy.copy(qos)  # which the node's parameters may override
        self._own_thread, self._left_alone = own_thread, LeftAlone() if own_thread else None
        self._thread: ReaderThread | None = None
        self.topic = topic
        self._subscription: Any = None
        self._subscribe()

    def open(self) -> None:
        """Listen, where it does not: what came before `close` counts no more."""
        if self._subscription is None:
            self._subscribe()

    def _subscribe(self) -> None:
        self._gaps, self.last_ns, self._same = GapCounter(), None, (None, 0)
        self._newest.clear()
        if self._grid is not None:
            self._grid.restart()
        callback: Callable[..., None] = self._with_info if HAS_MESSAGE_INFO else self._without_info
        self._subscription = self._node.create_subscription(
            self._message_type,
            self._topic,
            callback,
            self.qos,
            callback_group=self._left_alone,
            event_callbacks=SubscriptionEventCallbacks(message_lost=self._message_lost),
            qos_overriding_options=self._options,
            raw=self._read is not None,
        )
        self.topic = str(self._subscription.topic_name)
        if self._left_alone is not None:
            afterwards = self._own_thread if callable(self._own_thread) else None
            self._thread = ReaderThread(self._node, self._subscription, callback, afterwards)

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return self._subscription is not None

    def read_reliably(self, on: bool) -> None:
        """Listen anew, reliably or with best effort, whatever was declared at first."""
        self.qos.reliability = ReliabilityPolicy.RELIABLE if on else ReliabilityPolicy.BEST_EFFORT
        self._options = QoSOverridingOptions(
            [QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH]  # those that a subscription has by default, but this one
        )
        if self.is_open:
            self.close()
            self.open()

    def close(self) -> None:
        """Listen no longer."""
        self.stop_reading()
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def stop_reading(self) -> None:
        """End the input's own thread, if it has one (any other thread)."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def age_s(self) -> float | None:
        """Return how long ago the newest message came [s]; None: none yet."""
        return None if self.last_ns is None else (CLOCKS.monotonic_ns() - self.last_ns) / 1e9

    def state(self) -> InputState:
        """Return what the heartbeat says of this input."""
        age = self.age_s()
        return InputState(
            ledger=self.ledger.snapshot().as_dict(),
            topic=self.topic,
            problem=self.problem() or None,
            age_s=None if age is None else round(age, 3),
            lost_unknown=self.lost_unknown or None,
            figures=self.figures(),
        )

    def figures(self) -> dict[str, Scalar]:
        """Return rates and delay of now, under the names that NVIDIA's greenwave dashboards read."""
        now_ns = CLOCKS.monotonic_ns()
        from_ns = now_ns - max(_RATE_NS, 0 if self._grid is None else _RATE_PERIODS * self._grid.period_ns)
        recent = [(came_ns, stamp) for came_ns, stamp in list(self._newest) if came_ns > from_ns]
        stamps = [stamp for _, stamp in recent if stamp is not None]
        return {
            "frame_rate_node": rate_hz([came_ns for came_ns, _ in recent]),
            "frame_rate_msg": rate_hz(stamps),
            "current_delay_from_realtime_ms": self._delay_ms(now_ns),
            "expected_frequency": self._expected_hz,
            "same_stamp_s": self._same_stamp_s(),
            "refused": self._refused[1] if self._refused and now_ns - self._refused[0] < _REFUSED_NS else None,
            **self._senders(),
            **self.more(),
        }

    def refuse(self, error: InputError) -> None:
        """Note why a message cannot be used: the heartbeat tells it for some seconds."""
        self._refused = (CLOCKS.monotonic_ns(), str(error))

    def _same_stamp_s(self) -> float | None:
        """Return for how long messages come with one and the same stamp [s]; None: it is another each time."""
        stamp, since_ns = self._same
        if stamp is None or self.last_ns is None or self.last_ns <= since_ns:
            return None
        return round((self.last_ns - since_ns) / 1e9, 3)

    def _senders(self) -> dict[str, Scalar]:
        """Return how many publish on the topic, and who, where it is more than one."""
        count = self._node.count_publishers(self.topic)
        if count < 2:
            return {"publishers": count}
        names = sorted(
            printable(node_of(info).lstrip("/"), 60) for info in self._node.get_publishers_info_by_topic(self.topic)
        )
        more = f" and {len(names) - _SENDERS} more" if len(names) > _SENDERS else ""
        return {"publishers": count, "senders": ", ".join(names[:_SENDERS]) + more}

    def _delay_ms(self, now_ns: int) -> float | None:
        """Return how old the newest message was when it came; the ROS clock is read here and not for each message."""
        if not self._newest:
            return None
        came_ns, stamp = self._newest[-1]
        delay_ns = source_latency_ns(stamp, self._node.get_clock().now().nanoseconds - (now_ns - came_ns))
        return None if delay_ns is None else round(delay_ns / 1e6, 3)

    def problem(self) -> str:
        """Return one sentence on what is wrong with this input, or nothing."""
        return self._wrong_types or self.silence()

    def silence(self) -> str:
        """Return one sentence where nothing has come yet, or not for a second and five periods; else nothing."""
        age_s = self.age_s()
        if age_s is None:
            return f"no message yet on {self.topic}"
        period_s = 0.0 if self._grid is None else self._grid.period_ns / 1e9
        return f"nothing on {self.topic} for {age_s:.1f} s" if age_s > max(_SILENT_S, 5 * period_s) else ""

    def wrong_types(self) -> str:
        """Return one sentence on publishers of another type on this topic, or nothing."""
        others = {
            info.topic_type: info.node_name
            for info in self._node.get_publishers_info_by_topic(self.topic)
            if info.topic_type != self.type_name
        }
        names = ", ".join(f"{kind} (from {name})" for kind, name in others.items())
        wrong = f"topic {self.topic} must be {self.type_name}, but {names} is published on it and cannot be received"
        self._wrong_types = wrong if others else ""
        return self._wrong_types

    def _with_info(self, message: Any, info: Any) -> None:
        monotonic_ns, system_ns = CLOCKS.pair()
        received_ns = info["received_timestamp"]
        waited_ns = system_ns - received_ns
        if not 0 <= waited_ns <= _MAX_WAIT_NS:
            received_ns, waited_ns = system_ns, 0
        lost = self._lost(info["publication_sequence_number"], info.get("publisher_gid"))
        self.ledger.lost(lost)
        gid = info.get("publisher_gid")
        origin = (
            info["publication_sequence_number"],
            info["source_timestamp"] or None,
            bytes(gid["data"]) if gid else b"",
        )
        self._hand_on(message, monotonic_ns, monotonic_ns - waited_ns, received_ns, lost, origin)

    def _lost(self, sequence: int | None, gid: Any) -> int | None:
        """Return how many of this publisher's messages are missing before this one; None: it cannot be told."""
        if sequence is None:
            return None
        if gid is None and self._node.count_publishers(self.topic) > 1:
            self.lost_unknown = "several publishers, and this ROS 2 does not say which one sent a message"
            self.ledger.forget_lost()
        if self.lost_unknown:
            return None
        lost = self._gaps.lost(gid["data"] if gid else b"", sequence)
        if lost is None and self._grid is not None:
            self._grid.restart()
        return lost or 0

    def _message_lost(self, event: Any) -> None:
        change = event.total_count_change
        if 0 <= change < _NO_COUNT:
            self.ledger.count("message_lost", change)
        else:
            self._node.get_logger().warning(
                f"the middleware says that {change} messages of {self.topic} were lost at once: that is not counted",
                throttle_duration_sec=60.0,
            )

    def _without_info(self, message: Any, info: Any = None) -> None:
        monotonic_ns, system_ns = CLOCKS.pair()
        self._hand_on(message, monotonic_ns, monotonic_ns, system_ns, None)

    def _hand_on(
        self, message: Any, now_ns: int, arrived_ns: int, received_ns: int, lost: int | None,
        origin: tuple[int | None, int | None, bytes] = (None, None, b""),
    ) -> None:  # fmt: skip
        self.last_ns = now_ns
        if self._read is not None:
            try:
                message = self._read(message)
            except InputError as error:
                with self.ledger.lock:
                    self.ledger.count("received")
                    self.ledger.count("rejected")
                self.refuse(error)
                self._unreadable(error)
                return
        stamp = stamp_of(message)
        self._newest.append((now_ns, stamp))
        if stamp != self._same[0]:
            self._same = (stamp, now_ns)
        due_ns = None if self._grid is None else self._grid.due(received_ns, lost)
        self._arrive(Arrival(message, arrived_ns, received_ns, stamp, due_ns, *origin))


def _type_name(message_type: Any) -> str:
    package, kind, name = message_type.__module__.split(".")[0], "msg", message_type.__name__
    return f"{package}/{kind}/{name}"
