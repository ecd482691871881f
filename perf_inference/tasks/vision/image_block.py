"""How a model wants its images: one value for detectors, captioners and policies, from code or from a file's mapping.

    image: {size: [480, 640], fit: letterbox, colour: rgb, layout: nchw, dtype: float32, scale: 0.00392157,
            mean: [0, 0, 0], std: [1, 1, 1], fill: 114, interpolation: bilinear}

A level v of a pixel becomes (v * scale - mean) / std; `prepare.py` does it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from perf_inference.engines.engine import ArraySpec
from perf_inference.errors import ConfigError

FITS = ("stretch", "letterbox", "letterbox_top_left", "crop")
COLOURS = ("rgb", "bgr", "gray", "depth")
LAYOUTS = ("nchw", "nhwc")
DTYPES = ("uint8", "float16", "float32", "float64")
INTERPOLATIONS = ("bilinear", "area", "pil_bilinear", "nearest")
MOST_PX = 1 << 14  # of a side
_CHOICES = {"fit": FITS, "colour": COLOURS, "layout": LAYOUTS, "dtype": DTYPES, "interpolation": INTERPOLATIONS}


@dataclass(frozen=True)
class ImageBlock:
    """What becomes of a camera's image before a model sees it.

    Raises:
        ConfigError: a value that is not allowed, with the key and what is.
    """

    size: tuple[int, int] = (640, 640)
    """Height and width of the model's image [px]."""
    fit: str = "stretch"
    """`stretch` fills it; `letterbox` keeps the aspect ratio, with bars on both sides; `letterbox_top_left` has them at
    the right and below; `crop` fills it with the aspect ratio kept, and cuts what is left over on both sides."""
    colour: str = "rgb"
    """Order of the channels; `gray` has one; `depth` is a depth image's own numbers, in one channel."""
    layout: str = "nchw"
    dtype: str = "float32"
    scale: float = 1.0
    """Multiplies the levels 0..255 (of a depth image: its numbers)."""
    mean: tuple[float, ...] = ()
    """Of each channel, in the order of `colour` and after `scale`; empty: 0."""
    std: tuple[float, ...] = ()
    """Divides, after `mean` was subtracted; empty: 1."""
    fill: float = 114.0
    """Level of the bars, before `scale`."""
    interpolation: str = "bilinear"
    """`bilinear`: of the four pixels around (OpenCV's INTER_LINEAR); `area`: every pixel has its part in a smaller
    image; `pil_bilinear`: antialiased, as Pillow and torchvision resize; `nearest`: one pixel, as depth wants it."""

    def __post_init__(self) -> None:
        for key, choices in _CHOICES.items():
            if getattr(self, key) not in choices:
                raise ConfigError(f"image.{key} must be one of {', '.join(choices)}, got {getattr(self, key)!r:.60}")
        if len(self.size) != 2 or not all(type(side) is int and 0 < side <= MOST_PX for side in self.size):
            raise ConfigError(f"image.size must be [height, width], each of 1 to {MOST_PX} px, got {list(self.size)}")
        for key in ("mean", "std"):
            if len(getattr(self, key)) not in (0, 1, self.channels):
                raise ConfigError(
                    f"image.{key} must have {self.channels} numbers for colour {self.colour}, or one, got "
                    f"{list(getattr(self, key))}"
                )
        numbers = (self.scale, self.fill, *self.mean, *self.std)
        if not all(map(math.isfinite, numbers)) or not self.scale or not all(self.std):
            raise ConfigError(
                f"image.scale, mean, std and fill must be finite, and scale and std not 0, got scale {self.scale:g}, "
                f"mean {list(self.mean)}, std {list(self.std)}, fill {self.fill:g}"
            )
        if self.dtype == "uint8" and not self.is_plain:
            raise ConfigError("image.dtype uint8 takes levels as they are: leave scale, mean and std out")
        if self.colour == "depth" and (self.dtype == "uint8" or self.interpolation == "pil_bilinear"):
            raise ConfigError("a depth image must have a float dtype, and interpolation bilinear, area or nearest")

    @property
    def channels(self) -> int:
        return 1 if self.colour in ("gray", "depth") else 3

    @property
    def is_plain(self) -> bool:
        """Whether levels stay as they are."""
        return self.scale == 1.0 and not any(self.mean) and all(value == 1.0 for value in self.std)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image, without the batch axis."""
        return (self.channels, *self.size) if self.layout == "nchw" else (*self.size, self.channels)

    def factors(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return (a, b) of each channel: a level v becomes a * v + b."""
        mean = (self.mean or (0.0,)) * (self.channels if len(self.mean) < 2 else 1)
        std = (self.std or (1.0,)) * (self.channels if len(self.std) < 2 else 1)
        return tuple(self.scale / s for s in std), tuple(-m / s for m, s in zip(mean, std, strict=True))

    def of_input(self, spec: ArraySpec) -> ImageBlock:
        """Return the block with the layout, dtype and size of an engine's input, where its spec fixes them.

        Raises:
            ConfigError: the input takes no such image.
        """
        shape = spec.shape
        want = self.channels
        if len(shape) != 4 or want not in (shape[1], shape[3]) or spec.dtype.name not in DTYPES:
            raise ConfigError(
                f"model input '{spec.name}' must be an image, [1,{want},H,W] or [1,H,W,{want}] of {', '.join(DTYPES)}, "
                f"got {spec.dtype} {[n if n is not None else 'any' for n in shape]}"
            )
        layout = self.layout
        if shape[1] != shape[3]:
            layout = "nchw" if shape[1] == want else "nhwc"
        height, width = shape[2:4] if layout == "nchw" else shape[1:3]
        size = (height or self.size[0], width or self.size[1])
        return replace(self, layout=layout, dtype=spec.dtype.name, size=size)

    @classmethod
    def of(cls, said: Mapping[str, Any], default: ImageBlock | None = None) -> ImageBlock:
        """Return a block of a file's mapping; keys that it lacks are as in `default`.

        Raises:
            ConfigError: an unknown key, or a value of another type or outside what is allowed.
        """
        known = [item.name for item in fields(cls)]
        if unknown := [str(key) for key in said if key not in known]:
            raise ConfigError(f"image has no key {unknown[0]!r:.60}; it has {', '.join(known)}")
        return replace(default or cls(), **{key: _value(key, value) for key, value in said.items()})

    def as_dict(self) -> dict[str, Any]:
        """Return the mapping that `of` takes."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _value(key: str, value: Any) -> Any:
    if key == "size":
        if not isinstance(value, list | tuple) or not all(type(side) is int for side in value):
            raise ConfigError(f"image.size must be [height, width] in px, got {value!r:.60}")
        return tuple(value)
    if key in ("mean", "std"):
        numbers = value if isinstance(value, list | tuple) else [value]
        if not all(_is_number(number) for number in numbers):
            raise ConfigError(f"image.{key} must be a number of each channel, got {value!r:.60}")
        return tuple(map(float, numbers))
    if key in ("scale", "fill"):
        if not _is_number(value):
            raise ConfigError(f"image.{key} must be a number, got {value!r:.60}")
        return float(value)
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.floating) and not isinstance(value, bool)
