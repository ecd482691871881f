"""wav2vec2 and its like from a Hugging Face folder: samples in, logits of letters or classes out.

The normalisation that such a network expects (zero mean, unit variance of each chunk) is part of the network here, and
hence of what is exported of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from perf_inference.engines.engine import ArraySpec, Options
from perf_inference.engines.huggingface import folder as folders
from perf_inference.engines.pytorch.engine import Network, TorchEngine, find_device, refusals
from perf_inference.engines.pytorch.precision import in_precision
from perf_inference.errors import ConfigError, in_one_line
from perf_inference.files.json_file import read_json

INPUTS = (ArraySpec("samples", (None, None), np.dtype(np.float32)),)
OUTPUTS = ("logits",)
_KINDS = {"ForCTC": "ctc", "ForSequenceClassification": "classification", "ForAudioClassification": "classification"}
_SMALLEST = 1e-7  # added to the variance, as transformers' feature extractor does


class Described(NamedTuple):
    """A network of sound, and what its task must know."""

    module: nn.Module
    metadata: dict[str, str]


class _Normalised(nn.Module):
    def __init__(self, module: Any, normalise: bool) -> None:
        super().__init__()
        self.module, self.normalise = module, normalise

    def forward(self, samples: Tensor) -> Tensor:
        if self.normalise:
            # In fp32, whatever the network's own precision: squares of small numbers vanish in fp16.
            exact = samples.float()
            mean = exact.mean(1, keepdim=True)
            variance = ((exact - mean) ** 2).mean(1, keepdim=True)
            samples = ((exact - mean) / torch.sqrt(variance + _SMALLEST)).to(samples.dtype)
        logits: Tensor = self.module(samples).logits
        return logits


def quiet() -> None:
    """Let transformers draw no bars of progress into a node's log."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def kind_of(config: Mapping[str, Any]) -> str:
    """Return `ctc` or `classification` of a folder's `config.json`; empty: it is no network of sound."""
    names = config.get("architectures") or [""]
    return next((kind for sign, kind in _KINDS.items() if "conv_stride" in config and str(names[0]).endswith(sign)), "")


def described(folder: Path) -> Described:
    """Return the network of a folder, in fp32 on the CPU.

    Raises:
        ConfigError: files are missing or damaged, or code would have to be run.
    """
    config = folders.check(folder)
    kind = kind_of(config)
    if not kind:
        raise ConfigError(f"'{folder}' is no network of sound; a model that writes text token by token is not exported")
    from transformers import AutoModelForAudioClassification, AutoModelForCTC

    quiet()
    loader = AutoModelForCTC if kind == "ctc" else AutoModelForAudioClassification
    try:
        model, loading = loader.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32,
            attn_implementation="eager", output_loading_info=True,
        )  # fmt: skip
    except Exception as error:
        raise ConfigError(f"'{folder}' is no network that transformers can load ({in_one_line(error)})") from error
    if lost := sorted(loading.get("missing_keys", ())):
        raise ConfigError(f"'{folder}' lacks the weights '{lost[0]}' and {len(lost) - 1} more; copy it again")
    front = _optional(folder / "preprocessor_config.json") or _optional(folder / "processor_config.json")
    front = front.get("feature_extractor", front)
    words = _letters(folder, config) if kind == "ctc" else _classes(config)
    said = {
        "task": "audio",
        "audio": kind,
        "sample_rate": str(int(front.get("sampling_rate", 16_000))),
        **words,
    }
    return Described(_Normalised(model.eval(), bool(front.get("do_normalize", True))), said)


def open_engine(folder: Path, options: Options) -> TorchEngine:
    """Return an engine for a folder.

    Raises:
        ConfigError: see `described`; or it does not run in this precision on this device.
    """
    precision = "fp32" if options.precision == "auto" else options.precision
    device = find_device(options.device, precision)
    network, said = described(folder)
    count = sum(parameter.numel() for parameter in network.parameters())
    with refusals(folder.name, precision, device):
        module = in_precision(network.requires_grad_(False), precision).to(torch.device(device))
    return TorchEngine(
        Network(folder.name, "transformers", precision, device, module, INPUTS, OUTPUTS, said, count), options
    )


def _optional(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}


def _letters(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    vocabulary = read_json(folder / "vocab.json")
    if not vocabulary or not all(type(number) is int and number >= 0 for number in vocabulary.values()):
        raise ConfigError(f"'{folder / 'vocab.json'}' must map letters to numbers")
    count = max(vocabulary.values()) + 1
    if count > int(config.get("vocab_size", count)):
        raise ConfigError(f"the letters in '{folder}' are another model's: {count}, but the model knows "
                          f"{config['vocab_size']}")  # fmt: skip
    words = ["<unk>"] * count
    for word, number in vocabulary.items():
        words[number] = word
    about = _optional(folder / "tokenizer_config.json")
    special = {"<s>", "</s>", "<unk>"} | {str(about.get(f"{kind}_token")) for kind in ("bos", "eos", "unk")}
    blank = vocabulary.get(str(about.get("pad_token", "<pad>")), config.get("pad_token_id") or 0)
    return {
        "vocabulary": json.dumps(words),
        "blank": str(blank),
        "space": str(about.get("word_delimiter_token", "|")),
        "unsaid": json.dumps([number for word, number in vocabulary.items() if word in special and number != blank]),
    }


def _classes(config: Mapping[str, Any]) -> dict[str, str]:
    labels = config.get("id2label") or {}
    count = max(map(int, labels), default=1) + 1
    return {"vocabulary": json.dumps([str(labels.get(str(number), number)) for number in range(count)])}
