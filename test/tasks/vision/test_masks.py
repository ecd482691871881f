"""A mask at the camera's resolution: which of its pixels are of the object."""

from __future__ import annotations

import numpy as np
import pytest

from perf_inference.tasks.vision.outputs.masks import masks_of
from perf_inference.tasks.vision.placement import Placement


@pytest.mark.parametrize(("covered", "columns"), [(4, 2), (5, 2), (6, 3)])
def test_a_pixel_that_is_half_an_objects_is_not_of_it(covered: int, columns: int) -> None:
    # model's px   0 1 | 2 3 | 4 5 | ...      16 px, prototypes as fine
    # camera's px   0     1     2             8 px
    prototypes = np.full((1, 16, 16), -1.0, np.float32)
    prototypes[:, :, :covered] = 1.0
    box = np.array([[0, 0, 16, 16]], np.float32)
    (mask,) = masks_of(np.ones((1, 1), np.float32), prototypes, box, Placement(2.0, 2.0, 0.0, 0.0, 8, 8), (16, 16))
    assert mask is not None
    seen = np.zeros((8, 8), np.bool_)
    height, width = mask.pixels.shape
    seen[mask.y_px : mask.y_px + height, mask.x_px : mask.x_px + width] = mask.pixels[: 8 - mask.y_px, : 8 - mask.x_px]
    assert seen[:, :columns].all()
    assert not seen[:, columns:].any()
