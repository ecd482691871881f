"""What a model's file says of itself, read without loading the model."""

from __future__ import annotations

from collections.abc import Mapping

from perf_inference.engines import AS_IT_IS, AUTO, Options
from perf_inference.engines.onnx.metadata import read_metadata
from perf_inference.model_build.plan import Plan, resolve

_NOTHING: Mapping[str, str] = {}


def metadata_of(model: str | Plan, runtime: str = AUTO, options: Options = AS_IT_IS) -> Mapping[str, str]:
    """Return the metadata of an .onnx file or a checkpoint; nothing of other files, and of a server's model.

    Raises:
        ConfigError: there is no such model, or its file is damaged.
    """
    plan = resolve(model, runtime, options)
    if plan.source is None:
        return _NOTHING
    if plan.source.suffix == ".onnx":
        return read_metadata(plan.source)
    if plan.kind == "torch":
        from perf_inference.engines.pytorch.checkpoint import load_checkpoint  # torch loads only when it is used

        return load_checkpoint(plan.source, options.allow_pickle).metadata
    return _NOTHING
