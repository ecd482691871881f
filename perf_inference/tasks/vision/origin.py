"""How the images of a model are prepared, by where it comes from: what its training did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from perf_inference.engines.engine import ArraySpec, Engine
from perf_inference.engines.image_preprocessing import PICTURE
from perf_inference.errors import ConfigError
from perf_inference.tasks.vision.image_block import ImageBlock
from perf_inference.tasks.vision.outputs.head import Head, names_ultralytics

IMAGE = "perf_inference.image"  # the metadata entry with a block as JSON
ULTRALYTICS = ImageBlock(fit="letterbox", scale=1 / 255)
CLASSIFY = ImageBlock(fit="crop", scale=1 / 255, interpolation="pil_bilinear")
YOLOX = ImageBlock(fit="letterbox_top_left", colour="bgr")
YOLO_NAS = ImageBlock(fit="letterbox", scale=1 / 255)
RTDETR = ImageBlock(fit="stretch", scale=1 / 255, interpolation="pil_bilinear")
ULTRALYTICS_RTDETR = ImageBlock(fit="stretch", scale=1 / 255)
RFDETR = ImageBlock(
    fit="stretch", scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="pil_bilinear"
)
OURS = ImageBlock(fit="letterbox", colour="bgr", interpolation="area")  # the embedded models: uint8 [1, H, W, 3]
_SIDE = {"rfdetr": 560}


def image_spec(engine: Engine) -> ArraySpec:
    """Return the input that takes the image.

    Raises:
        ConfigError: none does, or it takes more than an image and its size.
    """
    images = [spec for spec in engine.inputs if len(spec.shape) == 4]
    others = [spec for spec in engine.inputs if spec not in images]
    if len(images) != 1 or any(len(spec.shape) != 2 or spec.shape[1] not in (2, None) for spec in others):
        given = ", ".join(f"{spec.name} {[n or 'any' for n in spec.shape]}" for spec in engine.inputs)
        raise ConfigError(
            f"a vision model takes one image, and perhaps its size [B, 2]; '{engine.info.name}' takes {given}"
        )
    return images[0]


def block_of(engine: Engine, head: Head, said: Mapping[str, Any], side_px: int) -> ImageBlock:
    """Return how the images are prepared: as the user says, else as the model's metadata do, else by its origin.

    Args:
        said: the user's keys of the block.
        side_px: of the model's image where neither says a size.

    Raises:
        ConfigError: the origin is not known, and the user says nothing.
    """
    spec, metadata = image_spec(engine), engine.info.metadata
    block = _written(metadata[IMAGE]) if IMAGE in metadata else _of_origin(engine, head, spec)
    if block is None:
        if not said:
            raise ConfigError(
                f"nothing tells how '{engine.info.name}' wants its images (no metadata of an exporter that is known); "
                "set image: fit, colour, scale, mean, std, interpolation as in its training, such as image.fit: crop, "
                "image.scale: 0.00392157"
            )
        block = ImageBlock(scale=1.0 if spec.dtype == np.uint8 else 1 / 255)
    channels = {n for n in (spec.shape[1], spec.shape[3]) if n is not None}
    if 3 not in channels and 1 in channels and PICTURE not in metadata:
        block = replace(block, colour="gray")
    if "size" not in said:
        side = _SIDE.get(head.layout, side_px)
        block = replace(block, size=(side, side))
    return ImageBlock.of(said, block)


def _of_origin(engine: Engine, head: Head, spec: ArraySpec) -> ImageBlock | None:
    names = {output.name.lower() for output in engine.outputs}
    if spec.dtype == np.uint8 and spec.shape[3] == 3 and not names_ultralytics(engine.info.metadata):
        return OURS
    if head.layout == "classify":
        return _in_graph(_classifier(spec), spec) if head.is_ultralytics else None
    if head.layout == "nms" and not names & {"num_dets", "det_boxes"}:
        return _in_graph(YOLO_NAS, spec) if any("pred" in name for name in names) else None
    if head.layout == "rtdetr" and head.is_ultralytics:
        return ULTRALYTICS_RTDETR
    block = {"yolox": YOLOX, "yolo_nas": YOLO_NAS, "rtdetr": RTDETR, "rfdetr": RFDETR}.get(head.layout, ULTRALYTICS)
    return _in_graph(block, spec)


def _in_graph(block: ImageBlock, spec: ArraySpec) -> ImageBlock:
    """Return the block without the arithmetic that a graph which takes bytes does itself."""
    return replace(block, scale=1.0, mean=(), std=()) if spec.dtype == np.uint8 else block


def _classifier(spec: ArraySpec) -> ImageBlock:
    height, width = spec.shape[1:3] if spec.shape[3] in (1, 3) else spec.shape[2:4]
    return replace(CLASSIFY, fit="crop" if height == width else "stretch")


def _written(text: str) -> ImageBlock:
    try:
        said = json.loads(text)
        if not isinstance(said, dict):
            raise ValueError("it must be a mapping")
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the model's metadata '{IMAGE}' are no image block as JSON: {error}") from error
    return ImageBlock.of(said)
