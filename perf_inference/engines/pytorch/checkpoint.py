"""Checkpoints: the weights of a network, its name and what it says of itself, in .safetensors, .pt and .pth files.

A .safetensors file keeps the name as `architecture` among its metadata. A .pt or .pth file is

    {"architecture": NAME, "state_dict": {...}, "metadata": {word: word}}

Those of others hold the weights under `state_dict`, `model_state_dict` or `model` among what training left, those of an
encoder and a decoder apart, or nothing but the weights; the user names their architecture, unless their names tell it.
Weights that `torch.nn.utils.prune` left as `*_orig` and `*_mask` are multiplied. Nothing in a
file is run unless pickle is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from perf_inference.engines import architectures
from perf_inference.engines.pytorch import checkpoint_parts
from perf_inference.engines.pytorch.archive import is_archive, read_archive
from perf_inference.errors import ConfigError, in_one_line
from perf_inference.files.whole import not_written, whole_file

SUFFIXES = (".safetensors", ".pt", ".pth")
_WEIGHTS = ("state_dict", "model_state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.")  # DataParallel's and torch.compile's, put before each name
_DTYPES = (
    *(torch.float32, torch.float16, torch.bfloat16, torch.float64),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
)
_PRECISIONS = {torch.float16: "fp16", torch.bfloat16: "bf16"}


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds; the weights are on the CPU, and may still lie in the file."""

    weights: Mapping[str, Any]  # name -> tensor
    architecture: str = ""  # empty: the file does not say
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def precision(self) -> str:
        """Return the precision that the weights are stored in: fp16 or bf16 if all that are floating are, else fp32."""
        dtypes = {tensor.dtype for tensor in self.weights.values() if tensor.is_floating_point()}
        return _PRECISIONS.get(dtypes.pop(), "fp32") if len(dtypes) == 1 else "fp32"


def load_checkpoint(path: Path, allow_pickle: bool = False) -> Checkpoint:
    """Return what the file holds.

    Args:
        allow_pickle: the file may run code while it is read, for files of whom the user trusts.

    Raises:
        ConfigError: damaged, no checkpoint, or one that asks for more than weights.
    """
    if path.suffix == ".safetensors":
        checkpoint = _read_safetensors(path)
    else:
        checkpoint = _of_content(_read_pt(path, allow_pickle), path)
    checkpoint = _completed(checkpoint, path)
    for name, tensor in checkpoint.weights.items():
        _check_weight(name, tensor, path)
    return checkpoint


def save_checkpoint(
    path: Path, architecture: str, weights: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a checkpoint; the file is there whole or not at all.

    Raises:
        ConfigError: the suffix is none of SUFFIXES, or an empty name.
        PerfInferenceError: it cannot be written.
    """
    if path.suffix not in SUFFIXES or not architecture:
        raise ConfigError(f"a checkpoint needs an architecture and one of {', '.join(SUFFIXES)}, got '{path}'")
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    words = dict(metadata or {})
    try:
        with whole_file(path) as file:
            if path.suffix == ".safetensors":
                from safetensors.torch import save  # save_file would make the file the owner's alone

                file.write(save(tensors, {**words, "architecture": architecture}))
            else:
                torch.save({"architecture": architecture, "state_dict": tensors, "metadata": words}, file)
    except (OSError, RuntimeError) as error:
        raise not_written(path, error) from error


def _read_safetensors(path: Path) -> Checkpoint:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            words = dict(file.metadata() or {})
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
    except Exception as error:
        raise ConfigError(f"'{path}' is no safetensors file, or is damaged ({in_one_line(error)})") from error
    architecture = words.pop("architecture", "")
    return Checkpoint(_unwrapped(weights), architecture, words)


def _read_pt(path: Path, allow_pickle: bool) -> Any:
    archive = is_archive(path)
    if archive and any(name.startswith("code/") for name in read_archive(path)):
        raise ConfigError(f"'{path}' is TorchScript, not a checkpoint; set runtime: torchscript")
    try:
        return torch.load(path, map_location="cpu", weights_only=not allow_pickle, mmap=archive)
    except Exception as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if asked and not allow_pickle:
            raise ConfigError(
                f"'{path}' asks for {asked[1]} while it is read, and what a file asks for so can do all that you can "
                "do, such as delete your files; save the weights alone (state dict or .safetensors), or set "
                "allow_pickle: true if you trust who made it"
            ) from error
        raise ConfigError(f"'{path}' is no checkpoint of PyTorch, or is damaged ({in_one_line(error)})") from error


def _of_content(content: Any, path: Path) -> Checkpoint:
    architecture, words, whole = "", {}, content
    if isinstance(content, Mapping):
        architecture, words = content.get("architecture", ""), content.get("metadata", {})
        content = next((content[key] for key in _WEIGHTS if isinstance(content.get(key), (Mapping, torch.nn.Module))),
                       content)  # fmt: skip
        content = checkpoint_parts.joined(content, torch.nn.Module)
    if isinstance(content, torch.nn.Module):
        content = content.state_dict()
    if not (isinstance(content, Mapping) and content):
        raise ConfigError(f"'{path}' holds {type(content).__name__}, not the weights of a network by name")
    named = isinstance(architecture, str) and architecture != ""
    if named and not (
        isinstance(words, Mapping) and all(isinstance(word, str) for pair in words.items() for word in pair)
    ):
        raise ConfigError(f"'metadata' in '{path}' must map words to words")
    said = dict(words) if named else {}
    vocabulary = checkpoint_parts.vocabulary_in(whole) if "vocabulary" not in said else ""
    return Checkpoint(
        checkpoint_parts.without_vocabulary(_unwrapped(content)),
        architecture if named else "",
        {**said, **({"vocabulary": vocabulary} if vocabulary else {})},
    )


def _completed(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """Return the checkpoint with pruning's masks applied, its network recognised and the vocabulary beside it."""
    weights = checkpoint_parts.unmasked(checkpoint.weights, path)
    architecture = checkpoint.architecture or architectures.recognised(str(name) for name in weights)
    words = checkpoint.metadata
    if architectures.has_vocabulary(architecture):
        if "vocabulary" not in words:
            words = {**words, **checkpoint_parts.vocabulary_beside(path)}
        if encoder := checkpoint_parts.encoder_beside(path):  # the builder knows whether it is needed
            tensor = torch.frombuffer(bytearray(encoder), dtype=torch.uint8)
            weights = {**weights, checkpoint_parts.ENCODER: tensor}
    return replace(checkpoint, weights=weights, architecture=architecture, metadata=words)


def _unwrapped(weights: Mapping[Any, Any]) -> dict[str, Any]:
    names = list(weights)
    for _ in _WRAPPERS:  # either may be around the other
        for wrapper in _WRAPPERS:
            if names and all(isinstance(name, str) and name.startswith(wrapper) for name in names):
                names = [name.removeprefix(wrapper) for name in names]
    return dict(zip(names, weights.values(), strict=True))


def _check_weight(name: Any, tensor: Any, path: Path) -> None:
    if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
        raise ConfigError(f"'{path}' holds more than weights: {name!r:.80} is a {type(tensor).__name__}; its weights "
                          f"are looked for under {', '.join(_WEIGHTS)}, or as all that it holds")  # fmt: skip
    if tensor.dtype not in _DTYPES or tensor.layout is not torch.strided or tensor.device.type != "cpu":
        have = f"{tensor.dtype}, {tensor.layout}, {tensor.device}"
        raise ConfigError(
            f"weight {name!r:.80} in '{path}' is {have}; save it dense, in fp32, fp16 or bf16, on the CPU"
        )
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ConfigError(f"weight {name!r:.80} in '{path}' claims {list(tensor.shape)}, more than the file holds")
    if tensor.is_floating_point() and bool(torch.isnan(tensor).any()):
        raise ConfigError(f"weight {name!r:.80} in '{path}' has values that are no numbers: its training went wrong")
