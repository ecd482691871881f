"""Labels are whole, and inside the image."""

from __future__ import annotations

import numpy as np
import pytest

from perf_inference.tasks.vision.annotate import annotate, colour_of
from perf_inference.tasks.vision.found import Found


@pytest.mark.parametrize(
    "box",
    [(100, 100, 180, 160), (-30, -30, 20, 20), (300, -5, 330, 40), (310, 100, 319, 120), (0, 230, 40, 239),
     (300, 235, 400, 300)],
)  # fmt: skip
def test_a_label_is_whole_wherever_its_box_lies(box: tuple[int, int, int, int]) -> None:
    def drawn(where: tuple[int, int, int, int]) -> tuple[int, int]:
        image = np.full((240, 320, 3), 90, np.uint8)
        found = Found("detect", 320, 240, ("gripper",), np.array([0]), np.array([0.75], np.float32),
                      np.array([where], np.float32))  # fmt: skip
        annotate(image, found)
        return int((image.max(axis=2) < 60).sum()), int((image == colour_of(0)).all(axis=2).sum())

    letters, ground = drawn(box)
    assert letters == drawn((100, 100, 180, 160))[0] > 100
    assert ground > letters  # black on a ground that is filled
