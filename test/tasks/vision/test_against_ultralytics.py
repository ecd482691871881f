"""The same as Ultralytics' own predictions: `make prove PROVE=ultralytics`, which makes an environment for it.

The models are of its descriptions with weights at random. It is a tool of this comparison, and nothing else uses it.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import cv2
import pytest
from support.paths import SUPPORT
from support.ultralytics.environment import environment, suppression_in_c

from perf_inference import model_build
from perf_inference.engines import Options
from perf_inference.tasks.vision.as_json import found_dict
from perf_inference.tasks.vision.outputs.masks import pixels_of
from perf_inference.tasks.vision.task import Limits, YoloTask

HERE = SUPPORT / "ultralytics"
CONFIDENCES = (0.05, 0.25)
KINDS = ("", "-seg", "-pose", "-obb")
NEWEST, OLDER = "8.4.190", "8.3.40"
MODELS = {
    **{name: (NEWEST, [
        *(f"yolo11n{kind}:imgsz=320{more}" for more in ("", ",nms", ",dynamic", ",nc=1,batch=2")),
        f"yolo11n{kind}:imgsz=256x384,half",
        *(f"yolo26n{kind}:imgsz=320{more}" for more in ("", ",nms=False")),
    ]) for name, kind in zip(("detect", "segment", "pose", "obb"), KINDS, strict=True)},
    "classify": (NEWEST, ["yolo11n-cls:imgsz=224", "yolo26n-cls:imgsz=224,half", "yolov8n-cls:imgsz=128x224"]),
    "generations": (NEWEST, [f"{one}:imgsz=320" for one in ("yolov5n", "yolov10n", "yolov8n-p6", "yolov8n-p2")]),
    # Its poses are rounded to whole px and hide weak keypoints, its oriented boxes are turned until the long side is
    # the width, its masks are cut before they are enlarged: what this release's own predictor does to right outputs.
    "older": (OLDER, ["yolo11n:imgsz=320", "yolo11n:imgsz=320,dynamic", "yolo11n-cls:imgsz=224"]),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("models", MODELS)
def test_ultralytics_finds_the_same(models: str, tmp_path: Path) -> None:
    version, wanted = MODELS[models]
    python = environment(version)
    shared = {**os.environ, "PYTHONPATH": str(HERE), "YOLO_CONFIG_DIR": str(tmp_path), "YOLO_AUTOINSTALL": "false",
              "YOLO_OFFLINE": "true", "NMS_LIBRARY": str(suppression_in_c(tmp_path) or "")}  # fmt: skip
    for name in ("models", "images", "reference"):
        (tmp_path / name).mkdir()

    def run(script: str, *arguments: str) -> None:
        command = [str(python), str(HERE / script), *arguments]
        subprocess.run(command, check=True, cwd=tmp_path, env=shared)

    run("build.py", "models", *wanted)
    run("images.py", "images")
    files = sorted((tmp_path / "models").glob("*.onnx"))
    assert len(files) == len(wanted)
    run("reference.py", "reference", "images", ",".join(map(str, CONFIDENCES)), *map(str, files))
    wrong = [line for file in files for line in _compared(file, tmp_path)]
    assert not wrong, "\n".join(wrong)


def _compared(file: Path, folder: Path) -> list[str]:
    from support.ultralytics import compare

    engine = model_build.load(str(file), options=Options(threads=1))
    lines = []
    for confidence in CONFIDENCES:
        wanted = json.loads((folder / "reference" / f"{file.stem}@{confidence:g}.json").read_text())
        task = YoloTask(engine, limits=Limits(confidence=confidence))
        found = []
        for entry in wanted:
            inputs, view = task.preprocess(cv2.imread(str(folder / "images" / entry["image"])))
            found.append({"image": entry["image"], **found_dict(task.postprocess(engine.infer(inputs), view))})
        how = compare.HALF if "half" in file.stem else compare.EXACT
        off = compare.compare(found, wanted, confidence, how, pixels_of)
        print(f"{file.stem} at {confidence:g}: theirs {off.theirs}, ours {off.ours}, missing {off.missing}, extra "
              f"{off.extra}, masks {off.bad_masks}; box IoU {off.worst_iou:.5f}, score {off.worst_score:.6f}, keypoint "
              f"{off.worst_keypoint_px:.3f} px, angle {off.worst_angle_rad:.5f} rad")  # fmt: skip
        if off.wrong > how.free * max(1, off.theirs):
            lines.append(f"{file.stem} at {confidence:g}: {off.wrong} of {off.theirs}: {'; '.join(off.notes[:3])}")
    return lines
