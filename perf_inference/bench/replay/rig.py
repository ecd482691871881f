"""The real nodes, the sender and the ears of a replay, in a ROS domain of their own."""

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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perf_inference.bench.replay.judge import Trial
from perf_inference.bringup import tuning
from perf_inference.bringup.child_process import tied
from perf_inference.bringup.domain import free_domain
from perf_inference.errors import PerfInferenceError

if TYPE_CHECKING:
    from perf_inference.nodes.bench.replay_collector import Answer

_READY_S, _LOAD_S, _SETTLE_S, _QUIET_S, _LATE_S = 90.0, 120.0, 2.0, 0.3, 30.0
_HEAD_START_NS = 100_000_000
_STOP_S = 10.0


class Rig:
    """Starts everything; `close` ends it.

    Raises:
        PerfInferenceError: the recording cannot be played, the nodes have ended, or nobody listens.
    """

    def __init__(
        self, recording: Path, graph: Path, topic: str, remap: Mapping[str, str], assignments: Sequence[str], node: str
    ) -> None:
        from perf_inference.nodes.bench.replay_collector import ReplayCollector

        self._wanted_node = node
        self._domain = free_domain()
        environ = {**tuning.handed_on(), "ROS_DOMAIN_ID": str(self._domain)}
        self._processes: list[subprocess.Popen[str]] = []
        self._said: queue.Queue[Mapping[str, Any] | None] = queue.Queue()
        self._ears: ReplayCollector | None = None
        sets = [word for assignment in assignments for word in ("--set", assignment)]
        run = [sys.executable, "-m", "perf_inference.cli", "run", "--config", str(graph), "--no-record", *sets]
        how = {"recording": str(recording), "topic": topic, "remap": dict(remap), "ready_s": _READY_S}
        self._send = tied([sys.executable, "-m", "perf_inference.nodes.bench.replay_sender", json.dumps(how)])
        try:
            self._nodes = self._start(tied(run), environ, stdout=subprocess.DEVNULL)
            self._sender = self._start(self._send, tuning.tuned(environ, images=True), stdout=subprocess.PIPE)
            threading.Thread(target=self._read, name="reads the sender", daemon=True).start()
            self.about = self._hear(_LOAD_S)["loaded"]
            self._ears = ReplayCollector(self._domain)
            self.topic = self._matched()
        except BaseException:
            self.close()
            raise

    def trial(self, rate_hz: float, seconds: float, seed: int | None = None) -> Trial:
        """Play so long at this rate (0: as recorded), and return what came of it.

        Raises:
            PerfInferenceError: the nodes or the sender have ended.
        """
        assert self._ears is not None
        ears = self._ears
        ears.answers.clear()
        order = {"begin_ns": time.monotonic_ns() + _HEAD_START_NS, "seconds": seconds, "rate_hz": rate_hz, "seed": seed}
        assert self._sender.stdin is not None
        self._sender.stdin.write(json.dumps(order) + "\n")
        self._sender.stdin.flush()
        ears.spin_until(lambda: not self._said.empty() or self._nodes.poll() is not None, seconds + _LATE_S)
        if self._nodes.poll() is not None:
            raise PerfInferenceError(f"the graph ended with status {self._nodes.returncode} during the replay")
        said = self._hear(1.0)
        self._settle()
        answers = self._answers(said["stamps"])
        found = [answers[stamp] for stamp in said["stamps"] if stamp in answers]
        return Trial(
            rate_hz or self.about["rate_hz"],
            seconds,
            len(said["stamps"]),
            [answer.latency_ms for answer in found],
            sum(answer.replaced for answer in found),
            [answer.service_ms for answer in found],
            [ns / 1e6 for ns in said["late_ns"]],
        )

    def close(self) -> None:
        """End the processes, the nodes as Ctrl-C would; a second call does nothing."""
        for process in self._processes:
            if process.stdin:  # the sender ends with it
                with suppress(OSError):
                    process.stdin.close()
            if process.args is not self._send:
                process.send_signal(signal.SIGINT)
        for process in self._processes:
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()
        self._processes = []
        if self._ears is not None:
            self._ears.close()
            self._ears = None

    def _start(self, command: Sequence[str], environ: Mapping[str, str], stdout: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout, text=True, env=dict(environ))
        self._processes.append(process)
        return process

    def _matched(self) -> str:
        ears = self._ears
        assert ears is not None
        alive = self._nodes.poll
        ears.spin_until(lambda: not self._said.empty() or alive() is not None, _READY_S + 5)
        if alive() is not None:
            raise PerfInferenceError(f"the graph ended with status {self._nodes.returncode} before it was ready")
        said = self._hear(1.0)
        if not said["matched"]:
            raise PerfInferenceError(
                f"no node of the graph subscribes to {said['topic']}: play it under another name, such as "
                f"--remap {said['topic']}:=/image"
            )
        if not ears.spin_until(ears.publishers, _READY_S):
            raise PerfInferenceError("no node of the graph publishes inference/timing, by which answers are told")
        return str(said["topic"])

    def _settle(self) -> None:
        """Take what is still on its way."""
        assert self._ears is not None
        ears = self._ears
        deadline_s, heard, quiet_s = time.monotonic() + _SETTLE_S, ears.heard(), time.monotonic()
        while time.monotonic() < deadline_s and time.monotonic() - quiet_s < _QUIET_S:
            ears.spin_until(lambda: False, 0.05)
            if ears.heard() > heard:
                heard, quiet_s = ears.heard(), time.monotonic()

    def _answers(self, stamps: Sequence[int]) -> Mapping[int, Answer]:
        """Return the answers of the node that is meant: the one named, else that which answered most of these."""
        assert self._ears is not None
        sent = set(stamps)
        heard = self._ears.answers
        if self._wanted_node:
            return next((found for name, found in heard.items() if name.strip("/") == self._wanted_node.strip("/")), {})
        return max(heard.values(), key=lambda found: len(sent & set(found)), default={})

    def _hear(self, within_s: float) -> Mapping[str, Any]:
        try:
            said = self._said.get(timeout=within_s)
        except queue.Empty:
            raise PerfInferenceError(f"the sender said nothing for {within_s:g} s") from None
        if said is None:
            raise PerfInferenceError(f"the sender ended with status {self._sender.wait()}; what it said is above")
        if "failed" in said:
            raise PerfInferenceError(str(said["failed"]))
        return said

    def _read(self) -> None:
        assert self._sender.stdout is not None
        with suppress(ValueError, OSError):
            for line in self._sender.stdout:
                with suppress(ValueError):
                    self._said.put(json.loads(line))
        self._said.put(None)
