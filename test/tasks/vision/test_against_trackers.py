"""Who is taken for whom, and who gets no number, beside the package `trackers`: `make prove PROVE=trackers`.

TRACKERS_PYTHON names the Python of an environment with it (Apache-2.0; it needs NumPy 2, so it stands beside no ROS).
Both have the thresholds of the paper: what scores above 0.6 is matched first, and above 0.7 begins a track.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.moving_objects import HEIGHT, RATE_HZ, WIDTH, Seen, sequence, switches
from support.paths import SUPPORT

from perf_inference.tasks.vision.found import Found
from perf_inference.tasks.vision.tracking import ByteTracker

PYTHON = os.environ.get("TRACKERS_PYTHON", "")
HIGH, NEW = 0.6, 0.7
CROWDS = (4, 8, 12, 16)
SEEDS = 10


def our_numbers(images: list[Seen]) -> list[list[int]]:
    tracker = ByteTracker(HIGH)
    given = []
    for turn, image in enumerate(images):
        count = len(image.boxes)
        found = Found("detect", WIDTH, HEIGHT, ("a",), np.zeros(count, np.int64), image.scores, image.boxes)
        told = tracker.update(found, round(turn * 1e9 / RATE_HZ))
        number = {tuple(box): one for box, one in zip(told.boxes.tolist(), told.track_ids, strict=True)}
        given.append([number.get(tuple(box), 0) for box in image.boxes.tolist()])
    return given


@pytest.mark.long
def test_switches_and_objects_without_a_number_beside_trackers(tmp_path: Path) -> None:
    if not PYTHON or not Path(PYTHON).exists():
        pytest.skip("needs `trackers` in an environment of its own: set TRACKERS_PYTHON to its Python")
    cases = [(objects, seed) for objects in CROWDS for seed in range(SEEDS)]
    sequences = [sequence(seed, objects) for objects, seed in cases]
    sent, got = tmp_path / "sequences.json", tmp_path / "numbers.json"
    sent.write_text(json.dumps([[image.as_dict() for image in images] for images in sequences]))
    command = [PYTHON, str(SUPPORT / "trackers_numbers.py"), str(sent), str(got), str(HIGH), str(NEW)]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": "", "PYTHONWARNINGS": ""})
    theirs = json.loads(got.read_text())
    total = {"ours": [0, 0], "theirs": [0, 0]}
    for objects in CROWDS:
        rows = {"ours": [0, 0], "theirs": [0, 0]}
        for index, images in enumerate(sequences):
            if cases[index][0] == objects:
                for name, numbers in (("ours", our_numbers(images)), ("theirs", theirs[index])):
                    counts = switches(images, numbers, HIGH)
                    rows[name] = [a + b for a, b in zip(rows[name], counts, strict=True)]
        said = [f"{name} {changed} switches, {without} without a number" for name, (changed, without) in rows.items()]
        print(f"{objects} objects, {SEEDS} sequences of {len(sequences[0])} images: {'; '.join(said)}")
        total = {name: [a + b for a, b in zip(total[name], counts, strict=True)] for name, counts in rows.items()}
    print(f"identity switches, and sights without a number: ours {total['ours']}, theirs {total['theirs']}")
    # Who gives fewer numbers switches less: the sum is what a user sees go wrong.
    assert sum(total["ours"]) <= sum(total["theirs"])
    assert total["ours"][0] <= 1.25 * total["theirs"][0]
