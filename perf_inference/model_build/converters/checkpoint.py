"""A registered network's checkpoint as ONNX, TorchScript or a program of torch.export, with its metadata."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from perf_inference.engines import Options, architectures
from perf_inference.engines.architectures import Architecture
from perf_inference.engines.engine import ArraySpec
from perf_inference.engines.model_card import CARD_FILE, ModelCard
from perf_inference.engines.policy_folder import is_config, sign_of
from perf_inference.engines.pytorch.call import CpuCall
from perf_inference.engines.pytorch.checkpoint import load_checkpoint
from perf_inference.engines.pytorch.outputs import flat, output_specs, try_out
from perf_inference.engines.pytorch.precision import in_precision
from perf_inference.errors import ConfigError, PerfInferenceError
from perf_inference.files.json_file import read_json
from perf_inference.model_build.converters.inner_graph import with_graph
from perf_inference.model_build.converters.lerobot import policies

_OPSET = 17

Shapes = Mapping[str, tuple[int, ...]]
Example = tuple[torch.Tensor, ...]


def write(source: Path, target: Path, options: Options, shapes: Shapes) -> None:
    """Write the checkpoint as what the target's suffix says: .onnx (always fp32), .torchscript or .pt2.

    Args:
        shapes: of inputs whose free axes are to be fixed.

    Raises:
        ConfigError: the file is no checkpoint, its network is not known, or it cannot be exported.
    """
    if source.is_dir() and is_config(read_json(sign_of(source))):
        policy = policies.architecture(source)
        _write(_fixed(policy, shapes), policy.metadata, source, target, options)
        return
    if source.is_dir():
        from perf_inference.engines.huggingface import audio  # transformers loads only when it is used

        sound = audio.described(source)
        network = _fixed(Architecture(sound.module, audio.INPUTS, audio.OUTPUTS), shapes)
        _write(network, sound.metadata, source, target, options)
        return
    checkpoint = load_checkpoint(source, options.allow_pickle)
    name = options.architecture or checkpoint.architecture
    if not name:
        raise ConfigError(
            f"'{source}' does not say which network its weights are for; give --architecture, one of "
            + ", ".join(architectures.names())
        )
    wanted = {**checkpoint.metadata, **options.generation()}
    network = _fixed(architectures.build(name, checkpoint.weights, wanted), shapes)
    _write(network, {**checkpoint.metadata, **network.metadata, "architecture": name}, source, target, options)


def _write(network: Architecture, metadata: Mapping[str, str], source: Path, target: Path, options: Options) -> None:
    precision = "fp32" if options.precision == "auto" or target.suffix == ".onnx" else options.precision
    try:
        with _quiet(), torch.no_grad():
            module = in_precision(network.module.eval().requires_grad_(False), precision)
            trial = try_out(CpuCall(flat(module, network.outputs)).run, network.inputs)
            outputs = output_specs(trial, network.outputs, owned=True)
            card = ModelCard(source.stem, precision, network.inputs, outputs, metadata)
            # The second run's free axes are not 1, which would be traced as a constant.
            _WRITERS[target.suffix](module, target, card, tuple(map(torch.from_numpy, trial.inputs[1])))
    except PerfInferenceError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError(f"'{source}' cannot be exported as {target.suffix} in {precision}: {said}") from error


def _fixed(network: Architecture, shapes: Shapes) -> Architecture:
    unknown = shapes.keys() - {spec.name for spec in network.inputs}
    fixed = tuple(
        replace(spec, shape=tuple(shapes[spec.name])) if spec.name in shapes else spec for spec in network.inputs
    )
    wrong = [spec.name for spec, had in zip(fixed, network.inputs, strict=True) if not _fits(spec, had)]
    if unknown or wrong:
        raise ConfigError(
            f"shape of {', '.join(sorted({*unknown, *wrong}))} does not fit the network: its inputs are "
            + ", ".join(f"{spec.name} {list(spec.shape)}" for spec in network.inputs)
        )
    return replace(network, inputs=fixed)


def _fits(spec: ArraySpec, had: ArraySpec) -> bool:
    return len(spec.shape) == len(had.shape) and all(b in (None, a) for a, b in zip(spec.shape, had.shape, strict=True))


def _onnx(module: torch.nn.Module, target: Path, card: ModelCard, example: Example) -> None:
    import onnx

    free = {
        spec.name: {axis: f"{spec.name}_{axis}" for axis, length in enumerate(spec.shape) if length is None}
        for spec in (*card.inputs, *card.outputs)
        if None in spec.shape
    }
    # The exporter that traces: the other one (dynamo) needs onnxscript.
    torch.onnx.export(
        module,
        example,
        str(target),
        input_names=[spec.name for spec in card.inputs],
        output_names=[spec.name for spec in card.outputs],
        dynamic_axes=free,
        opset_version=_OPSET,
        dynamo=False,
    )
    model = onnx.load(target)
    content = next((part.onnx_content for part in module.modules() if hasattr(part, "onnx_content")), b"")
    if content:
        model = with_graph(model, content)
    onnx.helper.set_model_props(model, {**card.metadata, "precision": card.precision})
    onnx.save(model, target)


def _torchscript(module: torch.nn.Module, target: Path, card: ModelCard, example: Example) -> None:
    traced = torch.jit.trace(module, example, check_trace=False, strict=False)
    torch.jit.save(torch.jit.freeze(traced.eval()), str(target), _extra_files={CARD_FILE: card.to_json()})


def _torch_export(module: torch.nn.Module, target: Path, card: ModelCard, example: Example) -> None:
    free = tuple(
        {axis: torch.export.Dim.AUTO for axis, length in enumerate(spec.shape) if length is None}
        for spec in card.inputs
    )
    shapes = (free,) if _takes_any_number(module) else free
    program = torch.export.export(module, example, dynamic_shapes=shapes if any(free) else None)
    torch.export.save(program, target, extra_files={CARD_FILE: card.to_json()})


_WRITERS = {".onnx": _onnx, ".torchscript": _torchscript, ".pt2": _torch_export}


def _takes_any_number(module: torch.nn.Module) -> bool:
    """Return whether `forward` is written as `*tensors`, whose shapes torch.export wants as one."""
    code: Any = type(module).forward.__code__
    return bool(code.co_flags & 0x04)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the exporters print and warn of; their errors are exceptions."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
