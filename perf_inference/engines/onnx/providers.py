"""ONNX Runtime's execution providers: which ones a session gets, in which order, and which it then really has.

Where a provider cannot be used (its library is missing, the driver is too old), ONNX Runtime goes on without it and
says so on stderr alone. Here a provider or a device that was asked for by name is used or the start ends; only where
all was left open does the next provider take over.

TensorRT's provider is taken only where it is named: it builds its engines at the first start, for minutes, which a
trial would not wait for. fp32 is fp32 in all of them: CUDA's has an option for TF32 (of 10 bits), TensorRT's has only
NVIDIA's environment variable (onnxruntime#26029), which counts if it is set before the library is loaded.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import onnxruntime

from perf_inference.devices import broken
from perf_inference.devices.cuda_driver import load_driver
from perf_inference.engines.engine import Options
from perf_inference.engines.onnx import cuda_libraries
from perf_inference.engines.onnx.file import OnnxFile
from perf_inference.errors import ConfigError
from perf_inference.files.private import own_folder

TENSORRT, CUDA = "TensorrtExecutionProvider", "CUDAExecutionProvider"
OPENVINO, CPU = "OpenVINOExecutionProvider", "CPUExecutionProvider"
_ORDER = (CUDA, OPENVINO, CPU)
_YES = "True"  # what its parser takes besides "true"; "1" is refused (onnxruntime#14091)
_DEVICE = re.compile(r"auto|cpu|npu|(cuda|gpu)(:\d+)?")
_PLACE = re.compile(r"^/\S+\.cc:\d+ .*?\) ")
_log = logging.getLogger(__name__)


class Provider(NamedTuple):
    """An execution provider and its options."""

    name: str
    options: dict[str, str]
    device: str  # that it then runs on

    @property
    def short_name(self) -> str:
        return _short(self.name)


def providers(file: OnnxFile, options: Options, present: Sequence[str]) -> list[Provider]:
    """Return those of the present providers that the options allow, best first, the CPU last.

    Raises:
        ConfigError: a provider that is not here, or a device that none of those here has.
    """
    device = options.device
    if not _DEVICE.fullmatch(device):
        raise ConfigError(f"device must be auto, cpu, cuda:N, gpu:N or npu, got '{device}'")
    chosen = [_full_name(name, present) for name in options.providers] or [name for name in _ORDER if name in present]
    fitting = [name for name in chosen if _has(name, device, named=bool(options.providers))]
    if not fitting:
        instead = f"{cuda_libraries.install()}, or set device: cpu" if device.startswith("cuda") else "set device: auto"
        raise ConfigError(f"no execution provider for device '{device}' among {', '.join(chosen)}; {instead}")
    return [_provider(name, file, options) for name in dict.fromkeys((*fitting, CPU))]


def open_session(file: OnnxFile, session_options: Any, options: Options) -> tuple[Any, Provider]:
    """Return a session, and the provider that is first in it.

    Raises:
        ConfigError: ONNX Runtime does not take the model, or not on the device or by the providers asked for.
        BrokenDeviceError: an error has broken this process' CUDA on the device.
    """
    wanted = providers(file, options, onnxruntime.get_available_providers())
    _prepare_cuda(wanted, options.blocking_wait)
    reasons: dict[str, str] = {}  # by the provider that was first in an attempt: why that did not do
    for given in attempts(wanted, options):
        try:
            session = onnxruntime.InferenceSession(
                str(file.path), session_options, providers=[(one.name, one.options) for one in given], enable_fallback=0
            )
        except Exception as error:
            reasons[given[0].name] = _lacking(given[0]) or first_line(error)
            continue
        session.disable_fallback()  # `run` must fail and not go on elsewhere
        used = _used(session, given)
        for one in [one for one in given if one not in used]:
            why = _lacking(one) or "a library or driver is missing, as ONNX Runtime has said on stderr"
            reasons.setdefault(given[0].name, why)
        if _lacks(used, given, options):
            continue
        if used[0] != wanted[0]:
            why = reasons[wanted[0].name]
            _log.warning("'%s' runs on %s: %s cannot be used: %s", file.path, used[0].name, wanted[0].name, why)
        return session, used[0]
    why = reasons[given[0].name]
    if not options.providers and options.device in ("auto", "cpu"):
        raise ConfigError(f"'{file.path}' is no model that ONNX Runtime takes: {why}")
    if wanted[0].name == TENSORRT:
        why += (
            f"; or build it for runtime tensorrt: perf-inference build {shlex.quote(str(file.path))} --runtime tensorrt"
        )
    by = f"by {', '.join(options.providers)} " if options.providers else ""
    raise ConfigError(
        f"'{file.path}' cannot be run {by}on device '{options.device}': {why}; install what is missing, or leave "
        "providers and device open"
    )


def _prepare_cuda(wanted: Sequence[Provider], blocking_wait: bool) -> None:
    """Let the libraries be found that CUDA's providers need, and let TensorRT calculate in fp32."""
    for one in wanted:
        if one.name in (CUDA, TENSORRT):
            cuda_libraries.preload()
            if broken.is_broken(index := broken.index_of(one.device)):
                broken.check(index)
            if blocking_wait and (driver := load_driver()) is not None and index < driver.devices:
                driver.wait_blocked(index)
        if one.name == TENSORRT:
            os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")


def _lacking(provider: Provider) -> str:
    return cuda_libraries.missing(provider.short_name) if provider.name in (CUDA, TENSORRT) else ""


def attempts(wanted: Sequence[Provider], options: Options) -> list[Sequence[Provider]]:
    """Return what to try in turn: all providers, then without the best, as far as the device asked for has others."""
    if options.providers:
        return [wanted]
    rests = [wanted[first:] for first in range(len(wanted))]
    return [rest for rest in rests if options.device == "auto" or rest[0].device == wanted[0].device]


def _used(session: Any, given: Sequence[Provider]) -> list[Provider]:
    """Return those that a session has, on their device.

    ONNX Runtime before 1.23 does not know `enable_fallback`, and then takes CUDA's first device.
    """
    has: dict[str, dict[str, str]] = session.get_provider_options()

    def there(one: Provider) -> bool:
        index = one.options.get("device_id", "")
        return not index or has[one.name].get("device_id", index) == index

    return [one for one in given if one.name in has and there(one)]


def _lacks(used: Sequence[Provider], given: Sequence[Provider], options: Options) -> bool:
    """Return whether a session has gone on without what was asked for by name."""
    if options.providers:
        return len(used) < len(given)
    return options.device != "auto" and used[0].device != given[0].device


def first_line(error: BaseException) -> str:
    """Return what an error says, without the place in ONNX Runtime's sources before it and the traces below it."""
    lines = _PLACE.sub("", str(error).strip()).splitlines()
    return lines[0] if lines else type(error).__name__


def _short(name: str) -> str:
    return name.removesuffix("ExecutionProvider").lower()


def _full_name(name: str, present: Sequence[str]) -> str:
    for full in present:
        if name.lower() in (full.lower(), _short(full)):
            return full
    raise ConfigError(
        f"provider '{name}' is not in this ONNX Runtime, which has {', '.join(present)}; name one of these"
    )


def _has(provider: str, device: str, named: bool) -> bool:
    """Return whether a provider is for this device; OpenVINO is for the CPU where it is named."""
    if device == "auto":
        return True
    if provider in (TENSORRT, CUDA):
        return device.startswith("cuda")
    if provider == OPENVINO:
        return device.startswith("gpu") or device == "npu" or (device == "cpu" and named)
    return device == "cpu" if provider == CPU else named


def _provider(name: str, file: OnnxFile, options: Options) -> Provider:
    kind, _, index = options.device.partition(":")
    index = index or "0"
    if name == TENSORRT:
        return Provider(name, {"device_id": index, **tensorrt_options(file)}, f"cuda:{index}")
    if name == CUDA:
        return Provider(name, {"device_id": index, "use_tf32": "0"}, f"cuda:{index}")
    if name == OPENVINO:
        device = {"gpu": f"GPU.{index}", "npu": "NPU"}.get(kind, "CPU")
        given = {"device_type": device, "precision": "ACCURACY"}  # as the file is: by itself it takes fp16 on a GPU
        if options.threads:
            given["num_of_threads"] = str(options.threads)
        return Provider(name, given, device.lower().replace(".", ":"))
    return Provider(name, {}, _short(name))


def tensorrt_options(file: OnnxFile) -> dict[str, str]:
    """Return what keeps TensorRT from building its engines, which takes minutes, at every start.

    ONNX Runtime names an engine by the network's structure, the versions and the GPU, not by the weights: hence a
    folder for each file's content. TensorRT refuses weights of a precision that was not switched on.
    """
    given = {}
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perf_inference" / "onnx_tensorrt"
        engines = base / file.digest()
        own_folder(own_folder(own_folder(base.parent) / base.name) / engines.name)  # a plan in it is code
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
        _log.warning("TensorRT builds its engines at every start, for it has no cache: %s", error)
    else:
        if not any(engines.iterdir()):
            _log.warning(
                "TensorRT builds its engine of '%s' now, at the first start with its provider, which takes minutes. A "
                "plan is built beforehand: perf-inference build %s --runtime tensorrt", file.path, file.path
            )  # fmt: skip
        given = {"trt_engine_cache_enable": _YES, "trt_engine_cache_path": str(engines),
                 "trt_timing_cache_enable": _YES, "trt_timing_cache_path": str(base)}  # fmt: skip
    if file.precision in ("fp16", "bf16", "int8"):
        given[f"trt_{file.precision}_enable"] = _YES
    return given
