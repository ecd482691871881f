"""Whether a runtime can do a precision, and what would work where it cannot."""

from __future__ import annotations

from perf_inference.engines.engine import PRECISIONS, Options
from perf_inference.engines.runtimes import Runtime
from perf_inference.errors import ConfigError


def bytes_of(precision: str) -> int:
    """Return the size of one weight [bytes]; of fp32 where the precision is not said."""
    return {"fp16": 2, "bf16": 2, "int8": 1}.get(precision, 4)


def require(runtime: Runtime, options: Options) -> None:
    """Raise ConfigError, with what would work, unless the runtime can do the precision."""
    precision = options.precision
    if precision == "auto" or precision in runtime.precisions:
        return
    if precision not in PRECISIONS:
        raise ConfigError(f"precision must be one of auto, {', '.join(PRECISIONS)}, got '{precision}'")
    can = f"it can do {', '.join(runtime.precisions)}"
    why = runtime.instead.get(precision) or runtime.instead.get("") or can
    raise ConfigError(f"runtime '{runtime.name}' cannot run in {precision}: {why}")
