"""TensorRT: models are built, run, compared and swapped; with TensorRT for RTX where the other is not installed."""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.bench.gpu_check.found import gpu, off_by, reference, spread, times_ns
from perf_inference.bench.gpu_check.section import Outcome, Skip, Table
from perf_inference.engines import AS_IT_IS, MODELS, Engine, Options, load
from perf_inference.engines.runtimes import SYMMETRIC
from perf_inference.engines.tensorrt.log import logger
from perf_inference.errors import ConfigError, InputError
from perf_inference.model_build.converters import onnx_precision
from perf_inference.model_build.converters import tensorrt as builder
from perf_inference.model_build.converters.job import Range
from perf_inference.model_build.converters.tensorrt_config import is_typed
from perf_inference.telemetry.nvml import Nvml
from perf_inference.testing.engine_contract import check_engine

_MODELS, _SWAPS = ("policy", "detector", "captioner"), 100
_FOLDER = Path(tempfile.mkdtemp(prefix="gpu_check_"))
_ALLOWED = {"fp32": 1e-4, "fp16": 0.02}
_CALIBRATING, _INT8_ALLOWED = 32, 0.1


def library() -> Outcome:
    """Which TensorRT this is."""
    trt = _trt()
    typed = "typed by the file" if is_typed(trt) else "precision by flags"
    said = f"{trt.__name__} {trt.__version__}, {typed}; timing caches, profiles and contexts are in what follows"
    return Outcome(said, hasattr(trt, "OnnxParser"))


def build_and_run() -> Outcome:
    """Build the embedded models in fp32 and fp16, and run them with and without a graph beside the CPU."""
    _trt()
    rows, wrong = [], []
    for model in _MODELS:
        pairs = reference(model)
        for precision in _ALLOWED:
            plan, build_s = _plan(model, precision)
            for wants_graph in (False, True):
                engine = _load(plan, Options(cuda_graph=wants_graph))
                off = off_by(engine, pairs)
                taken = times_ns(lambda engine=engine, pairs=pairs: engine.infer(pairs[0][0]), 50, 0.5)  # type: ignore[misc]
                caught: Any = getattr(engine, "_graph", None)
                parts = " + ".join(f"{value / 1e6:.3f}" for value in engine.parts_ns.values())
                engine.close()
                graph = "yes" if caught is not None else "no"
                size = f"{plan.stat().st_size / 1e6:.1f}"
                rows.append((model, precision, f"{build_s:.1f}", size, graph, *spread(taken), parts, f"{off:.1e}"))
                if off > _ALLOWED[precision] or (wants_graph and caught is None):
                    wrong.append(f"{model} {precision} (graph: {graph}) is off by {off:.1e}")
    head = ("model", "precision", "build [s]", "MB", "graph", "p50 [ms]", "p99", "max", "times", "to + in + from",
            "off by")  # fmt: skip
    return Outcome("; ".join(wrong) or "all near the CPU's outputs", not wrong, table=Table(head, rows))


def calibrated_int8() -> Outcome:
    """Build the embedded models in int8, calibrated as for TensorRT, and run them beside the CPU in fp32."""
    _trt()
    rows, wrong = [], []
    for model in _MODELS:
        pairs = reference(model)
        source, target = _FOLDER / f"{model}_int8.onnx", _FOLDER / f"{model}_int8.engine"
        inputs = [given for given, _ in reference(model, seeds=_CALIBRATING)]
        onnx_precision.convert(MODELS / f"{model}.onnx", source, "int8", inputs, SYMMETRIC)
        builder.build(source, target, Options(precision="int8"), timings=_FOLDER / "timings")
        engine = _load(target)
        off = off_by(engine, pairs)
        taken = times_ns(lambda engine=engine, pairs=pairs: engine.infer(pairs[0][0]), 50, 0.5)  # type: ignore[misc]
        engine.close()
        rows.append((model, f"{target.stat().st_size / 1e6:.1f}", *spread(taken), f"{off:.1e}"))
        if off > _INT8_ALLOWED:
            wrong.append(f"{model} is off by {off:.1e}")
    head = ("model", "MB", "p50 [ms]", "p99", "max", "times", "off by")
    return Outcome("; ".join(wrong) or "all near the CPU's outputs", not wrong, table=Table(head, rows))


def contract() -> Outcome:
    """Put an engine to the checks that every engine must keep."""
    _trt()
    plan, _ = _plan("detector", "fp32")
    check_engine(lambda: _load(plan))
    return Outcome("the detector keeps the contract")


def swaps() -> Outcome:
    """Load, run and close an engine a hundred times, the next before the last is closed, as a hot swap does."""
    _trt()
    plan, _ = _plan("detector", "fp32")
    pairs, nvml, held_mb = reference("detector"), Nvml(), []
    old = _load(plan)
    began_s = time.monotonic()
    for turn in range(_SWAPS):
        new = _load(plan, Options(cuda_graph=bool(turn % 2)))
        off = max(off_by(old, pairs[:1]), off_by(new, pairs[:1]))
        old.close()
        old = new
        if off > _ALLOWED["fp32"]:
            return Outcome(f"swap {turn}: off by {off:.1e}", False)
        samples = nvml.sample()
        held_mb.append((samples[0].memory_used_mb if samples else None) or 0.0)
    old.close()
    nvml.close()
    took_s = time.monotonic() - began_s
    said = f"{_SWAPS} swaps in {took_s:.1f} s: in use {held_mb[0]:.0f} MB after the first, {held_mb[20]:.0f} after 20, "
    return Outcome(f"{said}{held_mb[-1]:.0f} after the last", held_mb[-1] - held_mb[20] < 32, {"held_mb": held_mb})


def an_error_after_a_swap() -> Outcome:
    """Make TensorRT say an error after the engine that came first has gone: it is told, once, and nothing crashes."""
    trt = _trt()
    plan, _ = _plan("detector", "fp32")
    first, second = _load(plan), _load(plan)
    first.close()
    del first
    damaged = _FOLDER / "damaged.engine"
    content = bytearray(plan.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4096] = bytes(4096)
    damaged.write_bytes(content[: len(content) * 3 // 4])
    said = []
    for _ in range(2):
        try:
            _load(damaged).close()
            said.append("it was taken")
        except ConfigError as error:  # noqa: PERF203
            said.append(str(error))
    off = off_by(second, reference("detector"))
    second.close()
    ok = all(text.startswith("TensorRT") and "does not say why" not in text for text in said) and off < 1e-4
    return Outcome(
        f"{trt.__name__}: '{said[0][:300]}'; again: '{said[1][:300]}'; the other engine is off by {off:.1e}", ok
    )


def an_error_is_told_each_time() -> Outcome:
    """Let TensorRT refuse what is no plan, three times: its reason is told each time, by the one logger."""
    trt, said = _trt(), []
    path = _FOLDER / "none.engine"
    for turn in range(3):
        path.write_bytes(b"ftrt" + bytes([turn]) * 4096)
        try:
            load(str(path), "tensorrt", Options(precision="fp32")).close()
        except ConfigError as error:
            said.append(str(error))
    ok = len(said) == 3 and not any("does not say why" in text for text in said) and logger(trt) is logger(trt)
    return Outcome(f"'{said[0][:300] if said else 'it was taken'}'; {len(said)} times", ok)


def a_range_of_shapes() -> Outcome:
    """Build a model with a free batch for 1 to 4, and run batches of 1, 3 and 4; 5 is an InputError."""
    _trt()
    source, weight = _free_model()
    target = _FOLDER / "free.engine"
    shapes = {"x": Range((1, 8), (2, 8), (4, 8))}
    builder.build(source, target, Options(precision="fp32"), shapes, _FOLDER / "timings")
    engine = _load(target)
    worst, said = 0.0, "a batch of 5 was taken"
    for batch in (1, 3, 4, 1):
        x = np.random.default_rng(batch).standard_normal((batch, 8)).astype(np.float32)
        got, wanted = engine.infer({"x": x})["y"], np.maximum(x @ weight, 0)
        worst = max(worst, float(np.abs(got - wanted).max()) if got.shape == wanted.shape else float("inf"))
    try:
        engine.infer({"x": np.zeros((5, 8), np.float32)})
    except InputError as error:
        said = str(error)
    engine.infer({"x": np.zeros((2, 8), np.float32)})  # it goes on
    engine.close()
    return Outcome(f"batches 1, 3, 4, 1 are off by {worst:.1e}; of 5: {said}", worst < 1e-4 and "between" in said)


def a_timing_cache_of_another() -> Outcome:
    """Build with a timing cache that is damaged: the build goes on."""
    _trt()
    source, _ = _free_model()
    folder = _FOLDER / "broken_timings"
    builder.build(source, _FOLDER / "a.engine", Options(precision="fp32"), {"x": (2, 8)}, folder)
    files = list(folder.glob("*")) if folder.is_dir() else []
    for path in files:
        path.write_bytes(b"damaged" * 100)
    builder.build(source, _FOLDER / "b.engine", Options(precision="fp32"), {"x": (2, 8)}, folder)
    return Outcome(f"built again with {[path.name for path in files]} damaged", (_FOLDER / "b.engine").is_file())


def _load(plan: Path, options: Options = AS_IT_IS) -> Engine:
    """Return the engine; where this TensorRT runs on no such GPU, the check is left out."""
    try:
        return load(str(plan), "tensorrt", options)
    except ConfigError as error:
        if "does not support this compute capability" in str(error):
            raise Skip(f"this TensorRT does not run on sm_{gpu().compute_capability.replace('.', '')}") from None
        raise


@cache
def _trt() -> Any:
    """Return the bindings that the package is to use: the whole of TensorRT, else those for RTX, under its name."""
    gpu()
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        try:
            found = importlib.import_module(name)
        except (ImportError, OSError, RuntimeError):
            continue
        if hasattr(found, "Builder"):
            sys.modules["tensorrt"] = found
            return found
    raise Skip("no TensorRT that builds is installed (tensorrt, tensorrt_rtx)")


@cache
def _plan(model: str, precision: str) -> tuple[Path, float]:
    """Return a built model, and how long it took to build [s]."""
    source, target = MODELS / f"{model}.onnx", _FOLDER / f"{model}_{precision}.engine"
    if precision != "fp32" and is_typed(_trt()):
        source = _FOLDER / f"{model}_{precision}.onnx"
        onnx_precision.convert(MODELS / f"{model}.onnx", source, precision)
    began_s = time.monotonic()
    builder.build(source, target, Options(precision=precision), timings=_FOLDER / "timings")
    return target, time.monotonic() - began_s


@cache
def _free_model() -> tuple[Path, NDArray[Any]]:
    """Return a small model with a free batch, and its weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 8]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [given], [made], [numpy_helper.from_array(weight, "w")])
    path = _FOLDER / "free.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path, weight


CHECKS = (
    library,
    build_and_run,
    calibrated_int8,
    contract,
    swaps,
    an_error_after_a_swap,
    an_error_is_told_each_time,
    a_range_of_shapes,
    a_timing_cache_of_another,
)
