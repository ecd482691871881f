"""From a model's file to one that a runtime takes as it is: `prepare`, and `load` on top of it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from perf_inference import engines
from perf_inference._version import version_of
from perf_inference.engines import AS_IT_IS, AUTO, Engine, Options
from perf_inference.engines.runtimes import SYMMETRIC
from perf_inference.errors import ConfigError
from perf_inference.model_build import cache, content, machine
from perf_inference.model_build.converters.job import PLAIN_PLAN
from perf_inference.model_build.plan import Plan, resolve
from perf_inference.model_build.recipe import Recipe, make, written
from perf_inference.model_build.trial.verification import verify


@dataclass(frozen=True)
class Prepared:
    """A model that `engines.load` takes as it is."""

    model: str  # path or address
    runtime: str
    options: Options


PLAIN = Recipe()


def prepare(
    model: str | Plan, runtime: str = AUTO, options: Options = AS_IT_IS, wanted: Recipe | None = None
) -> Prepared:
    """Return the model itself where it runs as it is, else the file made of it: from the cache, or made now.

    Args:
        wanted: made so and not otherwise; None: as it was calibrated last, if it was, and PLAIN.

    Raises:
        ConfigError: it cannot be made, or takes minutes and that is not wanted (with the command).
    """
    made = resolve(model, runtime, options)
    recipe = PLAIN if wanted is None else wanted
    if made.source is None or not (made.suffix or recipe.shapes or recipe.image):
        return Prepared(str(made.source or made.model), made.runtime.name, made.options)
    key = key_of(made, recipe)
    suffix = made.suffix or made.source.suffix
    any_calibration = wanted is None
    if any_calibration and (path := cache.calibrated(key, suffix)):  # better than what can be made here
        return Prepared(str(path), made.runtime.name, made.options)
    _require_calibration(made, recipe)
    if made.runtime.takes_minutes and not recipe.patient and cache.find(key, suffix) is None:
        raise ConfigError(
            f"'{made.model}' must be built for runtime '{made.runtime.name}' on this machine first, which takes "
            "minutes: " + command(made.model, made.runtime.name, made.options)
        )

    def build(target: Path) -> None:
        make(made, recipe, target)
        verify(target, made, recipe.calibration.inputs, same_inputs=recipe.image is None)

    path, _ = cache.get(key, suffix, build, recipe.force)
    return Prepared(str(path), made.runtime.name, made.options)


def load(model: str | Plan, runtime: str = AUTO, options: Options = AS_IT_IS) -> Engine:
    """Return an engine for the model in this runtime and precision, made first where that takes seconds.

    Raises:
        ConfigError: it cannot be prepared or loaded.
    """
    prepared = prepare(model, runtime, options)
    try:
        return engines.load(prepared.model, prepared.runtime, prepared.options)
    finally:
        cache.discard(Path(prepared.model))


def _require_calibration(made: Plan, recipe: Recipe) -> None:
    """Raise ConfigError, with the command, where int8 can be made with calibration only, and there is none."""
    symmetric = made.suffix and made.options.precision == "int8" and made.runtime.quantisation == SYMMETRIC
    if symmetric and made.stored == "fp32" and not recipe.calibration.inputs:
        raise ConfigError(
            f"int8 for runtime '{made.runtime.name}' needs inputs as the model will meet them, to calibrate with: "
            f"{command(made.model, made.runtime.name, made.options)} --calibration FOLDER"
        )


def command(model: str, runtime: str, options: Options) -> str:
    """Return the command that builds the model."""
    words = ["perf-inference", "build", model, "--runtime", runtime]
    words += ["--precision", options.precision] if options.precision != AUTO else []
    words += ["--device", options.device] if options.device != AUTO else []
    return shlex.join(words)


def key_of(made: Plan, recipe: Recipe = PLAIN) -> cache.Key:
    """Return all that the file depends on."""
    assert made.source is not None
    options = made.options
    on = ("cuda:0" if options.device == AUTO else options.device) if made.runtime.made_for_device else "cpu"
    libraries = ("perf_inference", *made.runtime.versions)
    if made.kind in ("torch", "transformers", "lerobot"):
        libraries = (*libraries, "torch", f"architecture {options.architecture}")
        libraries = (*libraries, *(f"{key} {number}" for key, number in options.generation().items()))
    return cache.Key(
        name=made.source.stem,
        source_sha256=content.content_hash(content.files_of(made.source), cache.hashes()),
        runtime=made.runtime.name,
        precision=written(made),
        device=machine.identity(on),
        versions={name: version_of(name) or "" for name in libraries},
        shapes=dict(recipe.shapes),
        calibration=recipe.calibration.sha256,
        quantisation=made.runtime.quantisation if options.precision == "int8" else "",
        image=str(recipe.image or ""),
        plan="" if recipe.plan == PLAIN_PLAN else str(recipe.plan),
    )
