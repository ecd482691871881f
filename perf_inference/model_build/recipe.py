"""The steps from a source to the file that is wanted: export, precision, the runtime's own format."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from perf_inference.engines import AUTO, RUNTIMES
from perf_inference.engines.runtimes import AT_LOADING
from perf_inference.errors import ConfigError
from perf_inference.model_build import cache
from perf_inference.model_build.converters import onnx_precision
from perf_inference.model_build.converters.calibration import NONE, Calibration
from perf_inference.model_build.converters.image_input import CameraImage, fuse
from perf_inference.model_build.converters.job import PLAIN_PLAN, Job, PlanOptions, Range, Shape, fixed
from perf_inference.model_build.converters.onnx_graph import plain_files
from perf_inference.model_build.plan import Plan


@dataclass(frozen=True)
class Recipe:
    """How a file is made, beyond runtime and options."""

    calibration: Calibration = NONE
    shapes: Mapping[str, Shape] = field(default_factory=dict)  # of inputs whose free axes are to be fixed
    image: CameraImage | None = None  # the camera's, for the graph to prepare
    force: bool = False  # make it again
    patient: bool = False  # also what takes minutes
    plan: PlanOptions = PLAIN_PLAN


def make(made: Plan, recipe: Recipe, target: Path) -> None:
    """Write the file that the plan wants.

    Raises:
        ConfigError: one of the steps cannot be done.
    """
    runtime, precision = made.runtime, written(made)
    _require_plans(made, recipe)
    through_onnx = "onnx" in runtime.made_from or not made.suffix
    if recipe.image and not through_onnx:
        graphs = ", ".join(one.name for one in RUNTIMES.values() if "onnx" in one.made_from)
        raise ConfigError(f"images are prepared in the graph by runtime {graphs}, not by '{runtime.name}'")
    if not through_onnx:
        _export(made, target, recipe)
        return
    converter = import_module(runtime.converter) if made.suffix and runtime.converter else None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = _as_onnx(made, recipe, folder)
        in_file = converter is None or (made.stored == "fp32" and converter.in_file(precision))
        if made.suffix and in_file:
            converted = folder / f"{precision}_{source.name}"
            onnx_precision.convert(
                source, converted, precision, recipe.calibration.inputs, quantisation=runtime.quantisation
            )
            source = converted
        source = _with_image(source, recipe, folder)
        if converter is None:
            onnx_precision.copy(source, target)
        else:
            job = Job(made.model, precision, made.options, recipe.shapes, _timings(folder), recipe.plan)
            converter.convert(source, target, job)


def _timings(folder: Path) -> Path:
    """Return where a converter keeps what its next job can use; where the cache cannot be written, there is none."""
    try:
        return cache.folder("timings")
    except OSError:
        return folder


def _require_plans(made: Plan, recipe: Recipe) -> None:
    """Raise ConfigError where something is asked for that only what builds for a GPU can do, or that it must not."""
    ranges = [name for name, shape in recipe.shapes.items() if isinstance(shape, Range)]
    if not made.runtime.made_for_device:
        if ranges:
            raise ConfigError(
                f"a range of shapes is for runtime tensorrt; in a file for '{made.runtime.name}' free axes stay free: "
                f"leave --shape {ranges[0]} out"
            )
        if recipe.plan != PLAIN_PLAN:
            raise ConfigError(
                f"--workspace-mb, --optimization-level, --version-compatible and --hardware-compatible "
                f"are for runtime tensorrt, not for '{made.runtime.name}'"
            )
    if recipe.plan.version_compatible and not made.options.allow_pickle:
        raise ConfigError(
            "a version-compatible plan holds code that runs on the host, and is loaded where that is allowed only: add "
            "--allow-pickle"
        )


def written(made: Plan) -> str:
    """Return the precision of the file that is made; what is cast while it is loaded is made of fp32."""
    wanted = made.options.precision
    cast = made.runtime.precisions.get(wanted) == AT_LOADING
    return "fp32" if wanted == AUTO or cast else wanted


def _export(made: Plan, target: Path, recipe: Recipe) -> None:
    torch = RUNTIMES["torch"]
    if not torch.installed:
        raise ConfigError(f"a checkpoint is exported by PyTorch, which is not installed: {torch.install}")
    from perf_inference.model_build.converters import checkpoint  # torch loads only when it is used

    assert made.source is not None
    checkpoint.write(made.source, target, made.options, fixed(recipe.shapes))


def _as_onnx(made: Plan, recipe: Recipe, folder: Path) -> Path:
    """Return the source as an ONNX file, with the shapes that are wanted."""
    assert made.source is not None
    target = folder / f"{made.source.stem}.onnx"
    if made.kind in ("torch", "transformers", "lerobot"):
        _export(made, target, recipe)
    elif shapes := fixed(recipe.shapes):
        onnx_precision.fix_shapes(plain_files(made.source, folder / "plain"), target, shapes)
    else:
        return plain_files(made.source, folder / "plain")
    return target


def _with_image(source: Path, recipe: Recipe, folder: Path) -> Path:
    """Return the ONNX file with the nodes that prepare the camera's image: last, so that they stay in fp32."""
    if recipe.image is None:
        return source
    target = folder / f"picture_{source.name}"
    fuse(source, target, recipe.image.width_px, recipe.image.height_px, recipe.image.front)
    return target
