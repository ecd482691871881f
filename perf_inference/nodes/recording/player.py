"""Plays messages at their times, from a thread of its own that paces on the monotonic clock, and loses none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from perf_inference.errors import InputError
from perf_inference.measure.clocks import CLOCKS

_ACKNOWLEDGED_NS = 15_000_000_000
_SETTLED_NS, _SETTLED_AT_MOST_NS, _SAY_NS = 500_000_000, 5_000_000_000, 3_000_000_000
_POLL_S = 0.02
_MOST_REASONS = 20  # of a topic, why its messages are skipped
_CLOCK_NS, _CLOCK_AT_LEAST_NS = 25_000_000, 1_000_000
_CLOCK_END_NS = (1 << 31) * 1_000_000_000  # what builtin_interfaces/Time can say


class Outlet:
    """A topic that is played.

    It is offered reliably, whatever was recorded: readers that ask for less hear it too. Its history keeps everything
    that a reader has not acknowledged, so that nothing is overwritten at whatever rate: a full one makes `send` wait.
    (A transient-local one is kept for late readers instead, to the recorded depth.)
    """

    def __init__(self, node: Node, message_type: Any, topic: str, latched_depth: int = 0) -> None:
        """Advertise; with `latched_depth` as transient local."""
        self.count = 0
        self._node = node
        self._publisher = node.create_publisher(
            message_type,
            topic,
            QoSProfile(
                history=HistoryPolicy.KEEP_LAST if latched_depth else HistoryPolicy.KEEP_ALL,
                depth=latched_depth,
                reliability=ReliabilityPolicy.RELIABLE,
                durability=DurabilityPolicy.TRANSIENT_LOCAL if latched_depth else DurabilityPolicy.VOLATILE,
            ),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self.name = str(self._publisher.topic_name)

    @property
    def readers(self) -> tuple[int, int]:
        """Subscriptions (that are matched, that the graph knows of)."""
        return self._publisher.get_subscription_count(), self._node.count_subscribers(self.name)

    def send(self, message: Any, stop: threading.Event) -> None:
        """Publish a message, or its CDR; waits while the readers are behind."""
        while not self._publish(message) and not stop.wait(_POLL_S):
            pass

    def _publish(self, message: Any) -> bool:
        try:
            self._publisher.publish(message)
        except RuntimeError as error:  # RCLError: the history is full
            self._node.get_logger().warning(f"{self.name} waits: {error}", throttle_duration_sec=5.0)
            return False
        self.count += 1
        return True

    def wait_for_acknowledgement(self, stop: threading.Event) -> None:
        """Wait until every reader has everything, 15 s at most (Fast DDS asks every 3 s)."""
        deadline_ns = CLOCKS.monotonic_ns() + _ACKNOWLEDGED_NS
        while not self._publisher.wait_for_all_acked(Duration()):  # polled: rclpy waits with the interpreter locked
            if CLOCKS.monotonic_ns() > deadline_ns:
                self._node.get_logger().warning(
                    f"a subscriber of {self.name} has not acknowledged everything within 15 s"
                )
                return
            if stop.wait(_POLL_S):
                return


class Step(NamedTuple):
    """One message to play."""

    t_ns: int  # in the recording's time
    outlet: Outlet
    message: Callable[[int], Any]  # makes it, told how late it is [ns]; raises InputError to have it skipped


class Player:
    """Plays steps; `tick` is told the recording's time as it goes on."""

    def __init__(
        self,
        node: Node,
        outlets: Mapping[str, Outlet],
        steps: Callable[[], Iterator[Step]],
        rate: float,
        gap_ns: int = 0,
        tick: Callable[[int], None] | None = None,
    ) -> None:
        """Take what is to be played.

        Args:
            gap_ns: from the last message of a round to the first of the next, in the recording's time.
        """
        self.state, self.late_max_ns = "starting", 0
        self._skipped: dict[str, dict[str, int]] = {}  # by topic and reason
        self._node, self._outlets, self._steps = node, list(outlets.values()), steps
        self._rate, self._gap_ns, self._tick = rate, gap_ns, tick
        self._stop = threading.Event()
        self._ticked_ns = 0

    @property
    def count(self) -> int:
        return sum(outlet.count for outlet in self._outlets)

    @property
    def skipped(self) -> int:
        return sum(sum(reasons.values()) for reasons in self._skipped.values())

    def tally(self) -> str:
        """Return what was played, in words, and what was skipped and why."""
        topics = ", ".join(f"{outlet.name} {outlet.count}" for outlet in self._outlets)
        played = f"{self.count} messages ({topics}), at most {self.late_max_ns / 1e6:.1f} ms late"
        reasons = (f"{count} of {name}: {why}" for name, whys in self._skipped.items() for why, count in whys.items())
        return played + (f"; skipped {self.skipped} ({'; '.join(reasons)})" if self._skipped else "")

    def skipped_by_topic(self) -> dict[str, int]:
        """Return how many messages of each topic could not be played."""
        return {name: sum(reasons.values()) for name, reasons in self._skipped.items()}

    def stop(self) -> None:
        """Make `play` return at once."""
        self._stop.set()

    def play(self, loop: bool, wait: bool) -> bool:
        """Play everything; False when it was stopped before the end."""
        if wait and not self._wait_for_subscribers():
            return False
        self.state = "playing"
        start_ns = CLOCKS.monotonic_ns()
        while (end_ns := self._play_once(start_ns)) is not None:
            if not loop:
                for outlet in self._outlets:
                    outlet.wait_for_acknowledgement(self._stop)
                self.state = "finished"
                return True
            start_ns = max(CLOCKS.monotonic_ns(), end_ns + round(self._gap_ns / self._rate))
        return False

    def _play_once(self, start_ns: int) -> int | None:
        """Return when the last message was due (monotonic); None: stopped."""
        first_ns: int | None = None
        due_ns = start_ns
        for step in self._steps():
            if first_ns is None:
                first_ns = step.t_ns
            due_ns = start_ns + round((step.t_ns - first_ns) / self._rate)
            if not self._wait_until(due_ns, step.t_ns):
                return None
            late_ns = CLOCKS.monotonic_ns() - due_ns
            self.late_max_ns = max(self.late_max_ns, late_ns)
            try:
                step.outlet.send(step.message(late_ns), self._stop)
            except InputError as error:
                self._skip(step.outlet.name, str(error))
        return None if self._stop.is_set() else due_ns

    def _skip(self, topic: str, reason: str) -> None:
        """Count a message that is not played; each reason is said once."""
        reasons = self._skipped.setdefault(topic, {})
        if reason not in reasons and len(reasons) >= _MOST_REASONS:
            reason = "other reasons"
        if reason not in reasons:
            self._node.get_logger().warning(f"skipped: {reason}" + ("" if topic in reason else f" ({topic})"))
        reasons[reason] = reasons.get(reason, 0) + 1

    def _wait_until(self, due_ns: int, t_ns: int) -> bool:
        while True:
            now_ns = CLOCKS.monotonic_ns()
            left_ns = max(0, due_ns - now_ns)
            if (
                self._tick is not None
                and 0 <= t_ns < _CLOCK_END_NS
                and (left_ns or now_ns - self._ticked_ns > _CLOCK_AT_LEAST_NS)
            ):
                self._tick(max(0, t_ns - round(left_ns * self._rate)))
                self._ticked_ns = now_ns
            if left_ns == 0 or self._stop.is_set():
                return not self._stop.is_set()
            self._stop.wait((left_ns if self._tick is None else min(left_ns, _CLOCK_NS)) / 1e9)

    def _wait_for_subscribers(self) -> bool:
        """Wait until somebody listens, and everybody who is known to listen is matched and has settled."""
        self.state = "waiting for subscribers"
        names = ", ".join(outlet.name for outlet in self._outlets)
        said_ns = CLOCKS.monotonic_ns() - _SAY_NS // 2
        begun_ns = settled_ns = 0
        before: list[tuple[int, int]] = []
        while not self._stop.wait(_POLL_S):
            now_ns = CLOCKS.monotonic_ns()
            readers = [outlet.readers for outlet in self._outlets]
            if not any(matched for matched, _ in readers):
                begun_ns = 0
                if now_ns - said_ns > _SAY_NS:
                    said_ns = now_ns
                    self._node.get_logger().info(f"waiting for a subscriber of {names}")
                continue
            begun_ns = begun_ns or now_ns
            if readers != before or any(matched < known for matched, known in readers):
                settled_ns = now_ns
            before = readers
            if now_ns - settled_ns > _SETTLED_NS or now_ns - begun_ns > _SETTLED_AT_MOST_NS:
                silent = [
                    outlet.name for outlet, (matched, _) in zip(self._outlets, readers, strict=True) if not matched
                ]
                self._node.get_logger().info("playing" + (f"; nobody listens to {', '.join(silent)}" if silent else ""))
                return True
        return False
