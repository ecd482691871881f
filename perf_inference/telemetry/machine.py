"""One sample of the whole machine a second, and what it did in any window of the last hours."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from perf_inference.measure.clocks import CLOCKS, Clocks
from perf_inference.telemetry.board import read_board
from perf_inference.telemetry.history import HOLD_NS, History, MachineSample
from perf_inference.telemetry.host import Host
from perf_inference.telemetry.jetson import Jetson
from perf_inference.telemetry.nvml import Nvml
from perf_inference.telemetry.tegrastats_process import DEFAULT_COMMAND, TegrastatsReader
from perf_inference.telemetry.window import MachineWindow

_log = logging.getLogger(__name__)


class MachineSampler:
    """Keeps the figures of the last `history_s` [s]; `start` takes one each `period_s` [s], `tick` one now.

    Args:
        tegrastats_command: as TegrastatsReader takes it; "" for none.
        tegrastats_log: keep tegrastats' raw lines in this file.

    Raises:
        ConfigError: `tegrastats_command` is not a command line.
    """

    def __init__(
        self,
        tegrastats_command: str | Sequence[str] = DEFAULT_COMMAND,
        *,
        tegrastats_log: Path | None = None,
        period_s: float = 1.0,
        history_s: float = 4 * 3600.0,
        clocks: Clocks = CLOCKS,
    ) -> None:
        self._clocks = clocks
        self._period_s = period_s
        self._history = History(history_s, max(HOLD_NS, round(2.5 * period_s * 1e9)))
        self._newest: MachineSample | None = None
        self._lock = threading.Lock()  # the sources count from one reading to the next: one reader at a time
        self._pids: tuple[int, ...] = ()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.tegrastats = TegrastatsReader(tegrastats_command, log=tegrastats_log, clocks=clocks)
        self._host, self._jetson, self.nvml = Host(), Jetson(clocks=clocks), Nvml()

    def start(self) -> None:
        """Take samples from now on, in a thread of its own; a second call does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="machine", daemon=True)
            self._thread.start()

    def watch(self, pids: Iterable[int]) -> None:
        """Let the samples carry the shares of these processes too."""
        self._pids = tuple(pids)

    def tick(self) -> MachineSample:
        """Take a sample, keep its figures, and return it."""
        with self._lock:
            monotonic_ns, system_ns = self._clocks.pair()
            sample = MachineSample(
                monotonic_ns,
                system_ns,
                host=self._host.sample(self._pids),
                gpus=self.nvml.sample(),
                tegrastats=self.tegrastats.newest(),
                jetson=self._jetson.sample(),
                board=read_board(),
            )
            self._history.add(sample)
            self._newest = sample
            return sample

    def newest(self) -> MachineSample | None:
        """Return the newest sample; None: there is none yet."""
        return self._newest

    def window(self, begin_ns: int, end_ns: int) -> MachineWindow:
        """Return the summary of a window of the monotonic clock, as far as the history reaches."""
        with self._lock:
            return self._history.window(begin_ns, end_ns)

    def close(self) -> None:
        """End the thread and the children; a second call does nothing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(self._period_s)
        self.tegrastats.close()
        with self._lock:
            self._jetson.close()
            self.nvml.close()

    def _run(self) -> None:
        failure = ""
        due_ns = self._clocks.monotonic_ns()
        while True:
            try:
                self.tick()
                failure = ""
            except Exception as error:  # a sensor's driver that misbehaves: said once, and tried again
                if str(error) != failure:
                    failure = str(error)
                    _log.warning("the machine could not be sampled", exc_info=True)
            now_ns = self._clocks.monotonic_ns()
            due_ns = max(due_ns + round(self._period_s * 1e9), now_ns)
            if self._stop.wait((due_ns - now_ns) / 1e9):
                return
