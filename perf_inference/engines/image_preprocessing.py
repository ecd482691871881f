"""What happens to a camera's image before a model sees it, and where it then lies; also when the graph does it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from perf_inference.errors import ConfigError

PICTURE = "picture"  # the metadata entry of a model that takes the camera's images as they are
_MOST_PX = 1 << 16


@dataclass(frozen=True)
class ImageFront:
    """How a BGR image of levels 0..255 is made into a model's input."""

    letterbox: bool  # keep the aspect ratio, with bars; else stretch
    centred: bool = True  # bars on both sides; else at the right and below
    rgb: bool = False  # the model wants RGB
    scale: float = 1.0  # multiplies 0..255, the bars' too
    fill: float = 114  # level of the bars
    area: bool = True  # every pixel has its part in a smaller image; else bilinear, of the four around
    factors: tuple[tuple[float, float], ...] = ()  # instead of `scale`, (a, b) of each channel: a level v is a * v + b


@dataclass(frozen=True)
class ImageFit:
    """Where the camera's image lies in the model's [px]: resized to `inner`, `left` and `top` of it are bars."""

    camera_width_px: int
    camera_height_px: int
    width_px: int
    height_px: int
    inner_width_px: int
    inner_height_px: int
    left_px: int = 0
    top_px: int = 0

    @classmethod
    def of(cls, camera: tuple[int, int], model: tuple[int, int], letterbox: bool, centred: bool = True) -> ImageFit:
        """Fit a camera's image (width, height) [px] into a model's."""
        if not letterbox:
            return cls(*camera, *model, *model)
        scale = min(model[0] / camera[0], model[1] / camera[1])
        whole = round if centred else int  # as Ultralytics and YOLOX do
        inner = max(1, whole(camera[0] * scale)), max(1, whole(camera[1] * scale))
        bars = ((model[0] - inner[0]) // 2, (model[1] - inner[1]) // 2) if centred else (0, 0)
        return cls(*camera, *model, *inner, *bars)

    def entry(self, input_name: str) -> str:
        """Return the metadata entry of a model whose graph does this."""
        return json.dumps({"input": input_name, **asdict(self)})


def fit_in_graph(metadata: Mapping[str, str], input_name: str) -> ImageFit | None:
    """Return what the model's graph does to the images of this input; None: it leaves that to us.

    Raises:
        ConfigError: the entry is no fit of images.
    """
    if PICTURE not in metadata:
        return None
    try:
        said = json.loads(metadata[PICTURE])
        if said.pop("input") != input_name:
            return None
        fit = ImageFit(**said)
        if not all(type(value) is int and 0 <= value < _MOST_PX for value in said.values()):
            raise ValueError(f"lengths must be whole numbers of px below {_MOST_PX}")
        if not (
            min(fit.camera_width_px, fit.camera_height_px, fit.inner_width_px, fit.inner_height_px) > 0
            and fit.left_px + fit.inner_width_px <= fit.width_px
            and fit.top_px + fit.inner_height_px <= fit.height_px
        ):
            raise ValueError("the image must lie within the model's")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"the model's metadata '{PICTURE}' does not say how it takes images ({error}); "
            "build it again with --image-size WIDTHxHEIGHT"
        ) from error
    return fit
