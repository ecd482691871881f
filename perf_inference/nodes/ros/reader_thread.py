"""A thread of its own for one subscription, or two, in place of the executor.

An executor gathers all entities of its nodes before and after each wait, and what has come waits while the callback of
a timer or a service runs. For an image that is a tenth of a millisecond as a rule and several now and then. Here a
thread waits for one subscription and its events alone, as `rclpy.wait_for_message` does. (A wait for the events of a
reader is woken by its messages too, so they cannot be the executor's.)

Where work follows on a message, the thread that has taken it does that too: to hand it to a worker takes a sixth of a
millisecond (docs/performance.md). Another one reads as soon as the first lets it, which is best done when that one is
about to let go of the interpreter for a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.node import Node
from rclpy.subscription import Subscription

from perf_inference.nodes.reports.faults import Faults, faults_of

_LOOK_NS = 500_000_000  # so often it looks whether the subscription was destroyed without `stop`
_AGAIN_S = 0.1  # after a failure of the middleware

Work = Callable[[Callable[[], None]], None]
"""Takes what lets another thread read the next message meanwhile; at its end at the latest that may."""


class ReaderThread:
    """Takes each message of a subscription that was made with a `LeftAlone` group."""

    def __init__(
        self,
        node: Node,
        subscription: Subscription,
        taken: Callable[[Any, Any], None],
        afterwards: Work | None = None,
    ) -> None:
        """Start.

        Args:
            taken: is called with each message and its info (a thread of this), and an error in it is a fault.
            afterwards: is called then by the same thread with what it calls to let the other one read; two take turns.
        """
        self._node, self._subscription, self._taken, self._afterwards = node, subscription, taken, afterwards
        self._stopped = False
        self._reading = threading.Lock()  # held by the one that waits for messages and takes them
        self._wake = GuardCondition(None, None, context=node.context)
        events = len(subscription.event_handlers)
        self._turns = [
            _Turn(self._reading, _rclpy.WaitSet(1, 1, 0, 0, 0, events, node.context.handle))
            for _ in range(1 if afterwards is None else 2)
        ]
        self._threads = [
            threading.Thread(target=self._run, args=(turn,), name=f"{node.get_name()} reader", daemon=True)
            for turn in self._turns
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take no more; a message is finished first, until the other thread might read (any thread but these)."""
        self._stopped = True
        if any(thread.is_alive() for thread in self._threads):
            self._wake.trigger()
        with self._reading:
            for turn in self._turns:
                turn.let_go(for_good=True)
            self._wake.destroy()
        if self._afterwards is None:
            self._threads[0].join()

    def _run(self, turn: _Turn) -> None:
        context, faults = self._node.context, faults_of(self._node)
        where = f"the callback of subscription {self._subscription.topic_name}"
        while True:
            with turn:
                if self._stopped or not context.ok() or not self._turn(turn, faults, where):
                    turn.let_go(for_good=True)
                    return

    def _turn(self, turn: _Turn, faults: Faults, where: str) -> bool:
        """Return whether there is anything left to wait for."""
        try:
            self._wait_and_take(turn, faults, where)
        except _rclpy.InvalidHandle:  # destroyed without `stop`
            return False
        except Exception as error:  # of the middleware: a node that is deaf from now on would be worse
            faults.failed(error, where)
            time.sleep(_AGAIN_S)
        finally:
            turn.let_go()
        return True

    def _wait_and_take(self, turn: _Turn, faults: Faults, where: str) -> None:
        """Wait for messages and events, and take them."""
        reader, wake, events = self._subscription.handle, self._wake.handle, self._subscription.event_handlers
        wait_set = turn.wait_set
        turn.hold(reader, wake, wait_set, *events)
        wait_set.clear_entities()
        wait_set.add_subscription(reader)
        wait_set.add_guard_condition(wake)
        for event in events:
            event.add_to_wait_set(wait_set)
        wait_set.wait(_LOOK_NS)
        with faults.watching(where):
            self._take(turn, reader)
        with turn.handles:
            # What was done after the taking may have outlived the subscription.
            for event in events if not turn.is_over else ():
                if event.is_ready(wait_set):
                    with faults.watching(where):
                        event.callback(event.take_data())

    def _take(self, turn: _Turn, reader: Any) -> None:
        how = self._subscription.msg_type, self._subscription.raw
        while not self._stopped and (came := reader.take_message(*how)) is not None:
            self._taken(*came)
            if self._afterwards is not None:
                self._afterwards(turn.end)
                return


class _Turn:
    """A lock that a thread may give up before the end of its `with`, and the handles that it holds meanwhile.

    A thread whose work never ends holds them for ever; so whoever stops it lets go of them: else the context stays, and
    others see the node in the graph for 20 s after its process has ended.
    """

    def __init__(self, lock: threading.Lock, wait_set: Any) -> None:
        self.wait_set = wait_set
        self.handles = threading.Lock()  # held while they are used
        self.is_over = False
        self._lock, self._has_it = lock, False
        self._held: list[Any] = []

    def __enter__(self) -> None:
        self._lock.acquire()
        self._has_it = True

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        if self._has_it:
            self._has_it = False
            self._lock.release()

    def hold(self, *handles: Any) -> None:
        """Let none of them be destroyed before `let_go`."""
        for handle in handles:
            handle.__enter__()
            self._held.append(handle)

    def let_go(self, for_good: bool = False) -> None:
        """Hold them no longer; `for_good`: nothing is waited for any more (any thread)."""
        with self.handles:
            while self._held:
                self._held.pop().__exit__(None, None, None)
            if for_good:
                self.is_over = True
                self.wait_set.destroy_when_not_in_use()


class LeftAlone(CallbackGroup):
    """Keeps its entities out of the executor."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        pass
