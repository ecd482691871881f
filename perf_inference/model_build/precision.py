"""What each runtime can do at each precision, and what would work where it cannot: one table."""

from __future__ import annotations

from perf_inference.engines.engine import PRECISIONS, Options
from perf_inference.errors import ConfigError

AS_IT_IS = "as the file is"
AT_LOADING = "cast while it is loaded"
BUILT = "built once, kept in the cache"

WAYS: dict[str, dict[str, str]] = {
    "onnx": {"fp32": AS_IT_IS, "fp16": BUILT, "int8": BUILT},
    "torch": {"fp32": AS_IT_IS, "fp16": AT_LOADING, "bf16": AT_LOADING, "int8": AT_LOADING},
    "torchscript": {"fp32": BUILT, "fp16": BUILT, "bf16": BUILT, "int8": BUILT},
    "torch_export": {"fp32": BUILT, "fp16": BUILT, "bf16": BUILT},
    "openvino": {"fp32": AS_IT_IS, "fp16": BUILT, "bf16": AT_LOADING, "int8": BUILT},
    "tensorrt": {"fp32": BUILT, "fp16": BUILT, "bf16": BUILT, "int8": BUILT},
    "remote": {},
}
_INSTEAD = {
    ("onnx", "bf16"): "ONNX Runtime's CPU kernels have no bf16; use precision fp16, or runtime torch or openvino",
    ("torch_export", "int8"): "torch.export takes no module that is quantised while it runs; use runtime torchscript",
    ("remote", ""): "a remote model has the precision that its server gives it; set precision: auto",
}


def bytes_of(precision: str) -> int:
    """Return the size of one weight [bytes]; of fp32 where the precision is not said."""
    return {"fp16": 2, "bf16": 2, "int8": 1}.get(precision, 4)


def require(runtime: str, options: Options) -> None:
    """Raise ConfigError, with what would work, unless the runtime can do the precision."""
    precision = options.precision
    if precision == "auto" or precision in WAYS[runtime]:
        return
    if precision not in PRECISIONS:
        raise ConfigError(f"precision must be one of auto, {', '.join(PRECISIONS)}, got '{precision}'")
    why = _INSTEAD.get((runtime, precision)) or _INSTEAD[runtime, ""]
    raise ConfigError(f"runtime '{runtime}' cannot run in {precision}: {why}")
