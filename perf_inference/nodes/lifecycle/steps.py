"""Work on the ROS thread that waits for threads without holding up the executor.

A generator is run on the ROS thread. Each function that it yields is called in a thread of its own, and the generator
goes on with what that returns, or raises, while timers, services and subscriptions go on meanwhile. (A coroutine would
do, but rclpy up to Jazzy polls one that waits, at the cost of a core.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.timer import Timer

from perf_inference.errors import PerfInferenceError

Work = Generator[Callable[[], Any], Any, None]


def in_steps(work: Work | None) -> Work:
    """Yield what `work` yields; nothing where it is none."""
    if work is not None:
        yield from work


class LateError(PerfInferenceError):
    """It took longer than it may."""


class Steps:
    """Runs one generator at a time."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._run: _Run | None = None
        self._left: threading.Thread | None = None  # of a run that was given up
        self._group = ReentrantCallbackGroup()
        self._woken = node.create_guard_condition(self._on_woken, callback_group=self._group)

    @property
    def left_behind(self) -> bool:
        """Whether the thread of a run that was given up is still busy."""
        return self._left is not None and self._left.is_alive()

    def start(self, work: Work, done: Callable[[Exception | None], None], timeout_s: float | None = None) -> None:
        """Begin (ROS thread); no other run is under way.

        Args:
            done: called with the error that ended it, or None (ROS thread).
            timeout_s: after which it is given up with LateError; None: never. What its thread returns later is closed,
                where it has a `close`.
        """
        run = self._run = _Run(work, done)
        if timeout_s is not None:
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            late = partial(self._on_late, run, timeout_s)
            run.timer = self._node.create_timer(timeout_s, late, callback_group=self._group, clock=steady)
        self._advance(run, partial(next, work))

    def abandon(self) -> None:
        """Give up the run under way, if there is one: the node ends."""
        run = self._run
        if run is not None:
            with self._lock:
                run.over = True
            self._end(run)
            run.work.close()

    def _advance(self, run: _Run, resume: Callable[[], Callable[[], Any]]) -> None:
        try:
            step = resume()
        except StopIteration:
            self._end(run)
            run.done(None)
        except Exception as error:
            self._end(run)
            run.done(error)
        else:
            name = f"{self._node.get_name()} transition"
            run.thread = threading.Thread(target=self._work, args=(run, step), name=name, daemon=True)
            run.thread.start()

    def _end(self, run: _Run) -> None:
        self._run = None
        if run.timer is not None:
            self._node.destroy_timer(run.timer)

    def _on_woken(self) -> None:
        run = self._run
        if run is None:
            return
        with self._lock:
            outcome, run.outcome = run.outcome, None
        if outcome is not None:
            result, error = outcome
            self._advance(run, partial(run.work.send, result) if error is None else partial(run.work.throw, error))

    def _on_late(self, run: _Run, timeout_s: float) -> None:
        with self._lock:
            if run is not self._run or run.outcome is not None:
                return
            run.over, self._left = True, run.thread
        self._advance(run, partial(run.work.throw, LateError(f"it has not ended within {timeout_s:g} s")))

    # own thread ------------------------------------------------------------------------------------------------------

    def _work(self, run: _Run, step: Callable[[], Any]) -> None:
        result: Any = None
        failure: Exception | None = None
        try:
            result = step()
        except (Exception, SystemExit) as error:  # a library that calls sys.exit
            failure = error if isinstance(error, Exception) else RuntimeError(f"a library ends the process: {error}")
        with self._lock:
            over = run.over
            run.outcome = (result, failure)
        if not over:
            self._woken.trigger()
        elif hasattr(result, "close"):
            result.close()


class _Run:
    """One generator, and where it is."""

    def __init__(self, work: Work, done: Callable[[Exception | None], None]) -> None:
        self.work, self.done = work, done
        self.thread: threading.Thread | None = None
        self.timer: Timer | None = None
        self.outcome: tuple[Any, Exception | None] | None = None  # of the newest step
        self.over = False  # nobody waits for it any more
