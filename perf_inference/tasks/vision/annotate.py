"""Draws what was found into an image."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

from perf_inference.tasks.vision.found import Found, Instance, corners

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BLACK = (0, 0, 0)
_AROUND = 2  # px of ground around a label
_MOST_OPAQUE = 0.45  # of a mask's colour
_SHOWN_POINT = 0.3  # confidence of a keypoint that is drawn
_LIMBS = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
    (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
"""Of the 17 keypoints of a person, as COCO counts them."""


def annotate(image: NDArray[np.uint8], found: Found) -> None:
    """Draw all that was found into the BGR image [H, W, 3], which is written to."""
    instances = list(found)
    if found.kind == "classify":
        for line, one in enumerate(instances):
            _text(image, f"{one.class_name} {one.score:.2f}", (6, 22 + 20 * line), colour_of(one.class_id))
        return
    for one in reversed(instances):
        if one.mask is not None:
            _mask(image, one)
    for one in reversed(instances):
        _outline(image, one)
        if one.keypoints is not None:
            _keypoints(image, one)


def colour_of(number: int) -> tuple[int, int, int]:
    """Return a bright BGR colour; neighbours in number are far from each other in hue."""
    red, green, blue = colorsys.hsv_to_rgb((0.16 + number * 0.618034) % 1.0, 0.85, 1.0)
    return round(blue * 255), round(green * 255), round(red * 255)


def _outline(image: NDArray[np.uint8], one: Instance) -> None:
    colour = colour_of(one.class_id if one.track_id is None else one.track_id)
    if one.xywhr is not None:
        points = np.round(corners(np.array([one.xywhr], np.float32))[0]).astype(np.int32)
        cv2.polylines(image, [points], True, colour, 2)
        corner = points[points[:, 1].argmin()].tolist()
    elif one.xyxy is not None:
        corner = [round(one.xyxy[0]), round(one.xyxy[1])]
        cv2.rectangle(image, corner, (round(one.xyxy[2]), round(one.xyxy[3])), colour, 2)
    else:
        return
    label = f"{one.class_name} {one.score:.2f}" + ("" if one.track_id is None else f" #{one.track_id}")
    _text(image, label, (corner[0], max(12, corner[1] - 5)), colour)


def _mask(image: NDArray[np.uint8], one: Instance) -> None:
    mask = one.mask
    if mask is None or not mask.pixels.size:
        return
    high, wide = mask.pixels.shape
    part = image[mask.y_px : mask.y_px + high, mask.x_px : mask.x_px + wide]
    colour = np.array(colour_of(one.class_id if one.track_id is None else one.track_id), np.float32)
    blended = part[mask.pixels] * (1 - _MOST_OPAQUE) + colour * _MOST_OPAQUE
    part[mask.pixels] = blended.astype(np.uint8)


def _keypoints(image: NDArray[np.uint8], one: Instance) -> None:
    points = one.keypoints
    if points is None:
        return
    shown = points[:, 2] >= _SHOWN_POINT
    places = [(round(float(x)), round(float(y))) for x, y in points[:, :2]]
    if len(points) == 17:
        for a, b in _LIMBS:
            if shown[a] and shown[b]:
                cv2.line(image, places[a], places[b], colour_of(one.class_id), 2, cv2.LINE_AA)
    for number, place in enumerate(places):
        if shown[number]:
            cv2.circle(image, place, 3, colour_of(number), -1, cv2.LINE_AA)


def _text(image: NDArray[np.uint8], text: str, origin: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """Write a label on a ground of its colour, as near to the origin as the image has room."""
    (wide, high), below = cv2.getTextSize(text, _FONT, 0.5, 1)
    x = max(min(origin[0], image.shape[1] - wide - 2 * _AROUND), 0)
    y = max(min(origin[1], image.shape[0] - below - _AROUND), high + _AROUND)
    cv2.rectangle(image, (x, y - high - _AROUND), (x + wide + 2 * _AROUND - 1, y + below + _AROUND - 1), colour, -1)
    cv2.putText(image, text, (x + _AROUND, y), _FONT, 0.5, _BLACK, 1, cv2.LINE_AA)
