"""Compares what this package finds with what Ultralytics found (`reference.py`), instance by instance."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

NEAR_A_THRESHOLD = 0.001


@dataclass(frozen=True)
class Tolerance:
    score: float = 1e-3
    iou: float = 0.99
    angle_rad: float = 1e-2
    keypoint_px: float = 1.0
    free: float = 0.0  # share of the instances that may differ


EXACT = Tolerance()
HALF = Tolerance(score=0.05, iou=0.9, keypoint_px=4.0, angle_rad=0.05, free=0.05)


@dataclass
class Difference:
    """What differs of one model at one confidence."""

    theirs: int = 0
    ours: int = 0
    missing: int = 0
    extra: int = 0
    worst_iou: float = 1.0
    worst_score: float = 0.0
    worst_keypoint_px: float = 0.0
    worst_angle_rad: float = 0.0
    bad_masks: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        return self.missing + self.extra + self.bad_masks


def unpacked(packed: dict[str, Any]) -> NDArray[np.bool_]:
    bits = np.frombuffer(zlib.decompress(base64.b64decode(packed["bits"])), np.uint8)
    shape = packed["shape"]
    return np.unpackbits(bits)[: shape[0] * shape[1]].reshape(shape).astype(bool)


def iou(a: NDArray[Any], b: NDArray[Any]) -> float:
    if np.allclose(a, b, atol=0.02):
        return 1.0  # boxes without an area too
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = float(np.prod(np.clip(high - low, 0, None)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - common
    return common / union if union > 0 else 0.0


def masks_agree(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> bool:
    """At an IoU of 0.98, within 4 px of each other's outline, or with at most 4 % of the union beyond it."""
    union = int((ours | theirs).sum())
    if not union or (ours & theirs).sum() / union >= 0.98:
        return True
    kernel = np.ones((9, 9), np.uint8)
    grown = [cv2.dilate(mask.astype(np.uint8), kernel).astype(bool) for mask in (ours, theirs)]
    beyond = int((ours & ~grown[1]).sum() + (theirs & ~grown[0]).sum())
    return beyond <= 0.04 * union


def compare(
    found: list[dict[str, Any]],
    reference: list[dict[str, Any]],
    confidence: float,
    how: Tolerance,
    masks_of: Any = None,
) -> Difference:
    """Return the difference of two lists of images, each with its instances."""
    result = Difference()
    for ours, theirs in zip(found, reference, strict=True):
        _compare_image(ours, theirs, confidence, how, masks_of, result)
    return result


def _compare_image(
    ours: dict[str, Any], theirs: dict[str, Any], confidence: float, how: Tolerance, masks_of: Any, result: Difference
) -> None:
    wanted = theirs["instances"]
    have = list(ours["instances"])
    result.theirs += len(wanted)
    result.ours += len(have)
    if ours["kind"] == "classify":
        scores = {one["class_id"]: one["score"] for one in have}
        for one in wanted:
            off = abs(scores.get(one["class_id"], -1.0) - one["score"])
            if off > how.score and not any(abs(one["score"] - s) <= how.score for s in scores.values()):
                result.missing += 1
                result.notes.append(f"{ours['image']}: class {one['class_id']} {one['score']:.4f} off {off:.4f}")
            elif one["class_id"] in scores:
                result.worst_score = max(result.worst_score, off)
        return
    left = set(range(len(have)))
    for one in wanted:
        match = _best(one, have, left, how)
        if match is None:
            if one["score"] > confidence + NEAR_A_THRESHOLD:
                result.missing += 1
                result.notes.append(f"{ours['image']}: missing {one['class_id']} {one['score']:.4f} {one['xyxy']}")
            continue
        left.discard(match)
        _note(one, have[match], result, masks_of)
    for index in left:
        if have[index]["score"] > confidence + NEAR_A_THRESHOLD:
            result.extra += 1
            result.notes.append(f"{ours['image']}: extra {have[index]['class_id']} {have[index]['score']:.4f}")


def _best(one: dict[str, Any], have: list[dict[str, Any]], left: set[int], how: Tolerance) -> int | None:
    fitting: Iterator[tuple[float, int]] = (
        (_distance(one, have[i]), i)
        for i in left
        if have[i]["class_id"] == one["class_id"] and abs(have[i]["score"] - one["score"]) <= how.score
    )
    near = sorted(pair for pair in fitting if 1 - pair[0] >= how.iou and _fits(one, have[pair[1]], how))
    return near[0][1] if near else None


def _distance(one: dict[str, Any], other: dict[str, Any]) -> float:
    if "xywhr" in one:
        a, b = np.array(one["xywhr"]), np.array(other["xywhr"])
        size = max(a[2], a[3], 1.0)
        return float(np.abs(a[:4] - b[:4]).max() / size)
    return 1 - iou(np.array(one["xyxy"]), np.array(other["xyxy"]))


def _fits(one: dict[str, Any], other: dict[str, Any], how: Tolerance) -> bool:
    if "xywhr" in one and abs(one["xywhr"][4] - other["xywhr"][4]) > how.angle_rad:
        return False
    return "keypoints" not in one or _apart(one, other) <= how.keypoint_px


def _apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    return float(np.abs(np.array(one["keypoints"])[:, :2] - np.array(other["keypoints"])[:, :2]).max())


def _note(one: dict[str, Any], other: dict[str, Any], result: Difference, masks_of: Any) -> None:
    result.worst_score = max(result.worst_score, abs(one["score"] - other["score"]))
    result.worst_iou = min(result.worst_iou, 1 - _distance(one, other))
    if "xywhr" in one:
        result.worst_angle_rad = max(result.worst_angle_rad, abs(one["xywhr"][4] - other["xywhr"][4]))
    if "keypoints" in one:
        result.worst_keypoint_px = max(result.worst_keypoint_px, _apart(one, other))
    if "mask" in one:
        mine = masks_of(other["mask"])
        if not any(masks_agree(mine, unpacked(one[key])) for key in ("mask", "native") if key in one):
            result.bad_masks += 1
            result.notes.append(f"mask of {one['class_id']} {one['score']:.4f} {[round(v) for v in one['xyxy']]}")
