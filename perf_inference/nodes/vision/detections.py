"""Detections as messages: vision_msgs/Detection2DArray, and the same fields as JSON on `detections_json`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from perf_inference.errors import InputError
from perf_inference.measure.record import short
from perf_inference.tasks.vision.yolo import Detection

_MOST_SHOWN, _LONGEST_SHOWN = 100, 100  # detections, and letters of a name


def detections_dict(header: Any, detections: Iterable[Detection]) -> dict[str, Any]:
    """Return vision_msgs/Detection2DArray as nested fields, for `detections_json` and for the message itself."""
    head = {"stamp": {"sec": header.stamp.sec, "nanosec": header.stamp.nanosec}, "frame_id": header.frame_id}
    return {
        "header": head,
        "detections": [
            {
                "header": head,
                "results": [{"hypothesis": {"class_id": d.name, "score": d.score}}],
                "bbox": {
                    "center": {
                        "position": {"x": (d.x0_px + d.x1_px) / 2, "y": (d.y0_px + d.y1_px) / 2},
                        "theta": 0.0,
                    },
                    "size_x": d.x1_px - d.x0_px,
                    "size_y": d.y1_px - d.y0_px,
                },
                "id": "",
            }
            for d in detections
        ],
    }


def detections_message(header: Any, detections: Iterable[Detection]) -> Any:
    """Return the vision_msgs/Detection2DArray (the package must be installed)."""
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

    message = Detection2DArray(header=header)
    for d in detections:
        one = Detection2D(header=header)
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id, result.hypothesis.score = d.name, d.score
        one.results = [result]
        one.bbox.center.position.x = (d.x0_px + d.x1_px) / 2
        one.bbox.center.position.y = (d.y0_px + d.y1_px) / 2
        one.bbox.size_x, one.bbox.size_y = d.x1_px - d.x0_px, d.y1_px - d.y0_px
        message.detections.append(one)
    return message


def detected_names(text: str) -> tuple[str, ...]:
    """Return the sorted names of what a message on `detections_json` holds, the first hundred of them.

    Raises:
        InputError: it is no such message.
    """
    try:
        found = orjson.loads(text)["detections"][:_MOST_SHOWN]
        names = [one["results"][0]["hypothesis"]["class_id"] for one in found]
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"detections_json must be Detection2DArray's fields as JSON, got {short(text)}") from error
    if not all(isinstance(name, str) for name in names):
        raise InputError("the class_id of a detection must be a text")
    return tuple(sorted(name[:_LONGEST_SHOWN] for name in names))
