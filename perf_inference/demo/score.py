"""Scores the embedded models on held-out scenes: `python -m perf_inference.demo.score detector|captioner`.

The images are drawn at camera size, 640x480, and shrunk as the running nodes shrink them. Needs onnxruntime
and numpy, no torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perf_inference import engines
from perf_inference.demo.scenes import CLASS_NAMES, Scene, render, sentence
from perf_inference.demo.training import test_scenes
from perf_inference.engines import MODELS, Engine, Options
from perf_inference.tasks.language.caption import Caption, CaptionTask
from perf_inference.tasks.vision.task import YoloTask

MATCH_IOU = 0.5
NMS_IOU = 0.45

Floats = NDArray[np.float32]


class Detections(NamedTuple):
    """What a detector found in one image, best first."""

    boxes_px: Floats  # [N, 4]: x0, y0, x1, y1 in px of the camera's image
    scores: Floats  # [N]
    classes: NDArray[np.int64]  # [N]


def iou(box: Floats, boxes: Floats) -> Floats:
    """Return the overlap [N] of a box [4] with boxes [N, 4], as a share of the union."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    shares: Floats = common / (np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - common)
    return shares


@contextmanager
def opened(model: Path | Engine) -> Iterator[Engine]:
    """Give the engine as it is, or one for the file, on one thread, for as long as it is needed."""
    if not isinstance(model, Path):
        yield model
        return
    engine = engines.load(str(model), options=Options(threads=1))
    try:
        yield engine
    finally:
        engine.close()


def detections(model: Path | Engine, scenes: Sequence[Scene], threshold: float) -> Iterator[Detections]:
    """Yield what the detector finds in each scene, by the way that yolo_node goes."""
    with opened(model) as engine:
        task = YoloTask(engine, confidence=threshold, iou=NMS_IOU, max_detections=300)
        for scene in scenes:
            inputs, placement = task.preprocess(render(scene))
            found = task.postprocess(engine.infer(inputs), placement)
            classes = np.array([CLASS_NAMES.index(found.name(number)) for number in found.class_ids], np.int64)
            yield Detections(found.boxes, found.scores, classes)


def truth(scene: Scene) -> Detections:
    """Return what a perfect detector finds, occluded parts included."""
    boxes = np.array([item.box() for item in scene.items], np.float32)
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


def detector_map50(model: Path | Engine, scenes: Sequence[Scene]) -> float:
    """Return the mean over the classes of the average precision at IoU 0.5 [0, 1]."""
    scores, classes, right = [], [], []
    wanted = np.zeros(len(CLASS_NAMES), np.int64)
    for scene, found in zip(scenes, detections(model, scenes, threshold=0.001), strict=True):
        goal = truth(scene)
        np.add.at(wanted, goal.classes, 1)
        scores.append(found.scores)
        classes.append(found.classes)
        right.append(matched(found, goal))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    label, hit = np.concatenate(classes)[order], np.concatenate(right)[order]
    present = np.flatnonzero(wanted)
    return float(np.mean([average_precision(hit[label == c], int(wanted[c])) for c in present]))


def detector_at(model: Path | Engine, scenes: Sequence[Scene], threshold: float = 0.4) -> tuple[float, float, float]:
    """Return precision, recall and the mean IoU of the right boxes at a confidence threshold."""
    found_count = wanted_count = 0
    overlaps: list[float] = []
    for scene, found in zip(scenes, detections(model, scenes, threshold), strict=True):
        goal = truth(scene)
        found_count += len(found.classes)
        wanted_count += len(goal.classes)
        for i in np.flatnonzero(matched(found, goal)):
            same = goal.boxes_px[goal.classes == found.classes[i]]
            overlaps.append(float(iou(found.boxes_px[i], same).max()))
    return len(overlaps) / max(1, found_count), len(overlaps) / wanted_count, float(np.mean(overlaps or [0.0]))


def captions(model: Path | Engine, scenes: Sequence[Scene]) -> Iterator[Caption]:
    """Yield each scene's sentence, by the way that caption_node goes."""
    with opened(model) as engine:
        task = CaptionTask(engine)
        for scene in scenes:
            inputs, placement = task.preprocess(render(scene))
            yield task.postprocess(engine.infer(inputs), placement)


def caption_exact(model: Path | Engine, scenes: Sequence[Scene]) -> float:
    """Return the share [0, 1] of the scenes whose sentence is right word for word."""
    wanted = [sentence(scene.items) for scene in scenes]
    return float(np.mean([caption.text == goal for caption, goal in zip(captions(model, scenes), wanted, strict=True)]))


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
        for i, (scene, said) in enumerate(zip(scenes, captions(path, scenes), strict=True)):
            if said.text != sentence(scene.items):
                print(f"scene {i}: said '{said.text}' ({said.score:.2f}), expected '{sentence(scene.items)}'")


if __name__ == "__main__":
    main()
