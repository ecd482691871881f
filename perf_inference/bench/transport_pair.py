"""A publisher and a subscriber, each a process of its own, for one row of `perf-inference bench transport`."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from perf_inference.errors import ConfigError, PerfInferenceError

_FOUND_S = 30.0  # an import of rclpy on a busy machine, and discovery
_END_S = 10.0
_SLOWEST = 10  # a publisher of large images with stock settings is held up so many times at most


class Size(NamedTuple):
    """The data of one message."""

    name: str
    width: int
    height: int
    channels: int

    @property
    def size_bytes(self) -> int:
        return self.width * self.height * self.channels

    @classmethod
    def of(cls, text: str) -> Size:
        """Return the size of `1920x1080` (3 bytes a pixel) or `1KB`.

        Raises:
            ConfigError: it is neither.
        """
        try:
            if text.upper().endswith("KB"):
                return cls(text, _positive(int(text[:-2])) * 1024, 1, 1)
            width, height = text.split("x")
            return cls(text, _positive(int(width)), _positive(int(height)), 3)
        except ValueError as error:
            raise ConfigError(f"a size must be like 1920x1080 or 1KB, got '{text}'") from error


class Traffic(NamedTuple):
    """What is sent."""

    size: Size
    qos: str  # reliable | best_effort
    rate_hz: float
    frames: int
    raw: bool = False  # the subscriber takes the serialised message


class Outcome(NamedTuple):
    """What became of it."""

    sent: int
    received: int
    latencies_ns: tuple[int, ...]
    cpu_pub_ns: int
    cpu_sub_ns: int
    faults_sub: int
    segment_bytes: int  # of the publisher's own shared memory


class Peer:
    """One of the two processes."""

    def __init__(self, role: str, traffic: Traffic, environment: Mapping[str, str], prefix: Sequence[str] = ()) -> None:
        """Start it.

        Args:
            prefix: what to run it with: `ip netns exec NAME`.
        """
        size = traffic.size
        command = [*prefix, sys.executable, "-m", "perf_inference.nodes.bench.transport_peer", role]
        command += ["--width", str(size.width), "--height", str(size.height), "--channels", str(size.channels)]
        command += ["--qos", traffic.qos, "--rate", str(traffic.rate_hz), "--frames", str(traffic.frames)]
        command += ["--raw"] if traffic.raw else []
        self._role = role
        self._answers: queue.Queue[str] = queue.Queue()
        self._process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def answer(self, timeout_s: float) -> dict[str, Any]:
        """Return the next thing it says.

        Raises:
            PerfInferenceError: it has ended, or says nothing in time.
        """
        try:
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            raise PerfInferenceError(f"the {self._role}r said nothing for {timeout_s:g} s") from None
        if not line:
            raise PerfInferenceError(f"the {self._role}r ended with status {self._process.wait()}; see above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def tell(self) -> None:
        """Let it go on with what comes next."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End it, and wait."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        for number in (0, signal.SIGTERM, signal.SIGKILL):
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S / 2)
                return

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                self._answers.put(line)
        self._answers.put("")


def exchange(
    traffic: Traffic,
    publisher: Mapping[str, str],
    subscriber: Mapping[str, str],
    prefixes: tuple[Sequence[str], Sequence[str]] = ((), ()),
) -> Outcome:
    """Start a publisher and a subscriber with these environments, let them find each other, send all, and count.

    Raises:
        PerfInferenceError: they do not find each other, or one of them dies.
    """
    with ExitStack() as stack:
        publishing = Peer("publish", traffic, publisher, prefixes[0])
        stack.callback(publishing.close)
        subscribing = Peer("subscribe", traffic, subscriber, prefixes[1])
        stack.callback(subscribing.close)
        for peer in (publishing, subscribing):
            peer.answer(_FOUND_S)
        publishing.tell()
        sent = publishing.answer(_END_S + _SLOWEST * traffic.frames / traffic.rate_hz)
        subscribing.tell()
        got = subscribing.answer(_END_S)
    if got["wrong"]:
        raise PerfInferenceError(f"{got['wrong']} messages did not have {traffic.size.size_bytes} bytes of data")
    return Outcome(
        sent["sent"], got["received"], tuple(got["latencies_ns"]), sent["cpu_ns"], got["cpu_ns"], got["faults"],
        sent["segment_bytes"],
    )  # fmt: skip


def _positive(number: int) -> int:
    if number < 1:
        raise ValueError
    return number
