"""What was found as messages: vision_msgs, and the same fields as JSON on `detections_json`."""

from __future__ import annotations

from typing import Any

import orjson

from perf_inference.errors import InputError
from perf_inference.measure.record import short
from perf_inference.nodes.images.raw_image import RawImage
from perf_inference.tasks.vision.as_json import found_dict
from perf_inference.tasks.vision.found import Found, Instance

_MOST_SHOWN, _LONGEST_SHOWN = 100, 100  # detections, and letters of a name


def detections_dict(header: Any, found: Found, by_index: bool = False) -> dict[str, Any]:
    """Return vision_msgs/Detection2DArray as nested fields, with kind, size and instances as `predict` has them.

    Args:
        header: of the image, or a `RawImage`, which need not make a message of it then.
    """
    frame_id, stamp = header.frame_id, header if isinstance(header, RawImage) else header.stamp
    head = {"stamp": {"sec": stamp.sec, "nanosec": stamp.nanosec}, "frame_id": frame_id}
    every = list(found)
    boxes = [] if found.kind == "classify" else [(one, _box(one)) for one in every]
    return {
        "header": head,
        "detections": [
            {
                "header": head,
                "results": [{"hypothesis": {"class_id": _class(one, by_index), "score": one.score}}],
                "bbox": {
                    "center": {"position": {"x": x, "y": y}, "theta": theta},
                    "size_x": width,
                    "size_y": height,
                },
                "id": "" if one.track_id is None else str(one.track_id),
            }
            for one, (x, y, width, height, theta) in boxes
        ],
        **found_dict(found, every),
    }


def detections_message(header: Any, found: Found, by_index: bool = False) -> Any:
    """Return the vision_msgs/Detection2DArray (the package must be installed)."""
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

    message = Detection2DArray(header=header)
    for one in found:
        part = Detection2D(header=header)
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id, result.hypothesis.score = _class(one, by_index), one.score
        part.results = [result]
        x, y, part.bbox.size_x, part.bbox.size_y, part.bbox.center.theta = _box(one)
        part.bbox.center.position.x, part.bbox.center.position.y = x, y
        part.id = "" if one.track_id is None else str(one.track_id)
        message.detections.append(part)
    return message


def classification_message(header: Any, found: Found, by_index: bool = False) -> Any:
    """Return the vision_msgs/Classification (the package must be installed)."""
    from vision_msgs.msg import Classification, ObjectHypothesis

    results = [ObjectHypothesis(class_id=_class(one, by_index), score=one.score) for one in found]
    return Classification(header=header, results=results)


def label_info_message(header: Any, names: tuple[str, ...]) -> Any:
    """Return the vision_msgs/LabelInfo of the pixels of `masks/class` (the package must be installed)."""
    from vision_msgs.msg import LabelInfo, VisionClass

    classes = [VisionClass(class_id=number, class_name=name) for number, name in enumerate(names)]
    return LabelInfo(header=header, class_map=classes)


def _class(one: Instance, by_index: bool) -> str:
    return str(one.class_id) if by_index else one.class_name


def _box(one: Instance) -> tuple[float, float, float, float, float]:
    """Return centre, size [px] and theta [rad], which vision_msgs counts counter-clockwise, from x away from y."""
    if one.xywhr is not None:
        x, y, width, height, angle = one.xywhr
        return x, y, width, height, -angle
    x0, y0, x1, y1 = one.xyxy or (0.0, 0.0, 0.0, 0.0)
    return (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0, 0.0


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
