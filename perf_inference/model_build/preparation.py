"""From a model's file to one that a runtime takes as it is: `prepare`, and `load` on top of it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from perf_inference import engines
from perf_inference.engines import AS_IT_IS, AUTO, Engine, Options
from perf_inference.errors import ConfigError
from perf_inference.model_build import cache, content, machine
from perf_inference.model_build.plan import Plan, plan
from perf_inference.model_build.recipe import Recipe, make, version_of, written

_SLOW = ("tensorrt",)  # building takes minutes: the user says when
_VERSIONS = {  # what a file depends on, by the runtime that it is made for
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("openvino", "onnx", "onnxruntime"),
    "tensorrt": ("tensorrt", "onnx"),
    "torchscript": ("torch",),
    "torch_export": ("torch",),
}


@dataclass(frozen=True)
class Prepared:
    """A model that `engines.load` takes as it is."""

    model: str  # path or address
    runtime: str
    options: Options


PLAIN = Recipe()


def prepare(model: str, runtime: str = AUTO, options: Options = AS_IT_IS, wanted: Recipe | None = None) -> Prepared:
    """Return the model itself where it runs as it is, else the file made of it: from the cache, or made now.

    Args:
        wanted: made so and not otherwise; None: int8 as it was calibrated last, if it was, and PLAIN.

    Raises:
        ConfigError: it cannot be made, or takes minutes and that is not wanted (with the command).
    """
    made = plan(model, runtime, options)
    recipe = PLAIN if wanted is None else wanted
    if made.source is None or not (made.suffix or recipe.shapes or recipe.image):
        return Prepared(str(made.source or model), made.runtime.name, options)
    key = key_of(made, options, recipe)
    suffix = made.suffix or made.source.suffix
    any_calibration = wanted is None and options.precision == "int8"
    if any_calibration and (path := cache.calibrated(key, suffix)):  # better than what can be made here
        return Prepared(str(path), made.runtime.name, options)
    if made.runtime.name in _SLOW and not recipe.patient and cache.find(key, suffix) is None:
        raise ConfigError(
            f"'{model}' must be built for runtime '{made.runtime.name}' on this machine first, which takes minutes: "
            + command(model, made.runtime.name, options)
        )
    path, _ = cache.get(key, suffix, lambda target: make(made, options, recipe, target), recipe.force)
    return Prepared(str(path), made.runtime.name, options)


def load(model: str, runtime: str = AUTO, options: Options = AS_IT_IS) -> Engine:
    """Return an engine for the model in this runtime and precision, made first where that takes seconds.

    Raises:
        ConfigError: it cannot be prepared or loaded.
    """
    prepared = prepare(model, runtime, options)
    return engines.load(prepared.model, prepared.runtime, prepared.options)


def command(model: str, runtime: str, options: Options) -> str:
    """Return the command that builds the model."""
    words = ["perf-inference", "build", model, "--runtime", runtime]
    words += ["--precision", options.precision] if options.precision != AUTO else []
    words += ["--device", options.device] if options.device != AUTO else []
    return shlex.join(words)


def key_of(made: Plan, options: Options, recipe: Recipe = PLAIN) -> cache.Key:
    """Return all that the file depends on."""
    assert made.source is not None
    on = ("cuda:0" if options.device == AUTO else options.device) if made.runtime.name == "tensorrt" else "cpu"
    libraries = ("perf_inference", *_VERSIONS[made.runtime.name])
    if made.kind == "torch":
        libraries = (*libraries, "torch", f"architecture {options.architecture}")
    return cache.Key(
        name=made.source.stem,
        source_sha256=content.content_hash(content.files_of(made.source), cache.hashes()),
        runtime=made.runtime.name,
        precision=written(made, options),
        device=machine.identity(on),
        versions={name: version_of(name) for name in libraries},
        shapes=dict(recipe.shapes),
        calibration=recipe.calibration.sha256,
        image=str(recipe.image or ""),
    )
