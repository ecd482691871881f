"""ONNX to a TensorRT engine for this GPU; needs the whole of TensorRT, 8.6 to 11, and takes minutes."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from perf_inference.engines.engine import Options
from perf_inference.engines.onnx.metadata import read_metadata
from perf_inference.engines.tensorrt import library
from perf_inference.engines.tensorrt.log import logger
from perf_inference.engines.tensorrt.plan_file import Built, write_plan
from perf_inference.errors import ConfigError
from perf_inference.model_build.converters.job import Job
from perf_inference.model_build.converters.uint8_values import with_uint8_cast

_FLAGS = {
    "fp32": (),
    "fp16": ("FP16",),
    "bf16": ("BF16",),
    "int8": ("INT8", "FP16"),
}  # of the builder, up to TensorRT 10


class Range(NamedTuple):
    """Shapes between which an input may change; the engine is the fastest at `usual`."""

    least: tuple[int, ...]
    usual: tuple[int, ...]
    most: tuple[int, ...]


Shapes = Mapping[str, "Sequence[int] | Range"]
NO_SHAPES: Shapes = {}


_TYPED = 11  # from here on an engine computes in what the ONNX file says; before, the builder may choose fp16


def in_file(precision: str) -> bool:
    """Return whether the ONNX file must have this precision already."""
    return precision == "int8" or (precision == "fp16" and library.major_version() >= _TYPED)


def convert(source: Path, target: Path, job: Job) -> None:
    """Write `target` from an .onnx file."""
    build(source, target, job.options, job.shapes, job.folder, model=job.model)


def build(
    source: Path,
    target: Path,
    options: Options,
    shapes: Shapes = NO_SHAPES,
    timings: Path | None = None,
    workspace_bytes: int = 1 << 30,
    model: str = "",
) -> None:
    """Write an engine (.engine) that the runtime `tensorrt` takes, from an .onnx file.

    Args:
        shapes: of the inputs with free axes: fixed, or a range.
        timings: folder for what TensorRT measured of its kernels; the next build of a like model is quicker.
        workspace_bytes: the most device memory that one layer may use while it runs.
        model: what the command that builds it again names; the source by default.

    Raises:
        ConfigError: no GPU or TensorRT, or a model that it cannot build like this; with what would work.
    """
    precision = "fp32" if options.precision == "auto" else options.precision
    metadata = read_metadata(source)
    device = library.gpu(options.device)  # before TensorRT, which crashes where there is none
    trt = library.building()
    require_source(source, metadata.get("precision", "fp32"), precision, typed=_typed(trt))
    here, log = library.machine(trt, device), logger(trt)
    since = log.errors.mark()
    with device.selected():
        builder = trt.Builder(log)
        network = builder.create_network(_network_flags(trt))
        _parse(trt, network, log, source, precision)
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
        # Left alone, TensorRT multiplies fp32 in TF32, of 10 bits: what says fp32 is to be it.
        config.clear_flag(trt.BuilderFlag.TF32)
        for flag in () if _typed(trt) else _FLAGS[precision]:
            if not hasattr(trt.BuilderFlag, flag):
                raise ConfigError(f"TensorRT {trt.__version__} has no {precision}; take fp16, or a newer TensorRT")
            config.set_flag(getattr(trt.BuilderFlag, flag))
        _set_shapes(builder, network, config, shapes, source)
        words = re.sub(r"\W+", "_", f"{here.tensorrt} {here.gpu} {here.compute_capability}")
        cache = None if timings is None else timings / f"tensorrt_{words}.timings"
        _read_timings(config, cache)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise ConfigError(
                f"TensorRT {trt.__version__} cannot build '{source}' in {precision}: {log.errors.take(since)}"
            )
        _write_timings(config, cache)
    fixed = {name: shape.usual if isinstance(shape, Range) else tuple(shape) for name, shape in shapes.items()}
    built = Built(precision, here.tensorrt, here.gpu, here.compute_capability, model or str(source), fixed)
    write_plan(target, memoryview(plan), {**metadata, "precision": precision}, built)


def require_source(source: Path, stored: str, precision: str, typed: bool) -> None:
    """Raise ConfigError unless a source stored so can be built in this precision.

    Args:
        typed: as from TensorRT 11 on, the engine computes in what the file says; before, the builder chooses.
    """
    if stored == precision or (not typed and stored == "fp32" and precision != "int8"):
        return
    if stored != "fp32":
        raise ConfigError(f"'{source}' is {stored}, which {precision} cannot be built from; take the fp32 model")
    if precision == "bf16":
        raise ConfigError(f"TensorRT 11 builds bf16 only from a file in bf16, '{source}' is {stored}; take fp16")
    if precision == "int8":
        raise ConfigError(f"TensorRT builds int8 from a file in int8, '{source}' is {stored}: {_int8_command(source)}")
    raise ConfigError(
        f"TensorRT builds {precision} from a file in {precision}, '{source}' is {stored}: first perf-inference build "
        f"{source} --runtime onnx --precision {precision}, then the same with --runtime tensorrt on its file"
    )


def _int8_command(source: Path) -> str:
    return f"perf-inference build {source} --runtime tensorrt --precision int8 --calibration FOLDER"


def _parse(trt: Any, network: Any, log: Any, source: Path, precision: str) -> None:
    """Let TensorRT's parser read the model, with uint8 as it takes it.

    Raises:
        ConfigError: it does not take the model.
    """
    parser, since = trt.OnnxParser(network, log), log.errors.mark()
    with tempfile.TemporaryDirectory() as folder:
        path = with_uint8_cast(source, Path(folder) / source.name)
        if not parser.parse_from_file(str(path)):
            parsed = [parser.get_error(index).desc() for index in range(min(2, parser.num_errors))]
            said = "; ".join(parsed) or log.errors.take(since)
            why = (
                "; of int8 it takes what has no zero points, no quantised biases and QDQ pairs on its weights, as "
                + (_int8_command(Path("FP32_MODEL")))
            )
            raise ConfigError(
                f"'{source}' cannot be built for TensorRT {trt.__version__}: {said}{why if precision == 'int8' else ''}"
            )


def _typed(trt: Any) -> bool:
    return not hasattr(trt.BuilderFlag, "FP16")


def _network_flags(trt: Any) -> int:
    """Return the bits of create_network: 8 and 9 want the batch said, from 11 on all are typed."""
    flags = trt.NetworkDefinitionCreationFlag
    names = ("STRONGLY_TYPED",) if _typed(trt) else ("EXPLICIT_BATCH",)
    return sum(1 << int(getattr(flags, name)) for name in names if hasattr(flags, name))


def _set_shapes(builder: Any, network: Any, config: Any, shapes: Shapes, source: Path) -> None:
    """Fix the inputs' free axes, or give them their range.

    Raises:
        ConfigError: a free axis without a shape, or a shape of no input.
    """
    inputs = {tensor.name: tensor for tensor in (network.get_input(index) for index in range(network.num_inputs))}
    profile = None
    for name, tensor in inputs.items():
        had, wanted = tuple(tensor.shape), shapes.get(name)
        if isinstance(wanted, Range):
            profile = profile or builder.create_optimization_profile()
            profile.set_shape(name, *wanted)
        elif wanted is not None:
            tensor.shape = tuple(wanted)
        elif min(had, default=0) < 0:
            example = ",".join(str(length if length > 0 else 1) for length in had)
            raise ConfigError(
                f"input '{name}' of '{source}' has free axes {list(had)}; say its shape: --shape {name}={example}"
            )
    if unknown := set(shapes) - set(inputs):
        raise ConfigError(f"'{source}' has no input {', '.join(sorted(unknown))}; it has {', '.join(inputs)}")
    if profile is not None:
        config.add_optimization_profile(profile)


def _read_timings(config: Any, path: Path | None) -> None:
    try:
        kept = b"" if path is None else path.read_bytes()
    except OSError:
        kept = b""
    config.set_timing_cache(config.create_timing_cache(kept), False)


def _write_timings(config: Any, path: Path | None) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_bytes(memoryview(config.get_timing_cache().serialize()))
    temporary.replace(path)
