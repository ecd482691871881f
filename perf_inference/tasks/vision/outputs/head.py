"""What a vision model's outputs are, as its metadata, its shapes or the user say: nothing about them is guessed.

    layout       outputs (B images, A anchors, C classes, e: what the kind adds)
    ultralytics  [B, 4+C+e, A]: centre, size, scores; e: an angle (obb), K*D numbers (pose), mask coefficients (segment)
    end2end      [B, N, 6+e]: corners (obb: centre, size), score, class: nothing is left to suppress
    yolov5       [B, 3A, 5+C+e]: centre, size, objectness, scores (YOLOv5 to v7)
    yolox        [B, A, 5+C]: the same, in strides from the anchor's cell, size as logarithm; or decoded to px
    yolo_nas     [B, A, 4] corners and [B, A, C] scores
    nms          counts [B, 1], boxes [B, N, 4], scores [B, N], classes [B, N] (YOLO-NAS, EfficientNMS); or [N, 7]
    rtdetr       [B, Q, 4+C] (Ultralytics); `labels`, `boxes`, `scores` (RT-DETR, D-FINE); `logits`, `pred_boxes`
    rfdetr       `dets` [B, Q, 4], `labels` [B, Q, C] before the sigmoid
    classify     [B, C]
With masks comes a second output, the prototypes [B, M, h, w].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

AUTO = "auto"
LAYOUTS = (
    AUTO, "ultralytics", "end2end", "yolov5", "yolox", "yolo_nas", "nms", "rtdetr", "dfine", "rfdetr", "classify"
)  # fmt: skip
STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
_SUPPRESSED = ("end2end", "nms", "rtdetr", "rfdetr", "classify")


@dataclass(frozen=True)
class Asked:
    """What the user says of a model; `auto` and nothing: the model knows."""

    kind: str = AUTO
    layout: str = AUTO
    class_names: tuple[str, ...] = ()
    keypoint_shape: tuple[int, ...] = ()  # K, D


@dataclass(frozen=True)
class Head:
    """What the outputs are; found once, when the model is loaded."""

    kind: str
    layout: str
    outputs: tuple[str, ...]  # in the order that the layout lists
    names: tuple[str, ...]
    classes: int | None  # how many scores a row has; None where rows name their class
    keypoint_shape: tuple[int, int] = (0, 0)
    masks: int = 0  # coefficients
    is_ultralytics: bool = False
    note: str = ""  # what is to be said of the names

    @property
    def is_suppressed(self) -> bool:
        """Whether overlapping boxes are gone already."""
        return self.layout in _SUPPRESSED

    @property
    def extra(self) -> int:
        """Numbers of a row behind its box, score and class."""
        return {"obb": 1, "pose": self.keypoint_shape[0] * self.keypoint_shape[1], "segment": self.masks}.get(
            self.kind, 0
        )


def is_ultralytics_before(metadata: Mapping[str, str], release: tuple[int, int, int]) -> bool:
    """Return whether an older release of Ultralytics than this one wrote the model, as it says."""
    parts = metadata.get("version", "").split(".")[:3]
    if not is_ultralytics(metadata) or len(parts) < 3 or not all(part.isdecimal() for part in parts):
        return False
    return tuple(map(int, parts)) < release


def is_ultralytics(metadata: Mapping[str, str]) -> bool:
    """Return whether Ultralytics' exporter wrote the model."""
    return names_ultralytics(metadata) or {"task", "stride", "names"} <= metadata.keys()


def names_ultralytics(metadata: Mapping[str, str]) -> bool:
    """Return whether the model says so; others write its keys too, and the embedded detector is one of them."""
    return "ultralytics" in (metadata.get("description", "") + metadata.get("author", "")).lower()
