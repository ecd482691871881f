"""The image among an engine's inputs: how it is prepared, on the host or in the model's own graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import ArraySpec
from perf_inference.engines.image_preprocessing import ImageFit, ImageFront, fit_in_graph
from perf_inference.errors import ConfigError, InputError
from perf_inference.tasks.vision.image_block import ImageBlock
from perf_inference.tasks.vision.placement import Placement
from perf_inference.tasks.vision.prepare import Preparation

Image = NDArray[np.uint8]
_NO_METADATA: Mapping[str, str] = MappingProxyType({})


class ImageInput:
    """Makes the camera's images what one input of an engine takes."""

    def __init__(self, spec: ArraySpec, block: ImageBlock, metadata: Mapping[str, str] = _NO_METADATA) -> None:
        """Read layout, dtype and size from the input; the block's size stands where the spec leaves it free.

        Args:
            metadata: of the model; they say when its graph takes the camera's images as they are.

        Raises:
            ConfigError: no image of such channels.
        """
        self.name = spec.name
        self.in_graph = fit_in_graph(metadata, spec.name)
        if fit := self.in_graph:
            if spec.shape != (1, fit.camera_height_px, fit.camera_width_px, 3) or spec.dtype != np.uint8:
                raise ConfigError(
                    f"input '{spec.name}' must be uint8 [1,{fit.camera_height_px},{fit.camera_width_px},3] as the "
                    f"model's metadata say, got {spec.dtype} {list(spec.shape)}; build it again with --image-size"
                )
            self.block = replace(block, size=(fit.height_px, fit.width_px))
        else:
            self.block = block.of_input(spec)
        self._prepare = Preparation(self.block)

    @classmethod
    def of(
        cls,
        spec: ArraySpec,
        width_px: int,
        height_px: int,
        rgb: bool,
        scale: float,
        metadata: Mapping[str, str] = _NO_METADATA,
    ) -> ImageInput:
        """Return an input that images fill whole, every pixel having its part, as the embedded models were trained."""
        block = ImageBlock((height_px, width_px), "stretch", "rgb" if rgb else "bgr", scale=scale, interpolation="area")
        return cls(spec, block, metadata)

    @staticmethod
    def graphs_size(metadata: Mapping[str, str], spec: ArraySpec) -> tuple[int, int] | None:
        """Return height and width [px] of what the model sees where its graph prepares the image; None: it does not."""
        fit = fit_in_graph(metadata, spec.name)
        return None if fit is None else (fit.height_px, fit.width_px)

    @property
    def width_px(self) -> int:
        return self.block.size[1]

    @property
    def height_px(self) -> int:
        return self.block.size[0]

    def prepared(self, image: NDArray[Any]) -> tuple[NDArray[Any], Placement]:
        """Return the input's array of a camera's image, and where that lies in it.

        The array is valid until this thread's next call.

        Raises:
            InputError: another image than the block takes, or the graph takes images of another size.
        """
        return self._untouched(image, self.in_graph) if self.in_graph else self._prepare(image)

    def stretched(self, image: Image) -> tuple[NDArray[Any], Placement]:
        """Return the same, for inputs made by `of`."""
        return self.prepared(image)

    def blank(self) -> Image:
        """Return a black image as the camera may send it."""
        size = (self.in_graph.camera_height_px, self.in_graph.camera_width_px) if self.in_graph else (480, 640)
        if self.block.colour == "depth":
            return np.zeros(size, np.float32)
        return np.zeros((*size, 3), np.uint8)

    def _untouched(self, image: NDArray[Any], fit: ImageFit) -> tuple[NDArray[Any], Placement]:
        height, width = image.shape[:2]
        if (width, height) != (fit.camera_width_px, fit.camera_height_px):
            raise InputError(
                f"the model was built for images of {fit.camera_width_px}x{fit.camera_height_px} px, got "
                f"{width}x{height}; build it with --image-size {width}x{height}, or without --image-size for any size"
            )
        return np.ascontiguousarray(image[None]), Placement.of(fit)


def front_of_block(block: ImageBlock) -> ImageFront:
    """Return the same for a model's graph to do.

    Raises:
        ConfigError: a graph does not do this.
    """
    if block.fit == "crop" or block.interpolation not in ("bilinear", "area") or block.channels != 3:
        raise ConfigError(
            f"images of fit {block.fit}, interpolation {block.interpolation} and colour {block.colour} are not "
            "prepared in a model's graph; build it without --image-size"
        )
    a, b = block.factors()
    return ImageFront(
        letterbox=block.fit != "stretch",
        centred=block.fit == "letterbox",
        rgb=block.colour == "rgb",
        scale=block.scale,
        fill=block.fill,
        area=block.interpolation == "area",
        factors=() if not any(b) and set(a) == {block.scale} else tuple(zip(a, b, strict=True)),
    )
