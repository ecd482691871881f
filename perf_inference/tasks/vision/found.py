"""What a model found in one image: arrays for all of it, and one object at a time for those who send or draw it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

KINDS = ("classify", "detect", "pose", "segment", "obb")
Floats = NDArray[np.float32]


class Mask(NamedTuple):
    """The pixels of an object: those of a part of the image, all others are not of it."""

    x_px: int
    y_px: int
    pixels: NDArray[np.bool_]  # [h, w]


class Instance(NamedTuple):
    """One object, or one class that an image may be of."""

    class_id: int
    class_name: str
    score: float
    xyxy: tuple[float, float, float, float] | None = None  # px of the camera's image; of an oriented box its hull
    xywhr: tuple[float, float, float, float, float] | None = None  # centre, size [px], angle [rad] from x towards y
    keypoints: Floats | None = None  # [K, 3]: x, y [px], confidence
    mask: Mask | None = None
    track_id: int | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """All that was found in one image, best first."""

    kind: str  # one of KINDS
    width_px: int
    height_px: int
    names: Sequence[str]  # of the classes 0, 1, ...; a class beyond them is called class_N
    class_ids: NDArray[np.int64]  # [N]
    scores: Floats  # [N]
    boxes: Floats  # [N, 4] xyxy [px]; [N, 5] xywhr for obb; [N, 0] for classify
    keypoints: Floats | None = None  # [N, K, 3]
    masks: tuple[Mask, ...] = ()  # N of them, or none
    track_ids: tuple[int, ...] = ()  # N of them, or none
    not_finite: int = 0  # candidates that were left out because a number of theirs was infinite or none

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Instance]:
        oriented, placed = self.kind == "obb", self.boxes.shape[1] > 0
        hulls = hull(self.boxes) if oriented else self.boxes
        for i, (class_id, score) in enumerate(zip(self.class_ids.tolist(), self.scores.tolist(), strict=True)):
            yield Instance(
                class_id,
                self.name(class_id),
                score,
                tuple(hulls[i].tolist()) if placed else None,
                tuple(self.boxes[i].tolist()) if oriented else None,
                None if self.keypoints is None else self.keypoints[i],
                self.masks[i] if self.masks else None,
                self.track_ids[i] if self.track_ids else None,
            )

    def name(self, class_id: int) -> str:
        """Return the name of a class."""
        return (self.names[class_id] if class_id < len(self.names) else "") or f"class_{class_id}"


def corners(boxes_xywhr: Floats) -> Floats:
    """Return the corners [N, 4, 2] of oriented boxes [N, 5]."""
    cos, sin = np.cos(boxes_xywhr[:, 4]), np.sin(boxes_xywhr[:, 4])
    along = np.stack([cos, sin], axis=1) * boxes_xywhr[:, 2:3] / 2
    across = np.stack([-sin, cos], axis=1) * boxes_xywhr[:, 3:4] / 2
    centre = boxes_xywhr[:, :2]
    four = [centre + along + across, centre + along - across, centre - along - across, centre - along + across]
    return np.stack(four, axis=1).astype(np.float32)


def hull(boxes_xywhr: Floats) -> Floats:
    """Return the upright boxes [N, 4] xyxy round oriented ones [N, 5]."""
    points = corners(boxes_xywhr)
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1) if len(points) else np.zeros((0, 4), "f4")
