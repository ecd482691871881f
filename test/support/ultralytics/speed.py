"""Times what Ultralytics does before and after a model: `speed.py FOLDER`, a case a line on standard input.

Run by the Python of an environment with Ultralytics. The folder is one of `perf-inference bench vision --save`. Each
case becomes an ONNX file whose outputs are constants, so that its own predictor is set up as for any model and finds
what is in them. A line is `KIND COUNT TIMES`, and the answer one of JSON: milliseconds of processor time before and
after the model, and how many were found.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import no_cuda_torchvision  # noqa: F401
import numpy as np
import onnx
import torch
from ultralytics import YOLO

UNCOUNTED = 5


def model_of(folder: Path, kind: str, count: str) -> Path:
    """Write the ONNX file of one case."""
    side = 224 if kind == "classify" else 640
    files = sorted(folder.glob(f"{kind}_{count}_*.npy"))
    nodes, outputs = [], []
    for file in files:
        name, array = file.stem.rsplit("_", 1)[1], np.load(file)
        nodes.append(onnx.helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(array)))
        outputs.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, array.shape))
    image = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (1, 3, side, side))
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "constant", [image], outputs),
        opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9,
    )  # fmt: skip
    said = {"task": kind, "stride": "32", "batch": "1", "imgsz": f"[{side}, {side}]", "kpt_shape": "[17, 3]",
            "names": str({i: f"class {i}" for i in range(80)})}  # fmt: skip
    onnx.helper.set_model_props(model, said)
    path = folder / f"{kind}_{count}.onnx"
    onnx.save(model, path)
    return path


@cache
def case(folder: Path, kind: str, count: str) -> Any:
    """Return a case's predictor, set up by its own first prediction."""
    image = np.load(folder / "image.npy")
    model = YOLO(str(model_of(folder, kind, count)), task=kind)
    model.predict(image, conf=0.25, iou=0.7, max_det=300, imgsz=224 if kind == "classify" else 640, verbose=False)
    return model.predictor, image


def copied(outputs: Any) -> Any:
    """Return outputs that may be written to."""
    return [copied(one) for one in outputs] if isinstance(outputs, list | tuple) else outputs.clone()


def taken_ms(calls: Iterator[Callable[[], Any]]) -> list[float]:
    taken = []
    for call in calls:
        start = time.process_time_ns()
        call()
        taken.append((time.process_time_ns() - start) / 1e6)
    return taken[UNCOUNTED:]


def timed(folder: Path, kind: str, count: str, times: int) -> dict[str, Any]:
    predictor, image = case(folder, kind, count)
    with torch.inference_mode():
        tensor = predictor.preprocess([image])
        outputs = predictor.inference(tensor)
        calls = times + UNCOUNTED
        before = taken_ms((lambda: predictor.preprocess([image])) for _ in range(calls))
        fresh = (copied(outputs) for _ in range(calls))
        after = taken_ms((lambda own=own: predictor.postprocess(own, tensor, [image])) for own in fresh)
        result = predictor.postprocess(copied(outputs), tensor, [image])[0]
    found = 1 if result.probs is not None else len(result)
    return {"before_ms": before, "after_ms": after, "found": found}


def main() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    for line in sys.stdin:
        kind, count, times = line.split()
        print(json.dumps(timed(Path(sys.argv[1]), kind, count, int(times))), flush=True)


if __name__ == "__main__":
    main()
