"""Which file a wanted runtime and precision are made from: decided without loading anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from perf_inference.engines import AUTO, Options, find_model
from perf_inference.engines.onnx.file import read_onnx_file
from perf_inference.engines.onnx.metadata import read_metadata
from perf_inference.engines.runtimes import RUNTIMES, Runtime, is_remote, runtime_of
from perf_inference.errors import ConfigError
from perf_inference.model_build import precision as precisions

# what a file is for: what can be made of it, and the suffix of what is made
MADE_OF: dict[str, dict[str, str]] = {
    "onnx": {"onnx": ".onnx", "openvino": ".xml", "tensorrt": ".engine"},
    "torch": {
        "onnx": ".onnx",
        "openvino": ".xml",
        "tensorrt": ".engine",
        "torchscript": ".torchscript",
        "torch_export": ".pt2",
    },
}
_SMALL_BYTES = 1 << 24  # of an ONNX file that is looked through when it does not say what it is
_FROM_CHECKPOINTS = ("torchscript", "torch_export")


@dataclass(frozen=True)
class Plan:
    """What runs a model, and whether a file must be made for it first."""

    model: str  # the user's word for it
    runtime: Runtime
    source: Path | None  # None: a server has it
    kind: str  # the runtime that takes the source as it is
    stored: str  # precision of the source's weights, as far as it says
    suffix: str  # of what is to be made; empty: the source runs as it is


def plan(model: str, runtime: str, options: Options) -> Plan:
    """Return how this model can be run.

    Raises:
        ConfigError: no such model or runtime, a precision that the runtime cannot do, or no way from the file to it.
    """
    found = find_model(model, runtime)
    chosen = runtime_of(found, runtime)
    precisions.require(chosen.name, options)
    if is_remote(found):
        return Plan(model, chosen, None, chosen.name, AUTO, "")
    source = Path(found)
    kind = runtime_of(source).name
    if kind == "onnx" and chosen.name in _FROM_CHECKPOINTS:  # of an embedded model the checkpoint is there too
        source = Path(find_model(model, "torch"))
        kind = runtime_of(source).name
    stored = _stored(source) if kind == "onnx" else "fp32"
    if _runs_as_it_is(kind, stored, chosen.name, options.precision):
        return Plan(model, chosen, source, kind, stored, "")
    suffix = MADE_OF.get(kind, {}).get(chosen.name)
    if suffix is None:
        raise ConfigError(
            f"'{source}' is for runtime '{kind}' and cannot be made into one for '{chosen.name}'; take the model's "
            f"{' or '.join(_takes(chosen.name)) or 'own file'}"
        )
    if stored not in ("fp32", options.precision):
        raise ConfigError(
            f"'{source}' is {stored}, and {_wanted(chosen.name, options)} is made from fp32; take that file"
        )
    return Plan(model, chosen, source, kind, stored, suffix)


def _stored(source: Path) -> str:
    """Return the precision of an ONNX file's weights, by what it says or, if it is no big one, by what it has."""
    if said := read_metadata(source).get("precision"):
        return said
    small = source.stat().st_size <= _SMALL_BYTES
    return (read_onnx_file(source).precision if small else None) or "fp32"


def _runs_as_it_is(kind: str, stored: str, runtime: str, precision: str) -> bool:
    if runtime == kind:
        return kind != "onnx" or precision in (AUTO, stored)
    # OpenVINO reads ONNX files, computes in bf16 when asked, and knows what QuantizeLinear means
    return (kind, runtime) == ("onnx", "openvino") and precision in (AUTO, stored, "fp32", "bf16")


def _takes(runtime: str) -> list[str]:
    """Return in words what a runtime's models can be made from."""
    words = {"onnx": ".onnx file", "torch": "checkpoint (.safetensors or .pt)"}
    made = [word for kind, word in words.items() if runtime in MADE_OF[kind]]
    return made or [f"{suffix} file" for suffix in RUNTIMES[runtime].suffixes]


def _wanted(runtime: str, options: Options) -> str:
    return f"{runtime} in {options.precision}" if options.precision != AUTO else f"what {runtime} takes"
