"""What `perf-inference build` does, once its arguments are known."""

from __future__ import annotations

import argparse
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

from perf_inference import model_build
from perf_inference.commands.build import comparison
from perf_inference.commands.build.contract import checked, embed
from perf_inference.demo.model_score import inputs_of
from perf_inference.engines import AUTO, Options
from perf_inference.errors import ConfigError
from perf_inference.files.whole import not_written, whole_file
from perf_inference.model_build import cache, content
from perf_inference.model_build.converters.calibration import NONE, Calibration, read_folder
from perf_inference.model_build.converters.image_input import CameraImage
from perf_inference.model_build.converters.job import PLAIN_PLAN, PlanOptions
from perf_inference.model_build.preparation import Prepared, prepare
from perf_inference.model_build.recipe import Recipe
from perf_inference.model_build.trial.trial import Trial, try_out
from perf_inference.printable import printable
from perf_inference.tasks.front import front_of

SCENES = "scenes"  # the demo's, for --calibration
_CALIBRATING = 128  # of them
EX_PARTLY = 3  # made, but what it gives is far from fp32
_FAR = 0.1  # a share of the largest output


def run(arguments: argparse.Namespace) -> int:
    """Build one file, or compare all precisions."""
    options = Options(
        precision=arguments.precision,
        device=arguments.device,
        threads=arguments.threads,
        architecture=arguments.architecture,
        python=arguments.python,
        allow_pickle=arguments.allow_pickle,
        beams=arguments.beams,
        max_tokens=arguments.max_tokens,
    )
    recipe = Recipe(
        _calibration(arguments, options),
        dict(arguments.shape),
        _image(arguments, options),
        arguments.force,
        patient=True,
        plan=_plan(arguments),
    )
    if arguments.compare and arguments.contract is not None:
        raise ConfigError("--compare writes no file to put a contract into; leave one of the two out")
    if arguments.compare:
        models = [arguments.model, *([arguments.pruned] if arguments.pruned else [])]
        comparison.compare(models, arguments.runtime, options, recipe, arguments.scenes, arguments.json)
        return 0
    made = prepare(arguments.model, arguments.runtime, options, recipe)
    contract = None
    said: list[str] = []
    if arguments.contract is not None:
        contract, said = checked(Path(made.model), arguments.contract, arguments.out)
    if arguments.out is not None:
        made = Prepared(str(copied(Path(made.model), arguments.out)), made.runtime, options)
    if contract is not None:
        said.append(embed(Path(made.model), contract))
    given = recipe.calibration.inputs[0] if recipe.calibration.inputs and recipe.image is None else None
    trial = try_out(made.model, made.runtime, options, given, reference=arguments.model)
    plain = not (arguments.image_size or arguments.shape or recipe.plan != PLAIN_PLAN)  # what a name means
    by_path = bool(arguments.out) or not plain
    for line in said:
        print(printable(line))
    for line in report(arguments.model, made, trial, by_path, "random inputs" if given is None else "the calibration"):
        print(printable(line))
    cache.discard(Path(made.model))
    if trial.difference is None or trial.difference.relative <= _FAR:
        return 0
    warning = (
        f"warning: in {trial.info.precision} its outputs are far from those in fp32; try it on real inputs, calibrate "
        "it with --calibration, or take another precision"
    )
    print(printable(warning), file=sys.stderr)
    return EX_PARTLY


def report(model: str, made: Prepared, trial: Trial, by_path: bool, inputs: str = "random inputs") -> list[str]:
    """Return what was made, what it does here, and how a node takes it."""
    figures = trial.infer.summary_ms()
    off = f"{trial.difference.text} of the largest output" if trial.difference else trial.no_difference
    lines = [
        f"{made.model}: {(trial.file_bytes or 0) / 1e6:.2f} MB, {trial.info.runtime} in {trial.info.precision}",
        f"here, on {inputs}: p50 {figures['p50']} ms, max {figures['max']} ms of {figures['n']}; "
        f"{trial.memory_bytes / 1e6:.0f} MB of memory with the runtime",
        f"difference from fp32: {off}",
    ]
    given = {"model": made.model if by_path else model, "runtime": made.runtime}
    if made.options.precision != AUTO:
        given["precision"] = made.options.precision
    settings = " ".join(f"-p {name}:={value}" for name, value in given.items())
    where = "" if by_path or not made.model.startswith(str(cache.root())) else " (it is found in the cache)"
    return [*lines, f"a node's parameters: {settings}{where}"]


def _plan(arguments: argparse.Namespace) -> PlanOptions:
    return PlanOptions(
        PLAIN_PLAN.workspace_bytes if arguments.workspace_mb is None else arguments.workspace_mb << 20,
        arguments.optimization_level,
        arguments.version_compatible,
        arguments.hardware_compatible,
    )


def _calibration(arguments: argparse.Namespace, options: Options) -> Calibration:
    """Return the inputs to calibrate with; the model in fp32 tells what they must be."""
    if arguments.calibration is None:
        return NONE
    plain = Options(architecture=options.architecture, allow_pickle=options.allow_pickle)
    engine = model_build.load(arguments.model, AUTO, plain)
    try:
        if arguments.calibration != SCENES:
            return read_folder(Path(arguments.calibration), engine.inputs)
        inputs = inputs_of(engine, _CALIBRATING)
    finally:
        engine.close()
    if not inputs:
        raise ConfigError(
            f"'{arguments.model}' is no model of the demo, so its scenes say nothing of what it will see; give "
            "--calibration a folder with such inputs"
        )
    return Calibration.of(inputs)


def _image(arguments: argparse.Namespace, options: Options) -> CameraImage | None:
    """Return the camera's image; the model's task tells what is to happen to it."""
    if arguments.image_size is None:
        return None
    if arguments.compare:
        raise ConfigError("--compare takes the images of the demo's scenes as they come; leave --image-size out")
    plain = Options(architecture=options.architecture, allow_pickle=options.allow_pickle)
    engine = model_build.load(arguments.model, AUTO, plain)
    try:
        width_px, height_px = arguments.image_size
        return CameraImage(width_px, height_px, front_of(engine))
    finally:
        engine.close()


def copied(made: Path, out: Path) -> Path:
    """Copy the file, and what belongs to it, to a path or into a folder."""
    target = out / made.name if out.is_dir() else out
    if target.suffix != made.suffix:
        raise ConfigError(f"--out must end in {made.suffix}, or be a folder, got '{out}'")
    files = content.files_of(made)
    try:
        with ExitStack() as stack:  # all are copied before the first gets its name; the model's own comes last
            for file in sorted(files, key=lambda file: file != made):
                name = target.with_suffix(file.suffix) if file.stem == made.stem else target.parent / file.name
                copy = stack.enter_context(whole_file(name))
                with file.open("rb") as source:
                    shutil.copyfileobj(source, copy, 1 << 20)
                copy.flush()
    except OSError as error:
        raise not_written(target, error) from error
    return target
