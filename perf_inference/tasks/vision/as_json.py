"""What was found as plain values, for JSON: the same from `predict` and on `detections_json`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from perf_inference.tasks.vision.found import Found, Instance
from perf_inference.tasks.vision.outputs.masks import run_lengths


def found_dict(found: Found, every: Iterable[Instance] | None = None) -> dict[str, Any]:
    """Return kind, size and instances, each with what its kind has; `every` is what `found` gives, if it is known."""
    instances = [_instance(one, found) for one in (found if every is None else every)]
    return {"kind": found.kind, "width": found.width_px, "height": found.height_px, "instances": instances}


def _instance(one: Instance, found: Found) -> dict[str, Any]:
    said: dict[str, Any] = {"class_id": one.class_id, "class_name": one.class_name, "score": one.score}
    if one.xywhr is not None:
        said["xywhr"] = list(one.xywhr)
    elif one.xyxy is not None:
        said["xyxy"] = list(one.xyxy)
    if one.keypoints is not None:
        said["keypoints"] = np.asarray(one.keypoints, np.float64).tolist()
    if one.mask is not None:
        said["mask"] = run_lengths(one.mask, found.width_px, found.height_px)
    if one.track_id is not None:
        said["track_id"] = one.track_id
    return said
