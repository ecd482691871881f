"""Parameters of yolo_node, and what of them may change between two images."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from perf_inference.engines.engine import Engine
from perf_inference.errors import ConfigError
from perf_inference.nodes.ros.parameters import EngineParameters, ImageEngineParameters, model_parameter, parameter
from perf_inference.tasks.class_names_file import names_in
from perf_inference.tasks.vision.batch import BatchedYoloTask
from perf_inference.tasks.vision.found import KINDS
from perf_inference.tasks.vision.image_block import COLOURS, FITS, INTERPOLATIONS
from perf_inference.tasks.vision.outputs.head import AUTO, LAYOUTS
from perf_inference.tasks.vision.task import Limits, YoloTask

_BLOCK = "image."  # the parameters of the image block
_UNSET = -1.0
_MOST_CAMERAS = 64
_CAMERA = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # a part of a topic's name


@dataclass(frozen=True)
class YoloParameters(ImageEngineParameters):
    """Parameters of yolo_node."""

    model: str = model_parameter("detector")
    cameras: tuple[str, ...] = parameter(
        (), "names of several cameras that share the model; topics are under each name: front/image, "
        "front/detections_json; empty: one camera, without a name"
    )  # fmt: skip
    max_batch: int = parameter(0, "images of several cameras that run at once, of a model that leaves their number "
                               "free; 0: all that wait", at_least=0, at_most=_MOST_CAMERAS)  # fmt: skip
    batch_wait_ms: float = parameter(0.0, "so long an image waits for those of the other cameras [ms]; 0: what waits "
                                     "when the model is free runs", at_least=0, at_most=10_000)  # fmt: skip
    kind: str = parameter(AUTO, "kind of the model; auto: as it says", choices=(AUTO, *KINDS))
    layout: str = parameter(AUTO, "layout of the model's output; auto: by its shape", choices=LAYOUTS)
    confidence: float = parameter(0.4, "scores above it count", at_least=0, at_most=1, while_running=True)
    iou: float = parameter(0.5, "boxes of one class that overlap more are one object", at_least=0, at_most=1,
                           while_running=True)  # fmt: skip
    class_agnostic: bool = parameter(False, "boxes that overlap are one object whatever their classes")
    max_detections: int = parameter(100, "detections of one image, best first", at_least=1, at_most=10_000,
                                    while_running=True)  # fmt: skip
    class_names: tuple[str, ...] = parameter(
        (), "names of the classes; empty: the model's own, or COCO's for 80 classes"
    )
    class_names_file: str = parameter("", "file with the names of the classes: a name a line, or YAML's `names`")
    classes: tuple[str, ...] = parameter((), "names or numbers of the classes that count; empty: all",
                                         while_running=True)  # fmt: skip
    min_size: float = parameter(0.0, "shorter side of the smallest box that counts [px]", at_least=0,
                                while_running=True)  # fmt: skip
    roi: tuple[int, ...] = parameter((), "part of the image that the model looks at, [x, y, width, height] px; "
                                     "[0, 0, 0, 0] or empty: all of it", while_running=True)  # fmt: skip
    top: int = parameter(5, "classes of a classifier that are published", at_least=1, at_most=1000)
    class_id: str = parameter("name", "what messages carry as class_id: the class's name or its number",
                              choices=("name", "index"))  # fmt: skip
    tracker: str = parameter("none", "gives objects numbers that stay from image to image",
                             choices=("none", "bytetrack"))  # fmt: skip
    track_low: float = parameter(0.1, "scores above it continue a track; only those above confidence are published",
                                 at_least=0, at_most=1)  # fmt: skip
    track_lost_s: float = parameter(1.0, "so long a track that is not seen is kept [s]", at_least=0)
    keypoint_shape: tuple[int, ...] = parameter((), "of a pose model that does not say it, [17, 3]")
    input_size: int = parameter(640, "side of the model's input [px] where the model leaves it free",
                                at_least=32, at_most=4096)  # fmt: skip
    image_size: tuple[int, ...] = parameter((), "of the model's image, [height, width] px", name="image.size")
    image_fit: str = parameter(AUTO, "how images fill the model's; auto: by its origin", choices=(AUTO, *FITS),
                               name="image.fit")  # fmt: skip
    image_colour: str = parameter(AUTO, "order of the channels", choices=(AUTO, *COLOURS[:3]), name="image.colour")
    image_scale: float = parameter(0.0, "multiplies the levels 0..255; 0: by the model's origin", name="image.scale",
                                   at_least=0)  # fmt: skip
    image_mean: tuple[float, ...] = parameter((), "of each channel, after the scale", name="image.mean")
    image_std: tuple[float, ...] = parameter((), "of each channel, after the scale", name="image.std")
    image_fill: float = parameter(_UNSET, "level of the bars; -1: by the model's origin", name="image.fill",
                                  at_least=_UNSET, at_most=255)  # fmt: skip
    image_interpolation: str = parameter(AUTO, "how images are resized", choices=(AUTO, *INTERPOLATIONS),
                                         name="image.interpolation")  # fmt: skip

    def image_block(self) -> dict[str, Any]:
        """Return the keys of the image block that the user gave."""
        said: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.metadata["name"].startswith(_BLOCK) and value not in ((), AUTO, 0.0, _UNSET):
                said[item.metadata["name"].removeprefix(_BLOCK)] = value
        return said

    def camera_names(self) -> tuple[str, ...]:
        """Return the names of the cameras; of one without a name the empty text.

        Raises:
            ConfigError: a name that no topic can have, one that is given twice, or too many.
        """
        for name in self.cameras:
            if not _CAMERA.fullmatch(name) or "__" in name or name.endswith("_"):
                raise ConfigError(
                    "cameras must be names of letters, digits and single underscores that begin with a letter, "
                    f"got {name[:60]!r}"
                )
        if len(set(self.cameras)) < len(self.cameras) or len(self.cameras) > _MOST_CAMERAS:
            raise ConfigError(
                f"cameras must be at most {_MOST_CAMERAS} different names, got {', '.join(self.cameras)[:200]}"
            )
        return self.cameras or ("",)

    def names(self) -> tuple[str, ...]:
        """Return the names of the classes that the user gave.

        Raises:
            ConfigError: in two ways, or in a file that has none.
        """
        if self.class_names and self.class_names_file:
            raise ConfigError("give class_names or class_names_file, not both")
        return names_in(Path(self.class_names_file).expanduser()) if self.class_names_file else self.class_names


LIVE = tuple(
    item.name
    for item in fields(YoloParameters)
    if item.metadata["while_running"] and item.name not in {own.name for own in fields(EngineParameters)}
)
"""Names of the parameters that may be set while the node runs, besides the engine's."""


def task_of(engine: Engine, p: YoloParameters, live: Mapping[str, Any]) -> YoloTask:
    """Return the task of an engine, with the limits of now.

    Raises:
        ConfigError: the model or a value does not fit.
    """
    kind = partial(BatchedYoloTask, images=len(p.cameras), max_batch=p.max_batch) if p.cameras else YoloTask
    task = kind(
        engine,
        p.layout,
        class_names=p.names(),
        default_size_px=p.input_size,
        kind=p.kind,
        image=p.image_block(),
        keypoint_shape=p.keypoint_shape,
    )
    task.limits = limits_of(task, p, live)
    return task


def limits_of(task: YoloTask, p: YoloParameters, live: Mapping[str, Any]) -> Limits:
    """Return the limits of a task, of the parameters as they were given and those that have been set since.

    Raises:
        ConfigError: a class that the model does not have, or a region that is none.
    """
    return Limits(
        confidence=live["confidence"] if p.tracker == "none" else min(p.track_low, live["confidence"]),
        iou=live["iou"],
        max_detections=live["max_detections"],
        class_agnostic=p.class_agnostic,
        classes=task.class_numbers(tuple(live["classes"])),
        roi=_region(live["roi"]),
        min_size_px=live["min_size"],
        top=p.top,
    )


def _region(said: Sequence[int]) -> tuple[int, int, int, int] | None:
    if not len(said) or not any(said):
        return None
    if len(said) != 4 or said[2] < 1 or said[3] < 1 or min(said) < 0:
        raise ConfigError(f"roi must be [x, y, width, height] in px, each at least 0 and the size 1, got {list(said)}")
    x, y, width, height = said
    return x, y, width, height
