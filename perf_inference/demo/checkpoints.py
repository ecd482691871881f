"""Writes the embedded models as PyTorch checkpoints: `python -m perf_inference.demo.checkpoints`.

The weights are those of the ONNX files, which have the batch normalisations in their convolutions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from perf_inference.engines import MODELS
from perf_inference.engines.architectures import builder_of
from perf_inference.engines.pytorch.checkpoint import save_checkpoint

FILES = {
    "detector": "detector.safetensors",
    "captioner": "captioner.safetensors",
    "policy": "policy.pt",
    "chunk_policy": "chunk_policy.pt",
}
TASKS = {"detector": "detect", "captioner": "caption", "policy": "policy", "chunk_policy": "policy"}
_UNNAMED = "onnx::"  # what the exporter computed: a convolution with its normalisation, or a constant


def weights_of(model: onnx.ModelProto) -> dict[str, Tensor]:
    """Return the weights of an exported network under the names that they have in it."""
    arrays = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in model.graph.initializer}
    weights = {name: array for name, array in arrays.items() if not name.startswith(_UNNAMED)}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1].startswith(_UNNAMED):
            path = node.name.strip("/").split("/")  # backbone/stem/stem.0/stem.0.0/Conv
            for kind, name in zip(("weight", "bias"), node.input[1:3], strict=True):
                weights[f"{path[0]}.{path[-2]}.{kind}"] = arrays[name]
    return weights


def convert(source: Path, architecture: str, target: Path) -> None:
    """Write the checkpoint of an embedded network's ONNX file.

    Raises:
        ConfigError: the file's weights are not this network's.
    """
    model = onnx.load(source)
    said = {prop.key: prop.value for prop in model.metadata_props if not prop.key.startswith("score_onnx_")}
    metadata = {**said, "task": TASKS[architecture]}
    weights = weights_of(model)
    builder_of(architecture)(weights, metadata)
    save_checkpoint(target, architecture, weights, metadata)
    print(f"{target}: {target.stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=MODELS, help="directory")
    args = parser.parse_args()
    for architecture, file in FILES.items():
        convert(MODELS / f"{architecture}.onnx", architecture, args.out / file)


if __name__ == "__main__":
    main()
