"""What Ultralytics predicts with ONNX files: `reference.py FOLDER IMAGES CONFIDENCES MODEL...`.

Run by the Python of an environment with Ultralytics. Writes one JSON a model and confidence; masks are bits, packed.
"""

from __future__ import annotations

import base64
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import no_cuda_torchvision  # noqa: F401
import numpy as np
import onnxruntime
from ultralytics import YOLO

TASKS = {"cls": "classify", "seg": "segment", "pose": "pose", "obb": "obb"}


def packed(mask: Any) -> dict[str, Any]:
    bits = np.packbits(mask > 0.5)
    return {"shape": list(mask.shape), "bits": base64.b64encode(zlib.compress(bits.tobytes(), 1)).decode()}


def unletterboxed(mask: Any, height: int, width: int) -> Any:
    """Return a mask over the model's image as one over the camera's."""
    high, wide = mask.shape
    gain = min(high / height, wide / width)
    inner_w, inner_h = round(width * gain), round(height * gain)
    left, top = round((wide - inner_w) / 2 - 0.1), round((high - inner_h) / 2 - 0.1)
    part = mask[top : top + inner_h, left : left + inner_w].astype(np.float32)
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5


def instances(result: Any, native: Any) -> list[dict[str, Any]]:
    if result.probs is not None:
        probs = result.probs.data.cpu().numpy()
        order = np.argsort(-probs, kind="stable")[:5]
        return [{"class_id": int(i), "score": float(probs[i])} for i in order]
    boxes = result.obb if result.obb is not None else result.boxes
    found = []
    for i in range(len(boxes)):
        one = {"class_id": int(boxes.cls[i]), "score": float(boxes.conf[i]), "xyxy": boxes.xyxy[i].tolist()}
        if result.obb is not None:
            one["xywhr"] = boxes.xywhr[i].tolist()
        if result.keypoints is not None:
            points = result.keypoints.data[i].cpu().numpy()
            one["keypoints"] = points.tolist()
        if result.masks is not None:
            height, width = result.orig_shape
            one["mask"] = packed(unletterboxed(result.masks.data[i].cpu().numpy(), height, width))
        found.append(one)
    if native is not None and native.masks is not None:
        theirs = native.masks.data.cpu().numpy()
        for i, one in enumerate(found):
            near = np.abs(native.boxes.xyxy.numpy() - np.array(one["xyxy"])).max(axis=1, initial=0)
            same = np.flatnonzero((near < 0.01) & (native.boxes.cls.numpy() == found[i]["class_id"]))
            if len(same):
                one["native"] = packed(theirs[same[0]])
    return found


def task_of(name: str) -> str:
    return next((task for word, task in TASKS.items() if f"-{word}" in name), "detect")


def main() -> None:
    out, folder, confidences = Path(sys.argv[1]), Path(sys.argv[2]), [float(c) for c in sys.argv[3].split(",")]
    out.mkdir(exist_ok=True)
    files = sorted(folder.glob("*.png"))
    for path in map(Path, sys.argv[4:]):
        kwargs = {"task": task_of(path.stem)}
        model = YOLO(str(path), **kwargs)
        sides = onnxruntime.InferenceSession(str(path)).get_inputs()[0].shape[2:]
        size = {"imgsz": sides} if all(isinstance(side, int) for side in sides) else {}  # older ones do not read it
        for confidence in confidences:
            rows = []
            try:
                for file in files:
                    image = cv2.imread(str(file))
                    result = model.predict(image, conf=confidence, iou=0.7, verbose=False, **size)[0]
                    native = None
                    if result.masks is not None:
                        native = model.predict(
                            image, conf=confidence, iou=0.7, verbose=False, retina_masks=True, **size
                        )[0]
                        model.predictor.args.retina_masks = False
                    rows.append({"image": file.name, "instances": instances(result, native)})
            except Exception as error:  # the others are compared all the same
                print("failed", path.name, type(error).__name__, str(error)[:300], flush=True)
                break
            (out / f"{path.stem}@{confidence:g}.json").write_text(json.dumps(rows))
        print("predicted", path.name, flush=True)


if __name__ == "__main__":
    main()
