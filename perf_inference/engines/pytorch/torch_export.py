"""Programs of torch.export: .pt2 files.

Reading one with PyTorch alone can run whatever its maker put in: pickles among the weights, functions called by name
(`torch.os.system`), expressions of lengths that Python evaluates, libraries. So the archive is looked through first,
and one that has more than a graph of tensor operators is refused unless pickle is allowed for it.
"""

from __future__ import annotations

import inspect
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from perf_inference.engines.engine import ArraySpec, Options
from perf_inference.engines.model_card import CARD_FILE, DTYPES, ModelCard
from perf_inference.engines.pytorch.archive import read_archive
from perf_inference.engines.pytorch.engine import Network, TorchEngine, find_device, refusals
from perf_inference.errors import ConfigError, in_one_line

_PARTS = re.compile(
    r"data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|data/sample_inputs/model\.pt|models/model\.json|extra/.+|\.data/\w+|archive_format|archive_version|byteorder|version"
)
_TARGET = re.compile(r"torch\.ops\.(aten|prims|prim|quantized)\.(?!save\b|from_file\b)\w+(\.\w+)?"
                     r"|torch\.(_sym_sqrt|sym_\w+)|(_operator|math)\.\w+")  # fmt: skip
_SYMBOL = re.compile(r"Symbol\('\w+'")
_LENGTH = re.compile(r"([A-Z]\w*\(|[a-z]\d+|True|False|positive=|integer=|\d+(\.\d+)?|[\s+*/(),<>=!&|~-])*")


def open_engine(model: str, options: Options) -> TorchEngine:
    """Return an engine for a .pt2 file.

    Raises:
        ConfigError: damaged, of another PyTorch, or it holds more than a graph of tensor operators and is not trusted.
    """
    path = Path(model)
    files = read_archive(path, ("models/", "data/sample_inputs/", f"extra/{CARD_FILE}"))
    configs = read_archive(
        path, ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
    )
    if not options.allow_pickle:
        _check_harmless({name: text for read in (files, configs) for name, text in read.items() if text}, files, path)
    try:
        program = torch.export.load(path)
        card = _card(path, files, program)
        device = find_device(options.device, card.precision)
        module = _module(program, device)
    except ConfigError:
        raise
    except torch.cuda.OutOfMemoryError:
        with refusals(path.stem, "fp32", options.device):
            raise
    except Exception as error:
        raise ConfigError(f"'{path}' is no exported program that PyTorch {torch.__version__} takes "
                          f"({in_one_line(error)}); export it again with this PyTorch") from error  # fmt: skip
    return TorchEngine(Network.of(card, "torch_export", device, module), options)


def _check_harmless(texts: dict[str, bytes], names: dict[str, bytes | None], path: Path) -> None:
    """Raise ConfigError if reading or running the program could do more than compute."""
    try:
        found = next(_more_than_tensors(texts, names), None)
    except Exception as error:  # a graph that is none: json, UTF-8, depth, missing keys
        raise ConfigError(f"'{path}' is no exported program, or is damaged ({in_one_line(error)})") from error
    if found is not None:
        raise ConfigError(
            f"'{path}' holds {found}, and what a file asks for so can do all that you can do, such as delete your "
            "files; export it again with this PyTorch, or set allow_pickle: true if you trust who made it"
        )


def _more_than_tensors(texts: dict[str, bytes], names: dict[str, bytes | None]) -> Iterator[str]:
    yield from (f"'{name}'" for name in names if not _PARTS.fullmatch(name))
    try:
        torch.load(io.BytesIO(texts["data/sample_inputs/model.pt"]), weights_only=True, map_location="cpu")
    except Exception:
        yield "a pickle as its sample inputs"
    for config in ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json"):
        for name, payload in json.loads(texts[config])["config"].items():
            if payload["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", payload["path_name"]):
                yield f"a pickle as '{name}'"
    program = json.loads(texts["models/model.json"])
    for key, value in _entries(program):
        if key == "target" and isinstance(value, str) and not _TARGET.fullmatch(value):
            yield f"a call of {value:.60}"
        elif key == "expr_str" and not _LENGTH.fullmatch(_SYMBOL.sub("Symbol(", value)):
            yield f"the expression {value:.60}"
        elif key in ("in_spec", "out_spec") and "default_factory" in value:
            yield "a container that calls a function"
        elif key == "range_constraints" and not all(re.fullmatch(r"[a-z]\d+", name) for name in value):
            yield "a length that is no name"


def _entries(node: Any) -> Iterator[tuple[str, Any]]:
    """Return every key and value of a JSON document, however deep."""
    left = [node]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            yield from node.items()
            left.extend(node.values())
        elif isinstance(node, list):
            left.extend(node)


def _card(path: Path, files: dict[str, bytes | None], program: torch.export.ExportedProgram) -> ModelCard:
    text = files.get(f"extra/{CARD_FILE}")
    if text is not None:
        return ModelCard.from_json(text, str(path))
    signature = program.graph_signature
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs = tuple(_spec(name, values[name]) for name in signature.user_inputs)
    outputs = tuple(_spec(name, values[name]) for name in signature.user_outputs)
    floating = {t.dtype for t in program.state_dict.values() if t.is_floating_point()}
    precision = {(torch.float16,): "fp16", (torch.bfloat16,): "bf16"}.get(tuple(floating), "fp32")
    return ModelCard(path.stem, precision, inputs, outputs, {})


def _spec(name: Any, value: Any) -> ArraySpec:
    dtype = str(value.dtype).removeprefix("torch.") if isinstance(value, torch.Tensor) else type(value).__name__
    if dtype == "bfloat16":
        dtype = "float32"  # of an output; an input of it fails in the trial
    if dtype not in DTYPES:
        raise ConfigError(f"'{name}' is a {dtype}; an engine passes arrays of {', '.join(DTYPES)}")
    return ArraySpec(str(name), tuple(n if isinstance(n, int) else None for n in value.shape), np.dtype(dtype))


def _module(program: torch.export.ExportedProgram, device: str) -> torch.nn.Module:
    if device != "cpu":
        from torch.export.passes import move_to_device_pass  # PyTorch 2.6 and later

        program = move_to_device_pass(program, device)
    # The engine's specs are checked already, and what the file says of guards is code.
    unguarded = {"check_guards": False} if "check_guards" in inspect.signature(program.module).parameters else {}
    module: torch.fx.GraphModule = program.module(**unguarded)
    for hooks in (module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs, module._forward_hooks):
        hooks.clear()  # the same checks once more: 40 us a call
    module.graph.set_codegen(torch.fx.graph.CodeGen())  # tensors in, tuple out, however the network nests them
    module.recompile()
    return module
