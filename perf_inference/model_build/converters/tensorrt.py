"""ONNX to a TensorRT engine for this GPU; needs the whole of TensorRT, 8.6 to 11, and takes minutes."""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perf_inference.engines.engine import Options
from perf_inference.engines.onnx.metadata import read_metadata
from perf_inference.engines.tensorrt import library
from perf_inference.engines.tensorrt.log import logger
from perf_inference.engines.tensorrt.plan_file import Built, write_plan
from perf_inference.errors import ConfigError
from perf_inference.model_build.converters import tensorrt_config as configure
from perf_inference.model_build.converters.job import PLAIN_PLAN, Job, PlanOptions, Range, Shape
from perf_inference.model_build.converters.uint8_values import with_uint8_cast

NO_SHAPES: Mapping[str, Shape] = {}
_TYPED = 11  # from here on an engine computes in what the ONNX file says; before, the builder may choose fp16


def in_file(precision: str) -> bool:
    """Return whether the ONNX file must have this precision already."""
    return precision == "int8" or (precision == "fp16" and library.major_version() >= _TYPED)


def convert(source: Path, target: Path, job: Job) -> None:
    """Write `target` from an .onnx file."""
    build(source, target, job.options, job.shapes, job.folder, job.plan, job.model)


def build(
    source: Path,
    target: Path,
    options: Options,
    shapes: Mapping[str, Shape] = NO_SHAPES,
    timings: Path | None = None,
    plan: PlanOptions = PLAIN_PLAN,
    model: str = "",
) -> None:
    """Write an engine (.engine) that the runtime `tensorrt` takes, from an .onnx file.

    Args:
        shapes: of the inputs with free axes: fixed, or a range.
        timings: folder for what TensorRT measured of its kernels; the next build of a like model is quicker.
        model: what the command that builds it again names; the source by default.

    Raises:
        ConfigError: no GPU or TensorRT, or a model that it cannot build like this; with what would work.
    """
    precision = "fp32" if options.precision == "auto" else options.precision
    metadata = read_metadata(source)
    device = library.gpu(options.device)  # before TensorRT, which crashes where there is none
    trt = library.building()
    require_source(source, metadata.get("precision", "fp32"), precision, typed=configure.is_typed(trt))
    here, log = library.machine(trt, device), logger(trt)
    with device.selected():
        builder = trt.Builder(log)
        network = builder.create_network(_network_flags(trt))
        _parse(trt, network, log, source, precision)
        config = builder.create_builder_config()
        configure.set_precision(trt, config, precision)
        configure.set_plan(trt, config, plan)
        configure.set_shapes(builder, network, config, shapes, source)
        configure.set_device(trt, builder, config, network, options.device, precision)
        words = re.sub(r"\W+", "_", f"{here.tensorrt} {here.gpu} {here.compute_capability} {here.multiprocessors}")
        kept = None if timings is None else timings / f"tensorrt_{words}.timings"
        configure.read_timings(config, kept)
        since = log.errors.mark()
        made = builder.build_serialized_network(network, config)
        if made is None:
            raise ConfigError(
                f"TensorRT {trt.__version__} cannot build '{source}' in {precision}: {log.errors.take(since)}"
            )
        usual = {name: shape.usual if isinstance(shape, Range) else tuple(shape) for name, shape in shapes.items()}
        built = Built(
            precision, here.tensorrt, here.gpu, here.compute_capability, model or str(source), usual,
            here.multiprocessors, plan.version_compatible, plan.hardware_compatible,
        )  # fmt: skip
        write_plan(target, memoryview(made), {**metadata, "precision": precision}, built)  # the timings can wait
        configure.write_timings(config, kept)


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
        f"{shlex.quote(str(source))} --runtime onnx --precision {precision}, then the same with --runtime tensorrt on "
        "its file"
    )


def _int8_command(source: Path) -> str:
    return f"perf-inference build {shlex.quote(str(source))} --runtime tensorrt --precision int8 --calibration FOLDER"


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


def _network_flags(trt: Any) -> int:
    """Return the bits of create_network: 8 and 9 want the batch said, from 11 on all are typed."""
    flags = trt.NetworkDefinitionCreationFlag
    names = ("STRONGLY_TYPED",) if configure.is_typed(trt) else ("EXPLICIT_BATCH",)
    return sum(1 << int(getattr(flags, name)) for name in names if hasattr(flags, name))
