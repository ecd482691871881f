"""What a detector's model must say before its boxes are believed: nothing about its output is guessed.

The same shape can mean several things (a box of three classes, or an oriented box of two): the model's metadata, the
names of its classes, or the user say which.
"""

from __future__ import annotations

from collections.abc import Sequence

from perf_inference.engines.engine import ArraySpec, Engine
from perf_inference.errors import ConfigError
from perf_inference.tasks.class_names import names_of

DETECT = "detect"
MASKS = 32  # mask coefficients of a segmentation model, Ultralytics' default
_FIRST_CLASS = {"ultralytics": 4}  # numbers of a row before the scores of the classes; 5 where there is objectness


def check_kind(engine: Engine) -> None:
    """Raise ConfigError where the model says itself that its rows are no plain boxes, or takes more than an image."""
    name, metadata = engine.info.name, engine.info.metadata
    if len(engine.inputs) > 1:
        raise ConfigError(
            f"a detector takes one image, '{name}' takes {_listed(engine.inputs)} and gives {_listed(engine.outputs)}; "
            "export it with the image as its only input"
        )
    if metadata.get("end2end", "").lower() == "true" or "'nms': True" in metadata.get("args", ""):
        raise ConfigError(
            f"'{name}' suppresses boxes itself (end to end, or exported with nms=True): its output "
            f"{_listed(engine.outputs)} is no raw layout; export it without"
        )


def check_task(engine: Engine) -> None:
    """Raise ConfigError where the model's metadata say that it is for another task."""
    task = engine.info.metadata.get("task", "") or DETECT
    if task != DETECT:
        raise ConfigError(
            f"'{engine.info.name}' says that its task is {task[:80]!r}, with output {_listed(engine.outputs)}; this "
            f"node reads boxes: give it a model whose task is {DETECT}"
        )


def named_classes(engine: Engine, layout: str, asked_for: str, given: Sequence[str], usual: Sequence[str]) -> tuple[
    tuple[str, ...], str]:  # fmt: skip
    """Return the names of the classes, and what is to be said of them (nothing where the model or the user names them).

    Args:
        asked_for: the layout that the user gave, or `auto`.
        given: names that the user gave.
        usual: taken where nobody gives any and the model has as many classes.

    Raises:
        ConfigError: they do not fit the rows of the output, or nobody says what these mean.
    """
    spec = engine.outputs[0]
    row = spec.shape[1] if layout == "ultralytics" else spec.shape[2]
    first = _FIRST_CLASS.get(layout, 5)
    names = tuple(given) or names_of(engine.info.metadata)
    if row is None:
        if not names:
            raise ConfigError(f"'{engine.info.name}' does not say how many classes it has; set class_names")
        return names, ""
    count = row - first
    if count < 1:
        raise ConfigError(
            f"a row of layout {layout} has {first} numbers and a score of each class, '{engine.info.name}' gives "
            f"{_listed([spec])}; set layout, or give it a detector"
        )
    if names:
        if len(names) != count:
            raise ConfigError(
                f"class_names must have {count} names for model '{engine.info.name}', got {len(names)}"
                f"{_other_kind(row, layout, len(names))}"
            )
        return names, ""
    if count == len(usual):
        return tuple(usual), ""
    said = "neither a task nor names of its classes"
    if layout == "ultralytics" and asked_for == "auto" and not engine.info.metadata.get("task"):
        raise ConfigError(
            f"the output {_listed([spec])} of '{engine.info.name}' may be boxes of {count} classes, oriented boxes of "
            f"{count - 1}, or more, and the model says {said}; set class_names, or layout: {layout} if it gives boxes"
        )
    unnamed = tuple(f"class_{number}" for number in range(count))
    return (
        unnamed,
        f"'{engine.info.name}' does not name its {count} classes: they are called class_0, ...; set class_names",
    )


def _other_kind(row: int, layout: str, count: int) -> str:
    """Return what rows with that many numbers are, where the names are right."""
    left = row - 4 - count
    if layout != "ultralytics" or left < 1:
        return ""
    kinds = {1: "oriented boxes", MASKS: "segments"}
    points = "keypoints" if left % 3 == 0 or left % 2 == 0 else ""
    kind = kinds.get(left, points)
    return f"; {left} more numbers in a row are those of {kind}, and this node reads boxes" if kind else ""


def _listed(specs: Sequence[ArraySpec]) -> str:
    return ", ".join(f"{spec.name} {list(spec.shape)}" for spec in specs)
