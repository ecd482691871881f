"""Which file a wanted runtime and precision are made from: decided once, without loading anything.

`resolve` looks at the file; `check`, `prove`, `prepare` and `load` take its plan, or the words that it is made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from perf_inference.engines import AS_IT_IS, AUTO, Options, find_model
from perf_inference.engines.lerobot import contract as lerobot
from perf_inference.engines.onnx.file import read_onnx_file
from perf_inference.engines.onnx.metadata import read_metadata
from perf_inference.engines.runtimes import AS_STORED, AT_LOADING, RUNTIMES, Runtime, is_remote, runtime_of
from perf_inference.errors import ConfigError
from perf_inference.model_build import precision as precisions

_NO_METADATA: Mapping[str, str] = MappingProxyType({})
_SMALL_BYTES = 1 << 24  # of an ONNX file that is looked through when it does not say what it is


@dataclass(frozen=True)
class Plan:
    """What runs a model, and whether a file must be made for it first."""

    model: str  # the user's word for it
    runtime: Runtime
    source: Path | None  # None: a server has it
    kind: str  # the runtime that takes the source as it is
    stored: str  # precision of the source's weights, as far as it says
    suffix: str  # of what is to be made; empty: the source runs as it is
    options: Options


def resolve(model: str | Plan, runtime: str = AUTO, options: Options = AS_IT_IS) -> Plan:
    """Return how this model can be run; a plan as it is.

    Raises:
        ConfigError: no such model or runtime, a precision that the runtime cannot do, or no way from the file to it.
    """
    if isinstance(model, Plan):
        return model
    found = find_model(model, runtime)
    chosen = runtime_of(found, runtime)
    precisions.require(chosen, options)
    if is_remote(found):
        return Plan(model, chosen, None, chosen.name, AUTO, "", options)
    source = Path(found)
    kind = runtime_of(source).name
    if kind == "onnx" and chosen.made_from == ("torch",):  # of an embedded model the checkpoint is there too
        source = Path(find_model(model, "torch"))
        kind = runtime_of(source).name
    stored = _stored(source) if kind == "onnx" else "fp32"
    if _runs_as_it_is(source, kind, stored, chosen, options.precision):
        return Plan(model, chosen, source, kind, stored, "", options)
    if kind not in chosen.made_from:
        raise ConfigError(
            f"'{source}' is for runtime '{kind}' and cannot be made into one for '{chosen.name}'; take the model's "
            f"{' or '.join(_takes(chosen)) or 'own file'}"
        )
    if stored not in ("fp32", options.precision):
        raise ConfigError(
            f"'{source}' is {stored}, and {_wanted(chosen.name, options)} is made from fp32; take that file"
        )
    return Plan(model, chosen, source, kind, stored, chosen.made_suffix, options)


def _stored(source: Path) -> str:
    """Return the precision of an ONNX file's weights, by what it says or, if it is no big one, by what it has."""
    said = read_metadata(source).get("precision", "")
    if source.stat().st_size > _SMALL_BYTES:
        return said or "fp32"
    file = read_onnx_file(source)
    return file.labelled(said) if said else file.precision or "fp32"


def _runs_as_it_is(source: Path, kind: str, stored: str, runtime: Runtime, precision: str) -> bool:
    if runtime.name == kind:
        return kind not in runtime.made_from or precision in (AUTO, stored)
    if source.suffix not in runtime.suffixes:
        return False
    return precision in (AUTO, stored) or runtime.precisions[precision] in (AS_STORED, AT_LOADING)


def _takes(runtime: Runtime) -> list[str]:
    """Return in words what a runtime's models can be made from."""
    made = [RUNTIMES[kind].files for kind in runtime.made_from]
    return made or [f"{suffix} file" for suffix in runtime.suffixes]


def _wanted(runtime: str, options: Options) -> str:
    return f"{runtime} in {options.precision}" if options.precision != AUTO else f"what {runtime} takes"


def metadata_of(model: str | Plan, runtime: str = AUTO, options: Options = AS_IT_IS) -> Mapping[str, str]:
    """Return the metadata of an .onnx file or a checkpoint; nothing of other files, and of a server's model.

    Raises:
        ConfigError: there is no such model, or its file is damaged.
    """
    plan = resolve(model, runtime, options)
    if plan.source is None:
        return _NO_METADATA
    if plan.kind == "lerobot":
        return lerobot.metadata_of(plan.source)
    if plan.source.suffix == ".onnx":
        return read_metadata(plan.source)
    if plan.kind == "torch":
        from perf_inference.engines.pytorch.checkpoint import load_checkpoint  # torch loads only when it is used

        return load_checkpoint(plan.source, options.allow_pickle).metadata
    return _NO_METADATA
