"""The processes of a contention run: started clean, released at one moment, and never waited for when they are dead."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from perf_inference.bringup.child_process import tied
from perf_inference.printable import shown

_LOAD_S, _LATE_S = 120.0, 30.0
_HEAD_START_NS = 50_000_000  # for the order to reach everybody


class Taken(NamedTuple):
    """What one engine did in one run."""

    begin_ns: int
    starts_ns: Sequence[int]
    latencies_ns: Sequence[int]
    device_ns: Sequence[int]  # by the device's own events, where it knows


class Worker:
    """One process with one engine."""

    def __init__(self, name: str, how: Mapping[str, Any]) -> None:
        self.name, self.text, self.dead = name, "", ""
        command = [sys.executable, "-m", "perf_inference.bench.contention.worker", json.dumps(how)]
        self.process = subprocess.Popen(tied(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._said: queue.Queue[Mapping[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, name=f"reads {name}", daemon=True).start()

    def wait_ready(self) -> None:
        """Wait until it has loaded its model; `dead` says why not."""
        said = self._hear(_LOAD_S, "loading")
        if said and "failed" in said:
            self.dead = str(said["failed"])
        elif said:
            self.text = str(said["ready"])

    def order(self, begin_ns: int, seconds: float, rate_hz: float) -> None:
        """Tell it when to run."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"begin_ns": begin_ns, "seconds": seconds, "rate_hz": rate_hz}) + "\n")
            self.process.stdin.flush()
        except OSError:
            self._died("before a run")

    def taken(self, begin_ns: int, seconds: float, during: str) -> Taken | None:
        """Return what it did; None: it has died, and `dead` says how."""
        said = self._hear(seconds + _LATE_S, during)
        if said is None:
            return None
        device = [int(ns) for ns in said["device_ns"] if ns is not None]
        return Taken(begin_ns, said["starts_ns"], said["latencies_ns"], device)

    def close(self) -> None:
        """End it; a second call does nothing."""
        with suppress(OSError):
            if self.process.stdin:
                self.process.stdin.close()
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def _hear(self, within_s: float, during: str) -> Mapping[str, Any] | None:
        if self.dead:
            return None
        try:
            said = self._said.get(timeout=within_s)
        except queue.Empty:
            self.process.kill()
            self.dead = f"said nothing for {within_s:g} s ({during})"
            return None
        if said is None:
            self._died(during)
        return said

    def _died(self, during: str) -> None:
        status = self.process.wait()
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        self.dead = self.dead or f"process {self.process.pid} ended {how} ({during})"

    def _read(self) -> None:
        assert self.process.stdout is not None
        with suppress(ValueError, OSError):
            for line in self.process.stdout:
                try:
                    said = json.loads(line)
                except ValueError:
                    print(f"{self.name}: {shown(line.strip())}", file=sys.stderr)
                    continue
                if isinstance(said, dict):
                    self._said.put(said)
        self._said.put(None)


def together(workers: Sequence[Worker], seconds: float, rate_hz: float) -> dict[str, Taken]:
    """Run these at the same time, from one moment on; one that dies is left out."""
    during = " + ".join(worker.name for worker in workers)
    begin_ns = time.monotonic_ns() + _HEAD_START_NS
    for worker in workers:
        worker.order(begin_ns, seconds, rate_hz)
    found = {worker.name: worker.taken(begin_ns, seconds, during) for worker in workers}
    return {name: taken for name, taken in found.items() if taken is not None}
