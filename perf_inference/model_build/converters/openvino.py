"""ONNX to OpenVINO's own files: .xml with the graph and what the model says of itself, .bin with the weights."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from perf_inference.engines.onnx.metadata import read_metadata
from perf_inference.engines.openvino.engine import last_line, stored_precision
from perf_inference.engines.openvino.library import openvino
from perf_inference.engines.openvino.metadata import RT_INFO
from perf_inference.errors import ConfigError
from perf_inference.model_build.converters.job import Job

NO_SHAPES: Mapping[str, Sequence[int]] = {}


def in_file(precision: str) -> bool:
    """Return whether the ONNX file must have this precision already."""
    return precision == "int8"


def convert(source: Path, target: Path, job: Job) -> None:
    """Write `target` from an .onnx file that has its shapes."""
    write(source, target, job.precision)


def write(source: Path, target: Path, precision: str, shapes: Mapping[str, Sequence[int]] = NO_SHAPES) -> None:
    """Write `target` (.xml, its .bin beside it) from an .onnx file.

    Args:
        precision: fp32; fp16 rounds the weights; int8 takes a source that is quantised (QuantizeLinear and
            DequantizeLinear nodes).
        shapes: input name -> shape, for inputs that are to be fixed.

    Raises:
        ConfigError: a source that OpenVINO does not take, or that cannot be had in this precision.
    """
    try:
        metadata = read_metadata(source)
        model = openvino.Core().read_model(source)
        if shapes:
            model.reshape({name: list(shape) for name, shape in shapes.items()})
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"'{source}' cannot be converted to OpenVINO: {last_line(error)}") from error
    _check(stored_precision(model, metadata), precision, source)
    model.set_rt_info(json.dumps({**metadata, "precision": precision}), list(RT_INFO))
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}-") as folder:
        written = Path(folder) / f"{target.stem}.xml"
        openvino.save_model(model, written, compress_to_fp16=precision == "fp16")
        written.with_suffix(".bin").replace(target.with_suffix(".bin"))
        written.replace(target)  # last: a reader finds both or none


def _check(stored: str, precision: str, source: Path) -> None:
    """Raise ConfigError unless a model stored so can be written in this precision."""
    if precision == "bf16":
        raise ConfigError(
            "OpenVINO has no files in bf16; build fp32, and run it with precision: bf16 where the device can"
        )
    if precision == "int8" and stored != "int8":
        raise ConfigError(
            f"'{source}' is {stored}, and OpenVINO takes int8 from a quantised ONNX file: first perf-inference build "
            f"{shlex.quote(str(source))} --runtime onnx --precision int8, then the same with --runtime openvino on its "
            "file"
        )
    if precision != stored and stored != "fp32":
        raise ConfigError(f"'{source}' is {stored}, which {precision} cannot be made from; take the fp32 model")
