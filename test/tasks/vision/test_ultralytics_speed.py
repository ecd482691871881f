"""Before and after the model no slower than Ultralytics' own: `make prove PROVE=ultralytics_speed`.

Both get the same made outputs and the same image of 640x480, each in a process of its own with one thread and one
allocator, in rounds that take turns. Processor time counts, so that others on the machine hardly do.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.paths import SUPPORT
from support.ultralytics.environment import environment, suppression_in_c

from perf_inference.bench.vision import main

HERE = SUPPORT / "ultralytics"
LEAST = {("detect", 0): 1.5, ("detect", 20): 1.5, ("detect", 100): 1.5, ("detect", 300): 2.0, ("segment", 20): 3.0,
         ("obb", 100): 3.0}  # fmt: skip
OTHERS = (("segment", 0), ("segment", 100), ("pose", 0), ("pose", 20), ("pose", 100), ("obb", 0), ("obb", 20),
          ("classify", 1))  # fmt: skip
ROUNDS = int(os.environ.get("PERF_INFERENCE_ROUNDS", "15"))
TIMES = 20  # a round
ONE_THREAD = {
    **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")},
    "MALLOC_MMAP_THRESHOLD_": "268435456", "MALLOC_TRIM_THRESHOLD_": "1073741824",  # memory is kept, as in a node
}  # fmt: skip


class Timer:
    """One of both, waiting for cases."""

    def __init__(self, command: list[str], folder: Path, variables: dict[str, str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder, text=True,
                                         env={**os.environ, **ONE_THREAD, **variables})  # fmt: skip

    def timed(self, kind: str, count: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{kind} {count} {TIMES}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("{"):  # Ultralytics tells what it loads
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise AssertionError(f"ended with status {self._process.wait(30)} at {kind}, {count} objects")

    def close(self) -> None:
        with self._process:  # its input ends, and so does it
            pass


@pytest.mark.long
def test_ultralytics_speed(tmp_path: Path) -> None:
    library = suppression_in_c(tmp_path)
    if library is None:
        pytest.skip("no C compiler for the suppression that a torchvision with its operators has in C")
    python = environment("8.4.190")
    assert main(["--times", "1", "--save", str(tmp_path)]) == 0
    offline = {"YOLO_CONFIG_DIR": str(tmp_path), "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}
    ours = Timer([sys.executable, "-m", "support.vision_speed"], tmp_path,
                 {"PYTHONPATH": os.pathsep.join([str(SUPPORT.parent), *filter(None, sys.path)])})  # fmt: skip
    theirs = Timer([str(python), str(HERE / "speed.py"), str(tmp_path)], tmp_path,
                   {"PYTHONPATH": str(HERE), "NMS_LIBRARY": str(library), **offline})  # fmt: skip
    cases = [*LEAST, *OTHERS]
    taken: dict[tuple[str, int], dict[str, list[float]]] = {case: {} for case in cases}
    try:
        for _ in range(ROUNDS):
            for case in cases:
                own, other = ours.timed(*case), theirs.timed(*case)
                assert own["found"] == other["found"] or case[0] == "classify", (case, own["found"], other["found"])
                for name, answer in (("ours", own), ("theirs", other)):
                    for part in ("before_ms", "after_ms"):
                        taken[case].setdefault(f"{name} {part}", []).extend(answer[part])
    finally:
        ours.close()
        theirs.close()
    too_slow = [case for case in cases if _told(case, taken[case]) < LEAST.get(case, 0)]
    assert not too_slow, too_slow


def _told(case: tuple[str, int], taken: dict[str, list[float]]) -> float:
    """Print a row; return how many times as long theirs takes."""
    median = {name: statistics.median(values) for name, values in taken.items()}
    ours = median["ours before_ms"] + median["ours after_ms"]
    theirs = median["theirs before_ms"] + median["theirs after_ms"]
    parts = [f"{median[f'{name} before_ms']:.2f} + {median[f'{name} after_ms']:.2f}" for name in ("ours", "theirs")]
    wanted = f"{LEAST[case]:.1f}" if case in LEAST else ""
    print(f"| {case[0]} | {case[1]} | {' | '.join(parts)} | {theirs / ours:.2f} | {wanted} |")
    return theirs / ours
