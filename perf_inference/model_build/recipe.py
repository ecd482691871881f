"""The steps from a source to the file that is wanted: export, precision, the runtime's own format."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from perf_inference.engines import AUTO, Options
from perf_inference.errors import ConfigError
from perf_inference.model_build import cache
from perf_inference.model_build.converters import onnx_precision
from perf_inference.model_build.converters.calibration import NONE, Calibration
from perf_inference.model_build.converters.image_input import CameraImage, fuse
from perf_inference.model_build.plan import Plan

_GRAPHS = ("onnx", "openvino", "tensorrt")
_TYPED_TENSORRT = 11  # from here on an engine computes in what the ONNX file says; before, the builder may choose fp16


@dataclass(frozen=True)
class Recipe:
    """How a file is made, beyond runtime and options."""

    calibration: Calibration = NONE
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # of inputs whose free axes are to be fixed
    image: CameraImage | None = None  # the camera's, for the graph to prepare
    force: bool = False  # make it again
    patient: bool = False  # also what takes minutes


def make(made: Plan, options: Options, recipe: Recipe, target: Path) -> None:
    """Write the file that the plan wants.

    Raises:
        ConfigError: one of the steps cannot be done.
    """
    runtime, precision = made.runtime.name, written(made, options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if recipe.image and runtime not in _GRAPHS:
            raise ConfigError(f"images are prepared in the graph by runtime {', '.join(_GRAPHS)}, not by '{runtime}'")
        if made.kind == "torch" and runtime in ("torchscript", "torch_export"):
            _export(made, target, options, recipe)
            return
        source = _as_onnx(made, options, recipe, folder)
        if not made.suffix:  # it runs as it is, but for its shapes and images
            onnx_precision.copy(_with_image(source, recipe, folder), target)
            return
        if runtime == "onnx":
            converted = folder / f"{precision}_{source.name}"
            onnx_precision.convert(source, converted, precision, recipe.calibration.inputs)
            onnx_precision.copy(_with_image(converted, recipe, folder), target)
            return
        if made.stored == "fp32" and _converts_first(runtime, precision):
            converted = folder / f"{precision}_{source.name}"
            onnx_precision.convert(source, converted, precision, recipe.calibration.inputs)
            source = converted
        source = _with_image(source, recipe, folder)
        if runtime == "openvino":
            from perf_inference.model_build.converters import openvino

            openvino.convert(source, target, precision)
        else:
            from perf_inference.model_build.converters import tensorrt

            tensorrt.build(source, target, options, recipe.shapes, cache.folder("timings"), model=made.model)


def written(made: Plan, options: Options) -> str:
    """Return the precision of the file that is made; OpenVINO computes one of fp32 in bf16."""
    as_fp32 = options.precision == AUTO or (made.runtime.name, options.precision) == ("openvino", "bf16")
    return "fp32" if as_fp32 else options.precision


def version_of(library: str) -> str:
    """Return the version that is installed; empty: none, or only on the path."""
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _export(made: Plan, target: Path, options: Options, recipe: Recipe) -> None:
    from perf_inference.model_build.converters import checkpoint  # torch loads only when it is used

    assert made.source is not None
    checkpoint.write(made.source, target, options, recipe.shapes)


def _as_onnx(made: Plan, options: Options, recipe: Recipe, folder: Path) -> Path:
    """Return the source as an ONNX file, with the shapes that are wanted."""
    assert made.source is not None
    target = folder / f"{made.source.stem}.onnx"
    if made.kind == "torch":
        _export(made, target, options, recipe)
    elif recipe.shapes:
        onnx_precision.fix_shapes(made.source, target, recipe.shapes)
    else:
        return made.source
    return target


def _with_image(source: Path, recipe: Recipe, folder: Path) -> Path:
    """Return the ONNX file with the nodes that prepare the camera's image: last, so that they stay in fp32."""
    if recipe.image is None:
        return source
    target = folder / f"picture_{source.name}"
    fuse(source, target, recipe.image.width_px, recipe.image.height_px, recipe.image.front)
    return target


def _converts_first(runtime: str, precision: str) -> bool:
    """Return whether the runtime's own builder takes this precision only from a file that has it."""
    typed = runtime == "tensorrt" and int(version_of("tensorrt").partition(".")[0] or 0) >= _TYPED_TENSORRT
    return precision == "int8" or (typed and precision == "fp16")
