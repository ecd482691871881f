"""ONNX Runtime: its providers on this machine, and the engine on the GPU; each check in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import metadata

import numpy as np
import onnxruntime

from perf_inference.bench.gpu_check.found import device, gpu, off_by, reference, spread, times_ns
from perf_inference.bench.gpu_check.section import Outcome, Skip, Table
from perf_inference.doctor import onnx_runtime
from perf_inference.engines import Options, find_model, load
from perf_inference.engines.onnx import cuda_libraries
from perf_inference.engines.onnx.engine import session_options
from perf_inference.engines.onnx.providers import CPU, CUDA, TENSORRT
from perf_inference.telemetry.nvml import Nvml
from perf_inference.testing.engine_contract import check_engine

_MODELS = ("detector", "captioner", "policy", "pruned")
_SWAPS = 40


def providers_here() -> Outcome:
    """Which ONNX Runtime this is, and which of its packages are installed."""
    installed = [
        f"{name} {found}"
        for name in ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")
        if (found := _version(name))
    ]
    said = f"onnxruntime {onnxruntime.__version__} with {', '.join(onnxruntime.get_available_providers())}; installed: "
    said += f"{', '.join(installed)}; preload_dlls: {hasattr(onnxruntime, 'preload_dlls')}; "
    judged = onnx_runtime.onnx_runtime(gpus=int(device() != "cpu"))
    said += f"the doctor: {judged.level}, {judged.value}"
    sound = len(installed) == 1 and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return Outcome(said, (judged.level == "ok") == sound)


def libraries_here() -> Outcome:
    """Which library a provider lacks, before and after pip's are loaded."""
    before = {name: cuda_libraries.missing(name) or "nothing" for name in ("cuda", "tensorrt")}
    cuda_libraries.preload()
    after = {name: cuda_libraries.missing(name) or "nothing" for name in before}
    said = "; ".join(f"{name} lacks {before[name]}, then {after[name]}" for name in before)
    return Outcome(said, after["cuda"] == "nothing")


def the_engine_finds_cuda_by_itself() -> Outcome:
    """Load an engine on the GPU with nothing imported before it that brings CUDA's libraries."""
    _cuda()
    engine = load("detector", "onnx", Options(device="cuda:0"))
    engine.close()
    return Outcome(f"it is {engine.info.runtime} on {engine.info.device}", engine.info.device == "cuda:0")


def embedded_models() -> Outcome:
    """Run every embedded model on the GPU, beside the CPU."""
    _cuda()
    rows, wrong = [], []
    for model in _MODELS:
        pairs = reference(model)
        for where in ("cpu", "cuda:0"):
            engine = load(model, "onnx", Options(device=where))
            off, taken = off_by(engine, pairs), times_ns(lambda engine=engine, pairs=pairs: engine.infer(pairs[0][0]))  # type: ignore[misc]
            parts = " + ".join(f"{value / 1e6:.3f}" for value in engine.parts_ns.values()) or "-"
            engine.close()
            rows.append((model, engine.info.runtime, *spread(taken), parts, f"{off:.1e}"))
            if off > 1e-4:
                wrong.append(f"{model} is off by {off:.1e} on {engine.info.runtime}")
    head = ("model", "runtime", "p50 [ms]", "p99", "max", "times", "to + in + from", "off by")
    return Outcome("; ".join(wrong) or "all near the CPU's outputs", not wrong, table=Table(head, rows))


def what_fp32_is() -> Outcome:
    """How far fp32 is from the CPU's with TF32 as the engine has it, off and on."""
    _cuda()
    pairs = reference("detector")
    engine = load("detector", "onnx", Options(device="cuda:0"))  # loads the libraries, too
    off = {"the engine": off_by(engine, pairs)}
    engine.close()
    for name, flag in (("use_tf32 0", "0"), ("use_tf32 1", "1")):
        session = onnxruntime.InferenceSession(
            find_model("detector", "onnx"), session_options(Options()), providers=[(CUDA, {"use_tf32": flag}), CPU]
        )
        names, worst = [output.name for output in session.get_outputs()], 0.0
        for inputs, expected in pairs:
            got = dict(zip(names, session.run(names, dict(inputs)), strict=True))
            worst = max(worst, *(float(np.abs(got[key] - value).max() / np.abs(value).max())
                                 for key, value in expected.items()))  # fmt: skip
        off[name] = worst
    said = ", ".join(f"{name}: {value:.1e}" for name, value in off.items())
    return Outcome(f"off from the CPU by {said}", off["the engine"] <= 2 * off["use_tf32 0"] + 1e-6, off)


def contract() -> Outcome:
    """Put the engine on the GPU to the checks that every engine must keep."""
    _cuda()
    for model in ("detector", "policy"):
        check_engine(lambda model=model: load(model, "onnx", Options(device="cuda:0")))  # type: ignore[misc]
    return Outcome("detector and policy keep the contract on cuda:0")


def swaps() -> Outcome:
    """Load, run and close an engine many times: the memory in use on the device does not grow."""
    _cuda()
    pairs, nvml, held_mb = reference("detector"), Nvml(), []
    for _ in range(_SWAPS):
        engine = load("detector", "onnx", Options(device="cuda:0"))
        off_by(engine, pairs[:1])
        engine.close()
        del engine
        samples = nvml.sample()
        held_mb.append((samples[0].memory_used_mb if samples else None) or 0.0)
    nvml.close()
    said = f"{_SWAPS} swaps: in use {held_mb[0]:.0f} MB after the first, {held_mb[10]:.0f} after 10, {held_mb[-1]:.0f} "
    return Outcome(f"{said}after the last", held_mb[-1] - held_mb[10] < 32, {"held_mb": held_mb})


def a_gpu_that_is_not_here() -> Outcome:
    """A GPU too many is refused, and not taken for the first one."""
    _cuda()
    try:
        engine = load("detector", "onnx", Options(device="cuda:7"))
    except Exception as error:
        return Outcome(f"{type(error).__name__}: {error}", type(error).__name__ == "ConfigError")
    return Outcome(f"it was taken, on {engine.info.device}", False)


def tensorrt_options() -> Outcome:
    """Give the TensorRT provider booleans in two spellings: which of them its parser takes."""
    if TENSORRT not in onnxruntime.get_available_providers():
        raise Skip("this ONNX Runtime has no TensorRT provider")
    gpu()
    said = {}
    for spelling in ("1", "True"):
        said[spelling] = _said(lambda spelling=spelling: _with_fp16(spelling))  # type: ignore[misc]
    said["the engine"] = _said(lambda: load("policy", "onnx", Options(providers=("tensorrt",), device="cuda:0")))
    if (lacks := cuda_libraries.missing("tensorrt")) and lacks in said["the engine"]:
        raise Skip(f"TensorRT parses no options where it is not installed, and the engine says so: {lacks}")
    ok = "should be" in said["1"] and "should be" not in said["True"] and said["the engine"].startswith("taken")
    return Outcome("; ".join(f"{name}: {text}" for name, text in said.items()), ok)


def sleeping_waits() -> Outcome:
    """Run the detector with `blocking_wait`, and without: what a wait costs the processor, and the latency."""
    _cuda()
    rows, pairs = [], reference("detector")
    for blocking in (False, True):  # in this order: the context's flag stays set
        engine = load("detector", "onnx", Options(device="cuda:0", blocking_wait=blocking))
        began_s, began_cpu_s = time.perf_counter(), time.thread_time()
        taken = times_ns(lambda engine=engine: engine.infer(pairs[0][0]), 200, 1.0)  # type: ignore[misc]
        share = 100 * (time.thread_time() - began_cpu_s) / (time.perf_counter() - began_s)
        off = off_by(engine, pairs)
        engine.close()
        rows.append(("sleeps" if blocking else "spins", f"{share:.0f} %", *spread(taken), f"{off:.1e}"))
    head = Table(("wait", "of a core", "p50 [ms]", "p99", "max", "times", "off by"), rows)
    return Outcome(f"{rows[1][1]} of a core with waits that sleep, {rows[0][1]} with others", table=head)


def _with_fp16(spelling: str) -> object:
    return onnxruntime.InferenceSession(
        find_model("policy", "onnx"),
        session_options(Options()),
        providers=[(TENSORRT, {"trt_fp16_enable": spelling})],
        enable_fallback=0,
    ).get_providers()


def _said(call: Callable[[], object]) -> str:
    try:
        return f"taken, {call()}"
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())[:260]


def _cuda() -> None:
    if CUDA not in onnxruntime.get_available_providers():
        raise Skip(f"this ONNX Runtime has no {CUDA}: it has {', '.join(onnxruntime.get_available_providers())}")
    gpu()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


CHECKS = (
    providers_here,
    libraries_here,
    the_engine_finds_cuda_by_itself,
    embedded_models,
    what_fp32_is,
    contract,
    swaps,
    a_gpu_that_is_not_here,
    tensorrt_options,
    sleeping_waits,
)
