"""What TensorRT's builder is told: precision, workspace, shapes, DLA, and the timings of its kernels."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perf_inference.engines.tensorrt.library import dla_core
from perf_inference.errors import ConfigError
from perf_inference.model_build.converters.job import PlanOptions, Range, Shape

_log = logging.getLogger(__name__)
_FLAGS = {
    "fp32": (),
    "fp16": ("FP16",),
    "bf16": ("BF16",),
    "int8": ("INT8", "FP16"),
}  # of the builder, up to TensorRT 10
_NAMED = 5  # layers that the DLA leaves to the GPU


def is_typed(trt: Any) -> bool:
    """Return whether networks compute in what the file says, as from TensorRT 11 on; before, the builder chooses."""
    return not hasattr(trt.BuilderFlag, "FP16")


def set_precision(trt: Any, config: Any, precision: str) -> None:
    """Let the builder use this precision.

    Raises:
        ConfigError: this TensorRT has none such.
    """
    # Left alone, TensorRT multiplies fp32 in TF32, of 10 bits: what says fp32 is to be it.
    config.clear_flag(trt.BuilderFlag.TF32)
    for flag in () if is_typed(trt) else _FLAGS[precision]:
        if not hasattr(trt.BuilderFlag, flag):
            raise ConfigError(f"TensorRT {trt.__version__} has no {precision}; take fp16, or a newer TensorRT")
        config.set_flag(getattr(trt.BuilderFlag, flag))


def set_plan(trt: Any, config: Any, plan: PlanOptions) -> None:
    """Set workspace, effort and what else the plan is to run on.

    Raises:
        ConfigError: this TensorRT cannot.
    """
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, plan.workspace_bytes)
    if plan.optimization_level is not None:
        config.builder_optimization_level = plan.optimization_level
    if plan.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if plan.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS


def set_device(trt: Any, builder: Any, config: Any, network: Any, device: str, precision: str) -> None:
    """Let a DLA take the layers that it can; those that it cannot run on the GPU, and are told.

    Raises:
        ConfigError: no such DLA, or a precision that it has not.
    """
    core = dla_core(device)
    if core is None:
        return
    cores = getattr(builder, "num_DLA_cores", 0)
    if core >= cores:
        raise ConfigError(f"device '{device}' is not here: TensorRT {trt.__version__} finds {cores} DLA core(s)")
    if precision not in ("fp16", "int8"):
        raise ConfigError(f"a DLA computes in fp16 or int8, and not in {precision}; set precision, or device: cuda:0")
    config.default_device_type, config.DLA_core = trt.DeviceType.DLA, core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    left = [layer.name for layer in layers if not config.can_run_on_DLA(layer)]
    if left:
        named = ", ".join(left[:_NAMED]) + (" ..." if len(left) > _NAMED else "")
        _log.warning("%d of %d layers run on the GPU, %s cannot take them: %s", len(left), len(layers), device, named)


def set_shapes(builder: Any, network: Any, config: Any, shapes: Mapping[str, Shape], source: Path) -> None:
    """Fix the inputs' free axes, or give them their range.

    Raises:
        ConfigError: a free axis without a shape, a shape of no input, or one that does not fit it.
    """
    inputs = {tensor.name: tensor for tensor in (network.get_input(index) for index in range(network.num_inputs))}
    if unknown := set(shapes) - set(inputs):
        raise ConfigError(f"'{source}' has no input {', '.join(sorted(unknown))}; it has {', '.join(inputs)}")
    profile = None
    for name, tensor in inputs.items():
        had, wanted = tuple(tensor.shape), shapes.get(name)
        if isinstance(wanted, Range):
            _require_fit(had, wanted, name, source)
            profile = profile or builder.create_optimization_profile()
            profile.set_shape(name, *wanted)
        elif wanted is not None:
            tensor.shape = tuple(wanted)
        elif min(had, default=0) < 0:
            example = ",".join(str(length if length > 0 else 1) for length in had)
            raise ConfigError(
                f"input '{name}' of '{source}' has free axes {list(had)}; say its shape: --shape {name}={example}"
            )
    if profile is not None:
        config.add_optimization_profile(profile)


def _require_fit(had: tuple[int, ...], wanted: Range, name: str, source: Path) -> None:
    """Raise ConfigError unless the range is of this input's axes, and wide at free ones only."""
    for shape in wanted:
        if len(shape) != len(had) or any(have not in (-1, want) for have, want in zip(had, shape, strict=True)):
            free = [None if length < 0 else length for length in had]
            raise ConfigError(f"shape {name}={list(shape)} does not fit input '{name}' {free} of '{source}'")


def read_timings(config: Any, path: Path | None) -> None:
    """Let the builder use what was measured before; what it refuses (another GPU's, damaged) is left aside."""
    try:
        kept = b"" if path is None else path.read_bytes()
    except OSError:
        kept = b""
    for content in (kept, b"") if kept else (b"",):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return


def write_timings(config: Any, path: Path | None) -> None:
    """Keep what was measured, for the next build; where that cannot be, it is told."""
    cache = config.get_timing_cache()
    content = None if path is None or cache is None else cache.serialize()
    if path is None or content is None:
        return
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(memoryview(content))
        temporary.replace(path)
    except OSError as error:
        _log.warning("the timings of TensorRT's kernels cannot be kept, the next build takes as long: %s", error)
