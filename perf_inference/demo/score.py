"""Scores the embedded models on held-out scenes: `python -m perf_inference.demo.score detector|captioner`.

The pictures are drawn at camera size, 640x480, and shrunk as the running nodes shrink them. Needs onnxruntime
and numpy, no torch.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from perf_inference.demo.scenes import CLASS_NAMES, WIDTH_PX, Scene, render, sentence
from perf_inference.demo.training import INPUT_WIDTH_PX, model_input, test_scenes

MODELS = Path(__file__).resolve().parents[1] / "models"
MATCH_IOU = 0.5
NMS_IOU = 0.45
_SCALE = WIDTH_PX / INPUT_WIDTH_PX

Floats = NDArray[np.float32]


class Detections(NamedTuple):
    """What a detector found in one picture, best first."""

    boxes_px: Floats  # [N, 4]: x0, y0, x1, y1 in px of the model's input
    scores: Floats  # [N]
    classes: NDArray[np.int64]  # [N]


def open_model(path: Path) -> onnxruntime.InferenceSession:
    """Return the model on one CPU thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


# To be swapped for perf_inference.tasks.yolo: the next three functions.
def decode(output: Floats, threshold: float) -> Detections:
    """Return the detections above a score in an Ultralytics output [4 + C, anchors], after NMS within each class."""
    every = output[4:]
    classes, anchors = np.nonzero(every > threshold)
    scores = every[classes, anchors]
    order = np.argsort(-scores, kind="stable")
    anchors, classes, scores = anchors[order], classes[order], scores[order]
    middle, half = output[:2, anchors].T, output[2:4, anchors].T / 2
    boxes = np.concatenate([middle - half, middle + half], axis=1)
    kept = _nms(boxes, classes)
    return Detections(boxes[kept], scores[kept], classes[kept])


def _nms(boxes: Floats, classes: NDArray[np.int64]) -> list[int]:
    """Return the indices of boxes [N, 4], best first, that no better one of their class overlaps."""
    kept: list[int] = []
    left = np.arange(len(boxes))
    while len(left):
        best, left = int(left[0]), left[1:]
        kept.append(best)
        left = left[(classes[left] != classes[best]) | (iou(boxes[best], boxes[left]) <= NMS_IOU)]
    return kept


def iou(box: Floats, boxes: Floats) -> Floats:
    """Return the overlap [N] of a box [4] with boxes [N, 4], as a share of the union."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    shares: Floats = common / (np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - common)
    return shares


def detections(model_path: Path, scenes: Sequence[Scene], threshold: float) -> Iterator[Detections]:
    """Yield what the detector finds in each scene."""
    session = open_model(model_path)
    for scene in scenes:
        (output,) = session.run(["output0"], {"image": model_input(render(scene))[None]})
        yield decode(output[0], threshold)


def truth(scene: Scene) -> Detections:
    """Return what a perfect detector finds, occluded parts included."""
    boxes = np.array([item.box() for item in scene.items], np.float32) / _SCALE
    classes = np.array([CLASS_NAMES.index(item.name) for item in scene.items], np.int64)
    return Detections(boxes, np.ones(len(classes), np.float32), classes)


def matched(found: Detections, wanted: Detections) -> NDArray[np.bool_]:
    """Return for each detection whether it is the best one of a wanted box of its class, at an IoU of 0.5 or more."""
    taken = np.zeros(len(wanted.classes), bool)
    right = np.zeros(len(found.classes), bool)
    for i, (box, label) in enumerate(zip(found.boxes_px, found.classes, strict=True)):
        overlap = np.where((wanted.classes == label) & ~taken, iou(box, wanted.boxes_px), 0.0)
        best = int(np.argmax(overlap))
        if overlap[best] >= MATCH_IOU:
            right[i] = taken[best] = True
    return right


def average_precision(right: NDArray[np.bool_], wanted: int) -> float:
    """Return the area under the precision-recall curve, interpolated at all points (PASCAL VOC 2010).

    Args:
        right: for each detection of one class, best score first, whether it is right.
        wanted: how many there are to find.
    """
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(envelope[right]) / wanted)


def detector_map50(model_path: Path, scenes: Sequence[Scene]) -> float:
    """Return the mean over the classes of the average precision at IoU 0.5 [0, 1]."""
    scores, classes, right = [], [], []
    wanted = np.zeros(len(CLASS_NAMES), np.int64)
    for scene, found in zip(scenes, detections(model_path, scenes, threshold=0.001), strict=True):
        goal = truth(scene)
        np.add.at(wanted, goal.classes, 1)
        scores.append(found.scores)
        classes.append(found.classes)
        right.append(matched(found, goal))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    label, hit = np.concatenate(classes)[order], np.concatenate(right)[order]
    present = np.flatnonzero(wanted)
    return float(np.mean([average_precision(hit[label == c], int(wanted[c])) for c in present]))


def detector_at(model_path: Path, scenes: Sequence[Scene], threshold: float = 0.4) -> tuple[float, float, float]:
    """Return precision, recall and the mean IoU of the right boxes at a confidence threshold."""
    found_count = wanted_count = 0
    overlaps: list[float] = []
    for scene, found in zip(scenes, detections(model_path, scenes, threshold), strict=True):
        goal = truth(scene)
        found_count += len(found.classes)
        wanted_count += len(goal.classes)
        for i in np.flatnonzero(matched(found, goal)):
            same = goal.boxes_px[goal.classes == found.classes[i]]
            overlaps.append(float(iou(found.boxes_px[i], same).max()))
    return len(overlaps) / max(1, found_count), len(overlaps) / wanted_count, float(np.mean(overlaps or [0.0]))


def captions(model_path: Path, scenes: Sequence[Scene]) -> Iterator[tuple[str, float]]:
    """Yield each scene's sentence and the probability of its most doubtful word."""
    session = open_model(model_path)
    words = json.loads(session.get_modelmeta().custom_metadata_map["vocabulary"])
    for scene in scenes:
        tokens, scores = session.run(["tokens", "scores"], {"image": model_input(render(scene))[None]})
        ends = np.flatnonzero(tokens[0] == 0)
        end = int(ends[0]) if len(ends) else tokens.shape[1]
        yield " ".join(words[token] for token in tokens[0, :end]), float(scores[0, : end + 1].min())


def caption_exact(model_path: Path, scenes: Sequence[Scene]) -> float:
    """Return the share [0, 1] of the scenes whose sentence is right word for word."""
    wanted = [sentence(scene.items) for scene in scenes]
    return float(np.mean([text == goal for (text, _), goal in zip(captions(model_path, scenes), wanted, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("detector", "captioner"))
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--path", type=Path, help="score this file instead of the embedded one")
    parser.add_argument("--mistakes", action="store_true", help="captioner: print each wrong sentence")
    args = parser.parse_args()
    path = args.path or MODELS / f"{args.model}.onnx"
    scenes = test_scenes(args.scenes)
    if args.model == "detector":
        precision, recall, overlap = detector_at(path, scenes)
        print(f"mAP50 {detector_map50(path, scenes):.4f} on {len(scenes)} held-out scenes")
        print(f"at confidence 0.4: precision {precision:.4f}, recall {recall:.4f}, mean IoU {overlap:.3f}")
        return
    print(f"exact sentences {caption_exact(path, scenes):.4f} on {len(scenes)} held-out scenes")
    if args.mistakes:
        for i, (scene, (text, doubt)) in enumerate(zip(scenes, captions(path, scenes), strict=True)):
            if text != sentence(scene.items):
                print(f"scene {i}: said '{text}' ({doubt:.2f}), expected '{sentence(scene.items)}'")


if __name__ == "__main__":
    main()
