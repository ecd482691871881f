"""The engine that a benchmark runs, as its flags name it, and arrays to run it on."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from perf_inference.engines import AUTO, ArraySpec, Engine, Options
from perf_inference.errors import ConfigError
from perf_inference.quantities import whole
from perf_inference.testing.samples import sample

_SEED = 1
_MOST_BYTES = 1 << 30


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says how a model is run."""
    parser.add_argument("--runtime", default=AUTO, help="onnx, torch, openvino, ... (default: what the file is for)")
    parser.add_argument("--precision", default=AUTO, help="fp32, fp16, bf16, int8 (default: as the file is)")
    parser.add_argument("--device", default=AUTO, help="cpu, cuda:N, ... (default: a GPU where there is one)")
    parser.add_argument("--threads", type=whole, default=0, help="of one inference on a CPU (default: one per core)")
    parser.add_argument("--shape", metavar="NAME=1,3,640,640", action="append", default=[], type=_shape,
                        help="of an input that has free axes; may be repeated")  # fmt: skip


def engine_of(model: str, options: argparse.Namespace) -> Engine:
    """Return the engine that these flags ask for, built first where that is needed.

    Raises:
        ConfigError: it cannot be prepared or loaded.
    """
    from perf_inference import model_build

    if options.threads < 0:
        raise ConfigError(f"--threads must be 0 (one per core) or more, got {options.threads}")
    how = Options(precision=options.precision, device=options.device, threads=options.threads)
    return model_build.load(model, options.runtime, how)


def inputs_of(engine: Engine, shapes: Sequence[tuple[str, tuple[int, ...]]] = ()) -> Mapping[str, NDArray[Any]]:
    """Return random arrays that the engine takes; a free first axis (the batch) is 1.

    Raises:
        ConfigError: another axis is free and no shape was given for it, or a shape does not fit.
    """
    given = dict(shapes)
    if unknown := set(given) - {spec.name for spec in engine.inputs}:
        names = ", ".join(spec.name for spec in engine.inputs)
        raise ConfigError(f"--shape must name one of the model's inputs ({names}), got {', '.join(sorted(unknown))}")
    return sample([_fixed(spec, given.get(spec.name)) for spec in engine.inputs], _SEED)


def engine_text(engine: Engine) -> str:
    """Return what runs, in words."""
    info = engine.info
    return f"{info.name}, {info.runtime}, {info.precision}, {info.device}"


def _fixed(spec: ArraySpec, given: tuple[int, ...] | None) -> ArraySpec:
    shape: tuple[int | None, ...] = given or (
        *(1 if length is None else length for length in spec.shape[:1]),
        *spec.shape[1:],
    )
    if None in shape or len(shape) != len(spec.shape):
        free = ",".join("?" if length is None else str(length) for length in spec.shape)
        raise ConfigError(f"input '{spec.name}' is {free}: give its lengths with --shape {spec.name}=...")
    wanted = tuple(int(length or 0) for length in shape)
    if any(want is not None and want != have for want, have in zip(spec.shape, wanted, strict=True)):
        raise ConfigError(f"--shape of '{spec.name}' must fit {list(spec.shape)}, got {list(wanted)}")
    made = replace(spec, shape=wanted)
    bytes_ = spec.dtype.itemsize
    for length in wanted:
        bytes_ *= length
    if bytes_ > _MOST_BYTES:
        raise ConfigError(f"--shape of '{spec.name}' must take at most {_MOST_BYTES >> 20} MiB")
    return made


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, lengths = text.partition("=")
    numbers = lengths.split(",")
    if not name or not all(number.isdecimal() and 0 < int(number) < 1 << 31 for number in numbers):
        raise argparse.ArgumentTypeError(f"must be NAME=1,3,640,640, got '{text}'")
    return name, tuple(map(int, numbers))
