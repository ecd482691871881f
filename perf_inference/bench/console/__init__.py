"""The console's own cost: until its first useful frame, and of the processor with many nodes.

The console runs in a pseudo-terminal of 80x24 before nodes that say what real ones say. A frame is useful when it names
a node. The share of a core is the kernel's count for the whole process, at its redraw of 2 Hz.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from perf_inference.bench.results.printed import keep
from perf_inference.bringup.child_process import tied
from perf_inference.bringup.domain import free_domain
from perf_inference.bringup.tuning import handed_on
from perf_inference.errors import CallError
from perf_inference.quantities import above_zero, positive

FRAME_S, SHARE_PCT = 1.0, 5.0  # aims
_LONGEST_S, _SETTLE_S = 60.0, 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    parser.add_argument("--nodes", type=positive, default=10, help="that are heard (default: 10)")
    parser.add_argument("--rate", type=above_zero, default=15.0, help="of the inferences of each [Hz] (default: 15)")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--seconds", type=above_zero, default=20.0, help="of each round (default: 20)")


def run(options: argparse.Namespace) -> int:
    """Print what was found; return 1 where an aim was missed."""
    frames, works, shares = [], [], []
    with _talkers(options.nodes, options.rate) as env:
        for _ in range(options.rounds):
            frame_s, worked_s, share = _console(env, options.seconds)
            frames.append(frame_s)
            works.append(worked_s)
            shares.append(share)
            print(
                f"first useful frame {frame_s:.2f} s ({worked_s:.2f} s of work), then {share:.1f} % of a core",
                flush=True,
            )
    frame_s, share = statistics.median(frames), statistics.median(shares)
    load = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{options.nodes} nodes of {options.rate:g} Hz, {options.rounds} rounds, medians; load of the machine {load}")
    print(
        f"first useful frame: {frame_s:.2f} s (aim: {FRAME_S:g}; from the start of its process), "
        f"{statistics.median(works):.2f} s of it work of its own"
    )
    print(f"its processor time: {share:.1f} % of one core (aim: {SHARE_PCT:g})")
    keep("first useful frame", [1e3 * value for value in frames])
    keep("processor time of one core", shares, "%")
    return 0 if frame_s <= FRAME_S and share <= SHARE_PCT else 1


@contextmanager
def _talkers(nodes: int, rate_hz: float) -> Iterator[dict[str, str]]:
    """Start them in a domain of their own; yield the environment."""
    env = {**handed_on(), "ROS_DOMAIN_ID": str(free_domain()), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "perf_inference.nodes.bench.console_peer", str(nodes), str(rate_hz)]
    peer = subprocess.Popen(tied(command), env=env, stdout=subprocess.PIPE, text=True)
    try:
        if peer.stdout is None or "talking" not in peer.stdout.readline():
            raise CallError("the nodes of the benchmark have not started; run it again and see what they print")
        time.sleep(_SETTLE_S)
        yield env
    finally:
        peer.send_signal(signal.SIGINT)
        try:
            peer.wait(5)
        except subprocess.TimeoutExpired:
            peer.kill()
            peer.wait()


def _console(env: dict[str, str], seconds: float) -> tuple[float, float, float]:
    """Return when the first useful frame came [s], the work until then [s], and the share of a core after it [%]."""
    own, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "perf_inference.cli", "console"]
    started = time.monotonic()
    console = subprocess.Popen(
        command, env={**env, "TERM": "xterm-256color"}, stdin=other, stdout=other, stderr=other, start_new_session=True
    )
    os.close(other)
    try:
        frame_s = _until(own, b"node_0", started)
        watched = psutil.Process(console.pid)
        worked_s = sum(watched.cpu_times()[:2])
        _until(own, b"", time.monotonic(), _SETTLE_S)
        before, since = sum(watched.cpu_times()[:2]), time.monotonic()
        _until(own, b"", since, seconds)
        share = 100 * (sum(watched.cpu_times()[:2]) - before) / (time.monotonic() - since)
        os.write(own, b"q")
        _until(own, b"", time.monotonic(), 1.0)
    finally:
        if console.poll() is None:
            console.terminate()
        console.wait()
        os.close(own)
    return frame_s, worked_s, share


def _until(terminal: int, word: bytes, started: float, seconds: float = _LONGEST_S) -> float:
    """Read until the word is shown; return how long that took. Without a word: read for so long."""
    seen = b""
    while (elapsed := time.monotonic() - started) < seconds:
        ready, _, _ = select.select([terminal], [], [], 0.02)
        if ready:
            try:
                seen = (seen + os.read(terminal, 65536))[-200_000:] if word else os.read(terminal, 65536)
            except OSError:  # the console has ended
                break
            if word and word in seen:
                return time.monotonic() - started
    if word:
        raise CallError(f"no frame with a node came within {elapsed:.0f} s: {seen[-300:]!r}")
    return elapsed
