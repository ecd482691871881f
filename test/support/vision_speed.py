"""Times what this package does before and after a vision model: `python -m support.vision_speed`, as speed.py does.

A line on standard input is `KIND COUNT TIMES`; the answer is milliseconds of processor time, and how many were found.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import cv2

from perf_inference.bench.vision import camera_image, made_outputs, task_of

UNCOUNTED = 5


def taken_ms(call: Callable[[], Any], times: int) -> list[float]:
    taken = []
    for _ in range(times + UNCOUNTED):
        start = time.process_time_ns()
        call()
        taken.append((time.process_time_ns() - start) / 1e6)
    return taken[UNCOUNTED:]


def main() -> None:
    cv2.setNumThreads(1)
    image = camera_image()
    for line in sys.stdin:
        kind, count, times = line.split()
        outputs = made_outputs(kind, int(count))
        task = task_of(kind, outputs)
        _, view = task.preprocess(image)
        before = taken_ms(lambda: task.preprocess(image), int(times))  # noqa: B023
        after = taken_ms(lambda: task.postprocess(outputs, view), int(times))  # noqa: B023
        found = len(task.postprocess(outputs, view))
        print(json.dumps({"before_ms": before, "after_ms": after, "found": found}), flush=True)


if __name__ == "__main__":
    main()
