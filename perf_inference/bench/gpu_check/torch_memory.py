"""Too little memory on the device: a batch is halved, a model that does not fit is refused, or runs on the CPU."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from perf_inference.bench.gpu_check.found import torch_gpu
from perf_inference.bench.gpu_check.section import Outcome
from perf_inference.engines import Engine, Options, load

_BATCH = 256


def a_batch_is_halved() -> Outcome:
    """Run a batch for which there is no room: it is run in parts, with the same outputs."""
    return _halve(cuda_graph=False)


def a_batch_is_halved_with_graphs() -> Outcome:
    """The same where each shape has a CUDA graph, which holds memory of its own."""
    return _halve(cuda_graph=True)


def _halve(cuda_graph: bool) -> Outcome:
    torch = torch_gpu()
    options = Options(device="cuda:0", precision="fp32", cuda_graph=cuda_graph)
    images = np.random.default_rng(0).standard_normal((_BATCH, 3, 224, 224)).astype(np.float32)
    with _resnet(options) as engine:
        parts = [np.array(engine.infer({"images": images[at : at + 16]})["scores"]) for at in range(0, _BATCH, 16)]
        wanted = np.concatenate(parts)
        torch.cuda.empty_cache()
        with _only(torch, 900 << 20):
            got = np.array(engine.infer({"images": images})["scores"])
        most: Any = getattr(engine, "_most", None)
        again = np.array(engine.infer({"images": images})["scores"])
    off = max(float(np.abs(have - wanted).max() / np.abs(wanted).max()) for have in (got, again))
    said = f"a batch of {_BATCH} with 0.9 GiB to take was run in parts of {most}, off by {off:.1e} from parts of 16"
    return Outcome(said, off < 1e-2 and most is not None and most < _BATCH, {"most": most, "off": off})


def a_model_that_does_not_fit_is_refused() -> Outcome:
    """Load a model for which there is no room on a device that is named: refused with what would fit."""
    torch = torch_gpu()
    torch.cuda.empty_cache()

    def refused() -> str:
        with _only(torch, 8 << 20), _resnet(Options(device="cuda:0", precision="fp32")):
            return ""

    said = _said(refused)
    return Outcome(said or "it was taken", said.startswith("NoRoomError"))


def a_model_that_does_not_fit_runs_on_the_cpu() -> Outcome:
    """The same where the device is left open: it runs on the CPU, with a warning."""
    torch = torch_gpu()
    torch.cuda.empty_cache()
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("perf_inference").addHandler(handler)
    with _only(torch, 8 << 20), _resnet(Options(device="auto", precision="fp32")) as engine:
        where = engine.info.device
    logging.getLogger("perf_inference").removeHandler(handler)
    return Outcome(f"it runs on {where}; warned: {heard}", where == "cpu" and len(heard) == 1)


def the_device_is_usable_afterwards() -> Outcome:
    """After all that, a model loads and runs."""
    torch_gpu()
    engine = load("detector", "torch", Options(device="cuda:0"))
    engine.close()
    return Outcome(f"the detector runs on {engine.info.device}", engine.info.device == "cuda:0")


@contextmanager
def _only(torch: Any, more_bytes: int) -> Iterator[None]:
    """Let PyTorch take this much more than it has, whatever the card has."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(0) + more_bytes) / total, 0)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)


@contextmanager
def _resnet(options: Options) -> Iterator[Engine]:
    from perf_inference.bench.resnet import architecture, resnet50
    from perf_inference.engines.architectures import register
    from perf_inference.engines.pytorch.checkpoint import save_checkpoint

    register("resnet50", architecture)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet50.safetensors"
        save_checkpoint(path, "resnet50", resnet50().state_dict())
        engine = load(str(path), "torch", options)
        try:
            yield engine
        finally:
            engine.close()


def _said(call: Callable[[], str]) -> str:
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


CHECKS = (
    a_batch_is_halved,
    a_batch_is_halved_with_graphs,
    a_model_that_does_not_fit_is_refused,
    a_model_that_does_not_fit_runs_on_the_cpu,
    the_device_is_usable_afterwards,
)
