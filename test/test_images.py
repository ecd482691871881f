"""The same pixels whatever the encoding, and one clear sentence for data that does not fit."""

from __future__ import annotations

from array import array

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from sensor_msgs.msg import Image
from std_msgs.msg import Header

from perf_inference.errors import InputError
from perf_inference.nodes.images import from_bgr, to_bgr

BGR = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def message(pixels: NDArray[np.uint8], encoding: str, padding: int = 0, bigendian: int = 0) -> Image:
    """Return an image message whose rows end in `padding` bytes."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    data = array("B", rows.tobytes())
    return Image(height=height, width=width, encoding=encoding, step=rows.shape[1], data=data, is_bigendian=bigendian)


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize(
    ("encoding", "code"),
    [
        ("bgr8", None),
        ("rgb8", cv2.COLOR_BGR2RGB),
        ("bgra8", cv2.COLOR_BGR2BGRA),
        ("rgba8", cv2.COLOR_BGR2RGBA),
    ],
)
def test_colour_encodings_give_the_same_pixels(encoding: str, code: int | None, padding: int) -> None:
    pixels = BGR if code is None else cv2.cvtColor(BGR, code)
    assert np.array_equal(to_bgr(message(pixels, encoding, padding)), BGR)


def test_bgr8_is_a_view() -> None:
    image = message(BGR, "bgr8")
    assert np.shares_memory(to_bgr(image), np.frombuffer(image.data, np.uint8))


def test_grey_of_either_byte_order() -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    wanted = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    assert np.array_equal(to_bgr(message(grey, "mono8")), wanted)
    little = (grey.astype("<u2") << 8) + 7
    big = ((grey.astype(np.uint16) << 8) + 7).astype(">u2")
    for raw, bigendian in ((little, 0), (big, 1)):
        image = message(np.frombuffer(raw.tobytes(), np.uint8).reshape(6, 16), "mono16", bigendian=bigendian)
        image.width = 8
        assert np.array_equal(to_bgr(image), wanted)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_keeps_the_colour_of_a_plain_picture(pattern: str) -> None:
    colour = {"r": 200, "g": 120, "b": 40}
    tile = np.array([colour[c] for c in pattern], np.uint8).reshape(2, 2)
    raw = np.tile(tile, (4, 4))
    centre = to_bgr(message(raw, f"bayer_{pattern}8"))[3, 3]
    assert centre.tolist() == [40, 120, 200]


def test_round_trip() -> None:
    assert np.array_equal(to_bgr(from_bgr(BGR, Header())), BGR)


def test_data_without_the_last_rows_padding_is_taken() -> None:
    image = message(BGR, "bgr8", padding=4)
    image.data = image.data[:-4]
    assert np.array_equal(to_bgr(image), BGR)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step": 23}, "step must be at least 24 bytes for 8 px of bgr8, got 23"),
        ({"height": 7}, "data must have 168 bytes for 8x7 bgr8 with step 24, got 144"),
        ({"encoding": "jpeg"}, "encoding must be one of bgr8"),
        ({"width": 0}, "must have pixels, got 0x6"),
    ],
)
def test_data_that_does_not_fit_is_named(change: dict[str, int | str], said: str) -> None:
    image = message(BGR, "bgr8")
    for name, value in change.items():
        setattr(image, name, value)
    with pytest.raises(InputError, match=said):
        to_bgr(image)
