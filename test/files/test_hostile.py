"""Whatever a file holds, a reader reads it or refuses it in one sentence: no crash, no hang, no memory without bounds.

`make prove PROVE=hostile` gives 100,000 mutated inputs to all readers; HOSTILE_SEED and HOSTILE_INPUTS change which
and how many. One that failed comes again with `hostile_worker.py READER SEED INDEX INDEX+1 FOLDER`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.paths import SHARED_DATA, SUPPORT, search_path

pytest.importorskip("onnx", reason="a good model to begin with is made with it")

WORKER = SUPPORT / "hostile_worker.py"
SHARES = {  # of 100,000
    "mcap": 8000, "db3": 6000, "packed": 1000, "jsonl": 7000, "timings": 7000, "metadata.yaml": 10_000,
    "robot.yaml": 8000, "onnx": 5000, "cdr": 16_000, "tegrastats": 12_000, "heartbeats": 10_000, "images": 10_000,
}  # fmt: skip
PIECE = 4000  # inputs of one process
ALL = ",".join(SHARES)  # in turns, in one process


@dataclass
class Outcome:
    """What became of a reader's inputs."""

    counts: Counter[str] = field(default_factory=Counter)  # read, refused, crash, hang, lost
    seconds: float = 0.0  # of the processor
    slowest_s: float = 0.0
    failures: list[str] = field(default_factory=list)

    def take(self, said: dict[str, Any]) -> None:
        self.counts[said["verdict"]] += 1
        self.seconds += said["s"]
        self.slowest_s = max(self.slowest_s, said["s"])


def run(reader: str, seed: str, first: int, last: int, scratch: Path, worker: Path = WORKER) -> tuple[str, Outcome]:
    """Run these inputs; where a process ends before its time, another one goes on after the input that ended it."""
    outcome, index = Outcome(), first
    scratch.mkdir()
    while index < last:
        arguments = [sys.executable, str(worker), reader, seed, str(index), str(last), str(scratch)]
        done = subprocess.run(
            arguments, env=environment(), text=True, capture_output=True, errors="replace", check=False
        )
        for line in done.stdout.splitlines():
            said = json.loads(line)
            outcome.take(said)
            index = said["index"] + 1
            if said["verdict"] == "crash":
                outcome.failures.append(f"{reader} {seed} {said['index']}: {said['error']}\n{said['where']}")
        if done.returncode:
            verdict = "hang" if "most recent call first" in done.stderr and done.returncode in (1, -27) else "lost"
            outcome.counts[verdict] += 1
            outcome.failures.append(f"{reader} {seed} {index}: {verdict}, {done.returncode}\n{done.stderr[-2500:]}")
            index += 1
    return reader, outcome


def environment() -> dict[str, str]:
    """Return this process' environment with the package, wherever it is imported from."""
    ours = {"PYTHONPATH": search_path(), "PERF_INFERENCE_TEST_DATA": str(SHARED_DATA), "OPENCV_LOG_LEVEL": "OFF"}
    return os.environ | ours


def pieces(inputs: int, scratch: Path) -> Iterator[tuple[str, int, int, Path]]:
    for reader, share in SHARES.items():
        last = max(1, round(share * inputs / sum(SHARES.values())))
        for first in range(0, last, PIECE):
            yield reader, first, min(first + PIECE, last), scratch / f"{reader}_{first}"


def prove(seed: str, inputs: int, scratch: Path) -> dict[str, Outcome]:
    """Run all readers on two processes; return what became of each one's inputs."""
    outcomes = {reader: Outcome() for reader in SHARES}
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(run, reader, seed, first, last, folder)
            for reader, first, last, folder in pieces(inputs, scratch)
        ]
        for job in jobs:
            reader, part = job.result()
            whole = outcomes[reader]
            whole.counts += part.counts
            whole.seconds += part.seconds
            whole.slowest_s = max(whole.slowest_s, part.slowest_s)
            whole.failures += part.failures
    return outcomes


def table(outcomes: dict[str, Outcome], seed: str) -> str:
    columns = ("read", "refused", "crash", "hang", "lost")
    rows = [
        f"seed {seed}",
        f"{'reader':<14}{'inputs':>8}" + "".join(f"{name:>9}" for name in columns) + f"{'cpu [s]':>9}{'slowest':>9}",
    ]
    for reader, outcome in outcomes.items():
        counts = "".join(f"{outcome.counts[name]:>9}" for name in columns)
        total = sum(outcome.counts.values())
        rows.append(f"{reader:<14}{total:>8}{counts}{outcome.seconds:>9.1f}{outcome.slowest_s:>9.2f}")
    sums = [sum(outcome.counts[name] for outcome in outcomes.values()) for name in columns]
    return "\n".join([*rows, f"{'all':<14}{sum(sums):>8}" + "".join(f"{count:>9}" for count in sums)])


def check(outcomes: dict[str, Outcome], seed: str) -> None:
    failures = [failure for outcome in outcomes.values() for failure in outcome.failures]
    assert not failures, f"seed {seed}, {len(failures)} failures:\n" + "\n".join(failures[:10])
    for reader, outcome in outcomes.items():
        # Of lines that are none, those that read timings count them, and say so.
        assert outcome.counts["refused"] or reader == "timings", f"{reader} must have refused something"


@pytest.mark.thorough
@pytest.mark.slow
def test_a_few_hundred_hostile_inputs(tmp_path: Path) -> None:
    _, outcome = run(ALL, "1", 0, 40 * len(SHARES), tmp_path / "scratch")
    check({"all": outcome}, "1")


@pytest.mark.long
def test_prove_hostile_inputs(tmp_path: Path) -> None:
    seed = os.environ.get("HOSTILE_SEED") or str(random.SystemRandom().randrange(10**9))
    inputs = int(os.environ.get("HOSTILE_INPUTS", "100000"))
    print(f"\nhostile: {inputs} inputs, HOSTILE_SEED={seed}", flush=True)
    begun_s = time.monotonic()
    outcomes = prove(seed, inputs, tmp_path)
    print(f"{table(outcomes, seed)}\n{time.monotonic() - begun_s:.0f} s", flush=True)
    check(outcomes, seed)


@pytest.mark.slow
def test_a_crash_a_hang_and_a_lost_process_are_told(tmp_path: Path) -> None:
    """The harness itself: readers that do what none may do."""
    worker = WORKER.read_text().replace("= hostile_readers.run(", "= misbehave(index, ")
    assert "misbehave" in worker
    bad = (
        "def misbehave(index, *rest):\n    import os, signal\n    if index == 1: raise KeyError('x')\n"
        "    if index == 2:\n        while True: pass\n    if index == 3: os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    if index == 4: bytes(2 << 30)\n    return 'read'\n\n\nif __name__"
    )
    path = tmp_path / "hostile_worker.py"
    path.write_text(worker.replace("if __name__", bad).replace("HANG_S = 5.0", "HANG_S = 0.5"))
    _, outcome = run("tegrastats", "1", 0, 6, tmp_path / "scratch", path)
    assert outcome.counts == {"read": 2, "crash": 2, "hang": 1, "lost": 1}, outcome
    assert ["KeyError" in outcome.failures[0], "MemoryError" in outcome.failures[-1]] == [True, True]
