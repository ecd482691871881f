"""The attention-LSTM captioner ("Show, Attend and Tell", arXiv 1502.03044): convolutions see, an LSTM says.

Its decoder is known by the names of its weights. Two ways to write it are common, and differ in what the weights do not
say; a checkpoint's metadata (`activation`, `gate`, `grid`, `image_size`) overrule what its names let expect:

    names                                                     attention over    gate   cells        image [px]
    attention.{encoder_att,decoder_att,full_att} ...          relu              f_beta 14 x 14      256 x 256
    attention.{U,W,A} ...                                     tanh              none   as they come 224 x 224
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn

from perf_inference.engines.architectures import Architecture
from perf_inference.engines.engine import ArraySpec
from perf_inference.errors import ConfigError
from perf_inference.tasks.language.encoders import encoder
from perf_inference.tasks.language.lstm_network import AttentionLstm, Names
from perf_inference.tasks.language.named_weights import NamedWeights
from perf_inference.tasks.language.vocabulary import end_of, start_of

_MAX_TOKENS = 20
_LONGEST, _MOST_BEAMS = 512, 64


_WAYS = (
    Names(("attention.encoder_att",), ("attention.decoder_att",), ("attention.full_att",), "relu", True, 14, 256),
    Names(("attention.U",), ("attention.W",), ("attention.A", "attention.v"), "tanh", False, 0, 224),
)
_EMBEDDING = ("embedding", "embed", "embeddings")
_CELL = ("decode_step", "lstm_cell", "lstm", "rnn")
_WORDS = ("fc", "fcn", "linear", "out", "word")


def architecture(weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Architecture:
    """Return the captioner with these weights.

    Args:
        metadata: `vocabulary` (a JSON list of words); `beams`, `max_tokens`; what overrules the names (see above).

    Raises:
        ConfigError: no such captioner, or one without its vocabulary.
    """
    named = NamedWeights(weights)
    prefix, way = _way_of(named)
    parts, gate = _decoder(named, prefix, way)
    way = _overruled(way, metadata)
    if way.gated and gate is None:
        raise ConfigError(f"weight '{prefix}f_beta.weight' is missing, which the gate of this captioner needs")
    if way.gated and gate is not None:
        parts["gate"] = gate
    parts["encoder"] = encoder(named, parts["seen"].weight.shape[1])
    named.check_all_taken()
    if size := getattr(parts["encoder"], "size", 0):  # of a file for images of one size
        way = way._replace(image_px=size)
    words = _words(metadata, parts["embedding"].weight.shape[0])
    beams, steps = _number(metadata, "beams", 1, _MOST_BEAMS), _number(metadata, "max_tokens", _MAX_TOKENS, _LONGEST)
    module = AttentionLstm(parts, way, start_of(words), end_of(words), beams, steps).eval()
    shape = (1, way.image_px, way.image_px, 3)
    said = {"beams": str(beams), "max_tokens": str(steps)}
    return Architecture(
        module, (ArraySpec("image", shape, np.dtype(np.uint8)),), ("tokens", "scores"), metadata=said, own_names=False
    )


def _way_of(weights: NamedWeights) -> tuple[str, Names]:
    for way in _WAYS:
        for name in weights.names:
            if name.endswith(f"{way.seen[0]}.weight"):
                return name.removesuffix(f"{way.seen[0]}.weight"), way
    raise ConfigError(
        "an attention-LSTM must have the weights attention.encoder_att, .decoder_att and .full_att (or attention.U, .W "
        f"and .A), got {', '.join(map(repr, weights.names[:3]))}"
    )


def _decoder(weights: NamedWeights, prefix: str, way: Names) -> tuple[dict[str, nn.Module], nn.Module | None]:
    """Return the decoder's parts, and the gate of the attention where there is one."""

    def name_of(names: tuple[str, ...]) -> str:
        found = next(
            (name for name in names if any(other.startswith(f"{prefix}{name}.") for other in weights.names)), ""
        )
        if not found:
            raise ConfigError(f"weight '{prefix}{names[0]}.weight' is missing; an attention-LSTM has it")
        return prefix + found

    parts: dict[str, nn.Module] = {
        "seen": weights.linear(name_of(way.seen)),
        "hidden": weights.linear(name_of(way.hidden)),
        "energy": weights.linear(name_of(way.energy)),
        "embedding": weights.embedding(name_of(_EMBEDDING)),
        "init_h": weights.linear(f"{prefix}init_h"),
        "init_c": weights.linear(f"{prefix}init_c"),
        "words": weights.linear(name_of(_WORDS)),
        **_cell(weights, name_of(_CELL)),
    }
    gate = weights.linear(f"{prefix}f_beta") if weights.has(f"{prefix}f_beta.weight") else None
    return parts, gate


def _cell(weights: NamedWeights, name: str) -> dict[str, nn.Module]:
    """Return the LSTM cell as two linear layers, which int8 quantises too."""
    suffix = "_l0" if weights.has(f"{name}.weight_ih_l0") else ""
    renamed = {}
    for part, kind in (("input", "ih"), ("recurrent", "hh")):
        renamed[f"{part}.weight"] = weights.take(f"{name}.weight_{kind}{suffix}", 2)
        if weights.has(f"{name}.bias_{kind}{suffix}"):
            renamed[f"{part}.bias"] = weights.take(f"{name}.bias_{kind}{suffix}", 1)
    own = NamedWeights(renamed)
    return {"input": own.linear("input"), "recurrent": own.linear("recurrent")}


def _overruled(way: Names, metadata: Mapping[str, str]) -> Names:
    activation = metadata.get("activation", way.activation)
    gate = metadata.get("gate", str(way.gated).lower())
    if activation not in ("relu", "tanh") or gate not in ("true", "false"):
        raise ConfigError(f"'activation' must be relu or tanh and 'gate' true or false, got '{activation}', '{gate}'")
    grid = _number(metadata, "grid", way.grid, 64, least=0)
    return way._replace(
        activation=activation,
        gated=gate == "true",
        grid=grid,
        image_px=_number(metadata, "image_size", way.image_px, 4096),
    )


def _number(metadata: Mapping[str, str], key: str, default: int, most: int, least: int = 1) -> int:
    text = metadata.get(key, str(default))
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
        raise ConfigError(f"'{key}' must be a whole number from {least} to {most}, got '{text[:40]}'")
    return int(text)


def _words(metadata: Mapping[str, str], count: int) -> list[str]:
    if "vocabulary" not in metadata:
        raise ConfigError(
            "the checkpoint has no vocabulary; put it beside the file as words.json: a list of words in the order of "
            "their numbers, or a map from word to number"
        )
    words = json.loads(metadata["vocabulary"])
    if len(words) > count:
        raise ConfigError(f"the vocabulary has {len(words)} words, but the network's weights are for {count}")
    return [*map(str, words), *(["<unk>"] * (count - len(words)))]
