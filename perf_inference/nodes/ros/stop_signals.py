"""The signals that end a process of nodes: one ends the making of the nodes where it is, or wakes the executor."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from rclpy.executors import Executor

from perf_inference.bringup import tuning
from perf_inference.bringup.stop_signal import put_off

# A closed terminal sends SIGHUP, Ctrl-\ SIGQUIT, to all that was started from it: neither may leave an arm moving.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Stopped(BaseException):
    """Raised in the main thread by a signal that comes while the nodes are being made."""


class Stop:
    """The signals that stop a node: they end the making of the nodes where it is, and later wake the executor."""

    def __init__(self) -> None:
        self.asked = False
        self.interrupted = False  # it came while the nodes were being made
        self._number = 0  # of the first signal
        self._making = True  # the nodes
        self._is_put_off = False
        self._executor: Executor | None = None
        self._reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(self._reading, True)
        for number in STOP_SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def wakes(self, executor: Executor) -> None:
        """From now on a signal wakes this executor, whatever the main thread is doing."""
        self._executor, self._making = executor, False
        threading.Thread(target=self._wait, name="signals", daemon=True).start()

    def lets_go(self) -> None:
        """Hold the executor no longer: it has ended."""
        self._executor = None

    def status(self) -> int:
        """Return the exit status of a stop.

        0; under a supervisor it names the signal, as a shell does: sent by somebody else it is no end of the work.
        """
        return 128 + self._number if self._number and tuning.SIGNAL_STATUS in os.environ else 0

    def _wait(self) -> None:
        while read := os.read(self._reading, 1):
            self._number = self._number or read[0]
            self.asked = True
            self._wake()

    def _wake(self) -> None:
        executor = self._executor  # `lets_go` may come in between
        if executor is not None:
            executor.wake()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._making and (not self.asked or self._is_put_off):
            self.asked = self.interrupted = True
            self._number = self._number or number
            self._is_put_off = put_off(self._on_signal, number, frame)
            if not self._is_put_off:
                raise Stopped
