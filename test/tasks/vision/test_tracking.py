"""Numbers of objects stay theirs through crossings and occlusions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from perf_inference.tasks.vision.found import Found
from perf_inference.tasks.vision.tracking import ByteTracker, assignment

STEP_NS = 33_333_333


def seen(boxes: list[tuple[float, float]], scores: list[float] | None = None, size: float = 40.0) -> Found:
    """Return upright boxes of this size round these centres, all of one class."""
    centres = np.array(boxes, np.float32).reshape(-1, 2)
    xyxy = np.concatenate([centres - size / 2, centres + size / 2], axis=1)
    values = np.array([0.9] * len(boxes) if scores is None else scores, np.float32)
    return Found("detect", 640, 480, ("a",), np.zeros(len(boxes), np.int64), values, xyxy)


def test_the_cheapest_assignment_is_found() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        rows, columns = rng.integers(1, 6, 2).tolist()
        costs = rng.random((rows, columns))
        pairs = assignment(costs)
        few, many = sorted((rows, columns))
        square = costs if rows <= columns else costs.T
        best = min(sum(square[i, p[i]] for i in range(few)) for p in itertools.permutations(range(many), few))
        assert len(pairs) == few
        assert sum(costs[pair] for pair in pairs) == pytest.approx(best)
    assert assignment(np.full((2, 3), 1e6)) == []


def test_two_objects_that_pass_each_other_keep_their_numbers() -> None:
    tracker = ByteTracker(0.4)
    for turn in range(60):
        x = 50 + 8 * turn
        result = tracker.update(seen([(x, 200), (530 - 8 * turn, 226)]), turn * STEP_NS)
        left, right = (result.track_ids[i] for i in np.argsort(result.boxes[:, 1]))
        assert (left, right) == (1, 2)
    assert (tracker.lost, tracker.found) == (0, 0)


def test_an_object_that_is_hidden_for_ten_images_is_found_again() -> None:
    tracker = ByteTracker(0.4)
    numbers = []
    for turn in range(40):
        hidden = 15 <= turn < 25
        result = tracker.update(seen([] if hidden else [(50 + 4 * turn, 200)]), turn * STEP_NS)
        numbers += result.track_ids
    assert set(numbers) == {1}
    assert (tracker.lost, tracker.found) == (1, 1)
    assert tracker.update(seen([(400, 50)]), 40 * STEP_NS).track_ids == (2,)


def test_what_is_hardly_seen_keeps_its_track_and_is_not_published() -> None:
    tracker = ByteTracker(0.4)
    tracker.update(seen([(100, 100)]), 0)
    assert tracker.update(seen([(102, 100)], [0.2]), STEP_NS).track_ids == ()
    assert tracker.update(seen([(104, 100)]), 2 * STEP_NS).track_ids == (1,)
    assert tracker.lost == 0
    assert tracker.update(seen([(104, 100), (300, 300)], [0.9, 0.2]), 3 * STEP_NS).track_ids == (1,)  # begins none


def test_prediction_is_over_the_stamps() -> None:
    tracker = ByteTracker(0.4)
    for turn in range(20):
        tracker.update(seen([(50 + 10 * turn, 200)]), turn * STEP_NS)
    # six images are missing: 70 px on, further than the box is wide
    assert tracker.update(seen([(50 + 10 * 26, 200)]), 26 * STEP_NS).track_ids == (1,)


def test_a_step_back_in_time_begins_anew() -> None:
    tracker = ByteTracker(0.4)
    tracker.update(seen([(100, 100)]), 10 * STEP_NS)
    assert tracker.update(seen([(100, 100)]), 0).track_ids == (2,)
    late = ByteTracker(0.4, lost_s=0.5)
    late.update(seen([(100, 100)]), 0)
    assert late.update(seen([(100, 100)]), 20 * STEP_NS).track_ids == (2,)


def test_what_comes_out_of_hiding_has_its_number_from_the_first_weak_sight_on() -> None:
    tracker = ByteTracker(0.4)
    for turn in range(20):
        assert tracker.update(seen([(100, 100)]), turn * STEP_NS).track_ids == (1,)
    for turn in range(20, 30):
        assert tracker.update(seen([]), turn * STEP_NS).track_ids == ()
    assert tracker.update(seen([(120, 100)], [0.2]), 30 * STEP_NS).track_ids == ()
    assert tracker.update(seen([(144, 100)]), 31 * STEP_NS).track_ids == (1,)  # apart from where it went into hiding
