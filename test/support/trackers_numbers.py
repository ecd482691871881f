"""The numbers that the package `trackers` gives: `trackers_numbers.py SEQUENCES NUMBERS HIGH NEW`, by its Python.

SEQUENCES is JSON, a list of lists of {"boxes", "scores"}; NUMBERS is written, of each thing seen, 0 for none.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import supervision
from trackers import ByteTrackTracker


def numbers(images: list[dict[str, Any]], high: float, new: float) -> list[list[int]]:
    tracker = ByteTrackTracker(track_activation_threshold=new, high_conf_det_threshold=high)
    given = []
    for image in images:
        count = len(image["boxes"])
        seen = supervision.Detections(
            np.array(image["boxes"], np.float32).reshape(-1, 4), confidence=np.array(image["scores"], np.float32),
            class_id=np.zeros(count, int), data={"place": np.arange(count)},
        )  # fmt: skip
        told = tracker.update(seen)
        own = [0] * count
        if told.tracker_id is not None:
            for place, number in zip(told.data.get("place", []), told.tracker_id, strict=True):
                own[int(place)] = int(number) + 1  # theirs begin at 0, and -1 is none
        given.append(own)
    return given


def main() -> None:
    sequences = json.loads(Path(sys.argv[1]).read_text())
    high, new = map(float, sys.argv[3:5])
    Path(sys.argv[2]).write_text(json.dumps([numbers(images, high, new) for images in sequences]))


if __name__ == "__main__":
    main()
