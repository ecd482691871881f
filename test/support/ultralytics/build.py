"""Exports models of Ultralytics' own descriptions with weights at random, scaled so that there are objects to find.

Run by the Python of an environment with Ultralytics: `build.py FOLDER NAME...`; a NAME is DESCRIPTION[:OPTION,...], as
`yolo11n-seg:half,imgsz=320x480,nc=3`. Nothing of this package is imported.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import no_cuda_torchvision  # noqa: F401
import numpy as np
import torch
from images import image
from ultralytics import YOLO
from ultralytics.utils import DEFAULT_CFG_DICT

CLASS_SHARE = 0.004  # of the anchors with a score above one half


def _scaled(model: torch.nn.Module, images: torch.Tensor) -> None:
    """Give the batch norms the statistics of these images, and the class scores a wide distribution."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    model.train()
    with torch.no_grad():
        for _ in range(2):
            model(images)
    model.eval()
    head = model.model[-1]
    convs = [branch for name in ("cv3", "one2one_cv3") for branch in (getattr(head, name, None) or [])]
    if not convs:
        return
    for branch in convs:
        last = branch[-1]
        seen = []
        hook = last.register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(out.detach()))
        with torch.no_grad():
            model(images)
        hook.remove()
        raw = seen[0].movedim(1, -1).flatten(0, -2)
        raw = raw - last.bias
        with torch.no_grad():
            spread = raw.std(dim=0).clamp(min=1e-6)
            spread = spread * 2.5  # images unlike these are scored higher: none is to reach 1
            last.weight.div_(spread[:, None, None, None])
            raw = raw / spread
            last.bias.copy_(-raw.mean(dim=0))
            best = (raw - raw.mean(dim=0)).max(dim=1).values
            last.bias.sub_(torch.quantile(best, 1 - CLASS_SHARE))


def build(folder: Path, name: str, images: torch.Tensor) -> Path:
    """Export one model; return its file."""
    description, _, rest = name.partition(":")
    options: dict[str, object] = {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        options[key] = value or True
    torch.manual_seed(int(options.pop("seed", 0)))
    classes = int(options.pop("nc", 0))
    model = YOLO(f"{description}.yaml")
    if classes:
        from ultralytics.nn import tasks

        kind = {"classify": "ClassificationModel", "detect": "DetectionModel", "segment": "SegmentationModel",
                "pose": "PoseModel", "obb": "OBBModel"}[model.task]  # fmt: skip
        model.model = getattr(tasks, kind)(model.model.yaml, nc=classes, verbose=False)
        model.model.names = {i: f"thing {i}" for i in range(classes)}
        model.model.args = {**DEFAULT_CFG_DICT, **model.overrides}
        model.model.task = model.task
    _scaled(model.model, images)
    if "imgsz" in options:
        sides = [int(side) for side in str(options["imgsz"]).split("x")]
        options["imgsz"] = sides if len(sides) > 1 else sides[0]
    for key in ("batch", "opset"):
        if key in options:
            options[key] = int(str(options[key]))
    for key, value in list(options.items()):
        if value in ("True", "False"):
            options[key] = value == "True"
    file = model.export(format="onnx", **options)
    target = folder / f"{name.replace(':', '__').replace(',', '_').replace('=', '-')}.onnx"
    Path(file).replace(target)
    return target


def main() -> None:
    folder = Path(sys.argv[1])
    seen = [cv2.resize(image(seed)[..., ::-1], (320, 320)).transpose(2, 0, 1) / 255 for seed in range(8)]
    images = torch.from_numpy(np.stack(seen).astype(np.float32))
    for name in sys.argv[2:]:
        print(_built(folder, name, images), flush=True)


def _built(folder: Path, name: str, images: torch.Tensor) -> str:
    try:
        return f"built {build(folder, name, images)}"
    except Exception as error:  # the others are built all the same
        return f"failed {name} {type(error).__name__} {str(error)[:300]}"


if __name__ == "__main__":
    main()
