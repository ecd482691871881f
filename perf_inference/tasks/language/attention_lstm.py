"""The attention-LSTM captioner ("Show, Attend and Tell", arXiv 1502.03044): convolutions see, an LSTM says.

Its decoder is known by the names of its weights. Two ways to write it are common, and differ in what the weights do not
say; a checkpoint's metadata (`activation`, `gate`, `grid`, `image_size`) overrule what its names let expect:

    names                                                     attention over    gate   cells        image [px]
    attention.{encoder_att,decoder_att,full_att} ...          relu              f_beta 14 x 14      256 x 256
    attention.{U,W,A} ...                                     tanh              none   as they come 224 x 224

Beams: of all ways to go on, the best so many are kept after each step; the sentence returned is the finished one of the
largest sum of log-probabilities, or the best unfinished one where none has ended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from perf_inference.engines.architectures import Architecture
from perf_inference.engines.engine import ArraySpec
from perf_inference.errors import ConfigError
from perf_inference.tasks.language.encoders import encoder
from perf_inference.tasks.language.named_weights import NamedWeights
from perf_inference.tasks.language.vocabulary import end_of, start_of

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, RGB, of 0..1
_MAX_TOKENS = 20
_LONGEST, _MOST_BEAMS = 512, 64


class _Names(NamedTuple):
    """How one way of writing the decoder calls its parts."""

    seen: tuple[str, ...]
    hidden: tuple[str, ...]
    energy: tuple[str, ...]
    activation: str
    gated: bool
    grid: int  # 0: as the encoder gives them
    image_px: int


_WAYS = (
    _Names(("attention.encoder_att",), ("attention.decoder_att",), ("attention.full_att",), "relu", True, 14, 256),
    _Names(("attention.U",), ("attention.W",), ("attention.A", "attention.v"), "tanh", False, 0, 224),
)
_EMBEDDING = ("embedding", "embed", "embeddings")
_CELL = ("decode_step", "lstm_cell", "lstm", "rnn")
_WORDS = ("fc", "fcn", "linear", "out", "word")


class AttentionLstm(nn.Module):
    """BGR uint8 [1, H, W, 3] -> tokens int64 [1, T] and the probability of each, float32 [1, T].

    After the end token all tokens are the end, of probability 1. On the CPU it stops there; traced, or on a GPU where
    nobody listens, it goes on to the last step, as a graph has to.
    """

    mean: Tensor
    std: Tensor
    stream: Any = None  # `engines.stream.TokenStream`, told of each token as it is known

    def __init__(self, parts: dict[str, nn.Module], way: _Names, start: int, end: int, beams: int, steps: int) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.way, self.start, self.end, self.beams, self.steps = way, start, end, beams, steps
        self.register_buffer("mean", torch.tensor(_MEAN) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(_STD) * 255, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        stream = None if torch.jit.is_tracing() else self.stream
        if stream is not None:
            stream.begin()
        seen = self._see(image)
        keys = self.get_submodule("seen")(seen)
        hidden, cell = (self.get_submodule(name)(seen.mean(1)) for name in ("init_h", "init_c"))
        if stream is not None:
            stream.prefilled()
        early = stream is not None or (image.device.type == "cpu" and not torch.jit.is_tracing())
        if self.beams > 1:
            return self._search(seen, keys, hidden, cell, early)
        return self._greedy(seen, keys, hidden, cell, early, stream)

    def _see(self, image: Tensor) -> Tensor:
        """Return what each cell shows, [1, cells, channels]."""
        pixels = (image.flip(3).to(self.mean.dtype) - self.mean) / self.std
        features = self.get_submodule("encoder")(pixels.permute(0, 3, 1, 2))
        if self.way.grid:
            rows, columns = (_pooling(n, self.way.grid).to(features) for n in features.shape[2:])
            features = rows @ features @ columns.T
        flat: Tensor = features.flatten(2).transpose(1, 2)
        return flat

    def _step(self, token: Tensor, seen: Tensor, keys: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
        """Return the words' log-probabilities [B, words] in fp32, and the next hidden and cell state."""
        part = self.get_submodule
        met = keys + part("hidden")(hidden)[:, None]
        met = torch.relu(met) if self.way.activation == "relu" else torch.tanh(met)
        attention = part("energy")(met).softmax(1)
        context = (seen * attention).sum(1)
        if self.way.gated:
            context = torch.sigmoid(part("gate")(hidden)) * context
        gates = part("input")(torch.cat([part("embedding")(token), context], 1)) + part("recurrent")(hidden)
        write, keep, new, show = gates.chunk(4, 1)
        cell = torch.sigmoid(keep) * cell + torch.sigmoid(write) * torch.tanh(new)
        hidden = torch.sigmoid(show) * torch.tanh(cell)
        return part("words")(hidden).float().log_softmax(1), hidden, cell

    def _greedy(
        self, seen: Tensor, keys: Tensor, hidden: Tensor, cell: Tensor, early: bool, stream: Any
    ) -> tuple[Tensor, Tensor]:
        token = torch.full_like(hidden[:, 0], self.start, dtype=torch.int64)
        ended = torch.zeros_like(token, dtype=torch.bool)
        tokens, scores = [], []
        for _ in range(self.steps):
            logs, hidden, cell = self._step(token, seen, keys, hidden, cell)
            best, token = logs.max(1)
            token = torch.where(ended, torch.full_like(token, self.end), token)
            tokens.append(token)
            scores.append(torch.where(ended, torch.ones_like(best), best.exp()))
            ended = token == self.end
            if early:
                number = int(token)
                if number == self.end:
                    break
                if stream is not None:
                    stream.token(number)
                    if stream.cancelled:
                        break
        return self._padded(torch.stack(tokens, 1), torch.stack(scores, 1))

    def _search(self, seen: Tensor, keys: Tensor, hidden: Tensor, cell: Tensor, early: bool) -> tuple[Tensor, Tensor]:
        beams, steps = self.beams, self.steps
        hidden, cell = hidden.expand(beams, -1), cell.expand(beams, -1)
        token = torch.full((beams,), self.start, dtype=torch.int64, device=seen.device)
        none = torch.full((beams,), -torch.inf, device=seen.device)
        sums = torch.where(torch.arange(beams, device=seen.device) == 0, torch.zeros_like(none), none)
        tokens = torch.full((beams, steps), self.end, dtype=torch.int64, device=seen.device)
        scores = torch.ones((beams, steps), device=seen.device)
        best_sum, best, best_scores = none[0], tokens[0], scores[0]
        for step in range(steps):
            logs, hidden, cell = self._step(token, seen, keys, hidden, cell)
            words = logs.shape[1]
            sums, place = (sums[:, None] + logs).flatten().topk(min(beams, words))
            origin, token = torch.div(place, words, rounding_mode="floor"), place % words
            hidden, cell = hidden[origin], cell[origin]
            at = torch.arange(steps, device=seen.device) == step
            tokens = torch.where(at, token[:, None], tokens[origin])
            scores = torch.where(at, logs.flatten()[place].exp()[:, None], scores[origin])
            ended = torch.where(token == self.end, sums, torch.full_like(sums, -torch.inf))
            top = ended.argmax(0)
            better = ended[top] > best_sum
            best = torch.where(better, tokens[top], best)
            best_scores = torch.where(better, scores[top], best_scores)
            best_sum = torch.where(better, ended[top], best_sum)
            sums = torch.where(token == self.end, torch.full_like(sums, -torch.inf), sums)
            if early and float(best_sum) >= float(sums.max()):  # sums only fall: none can overtake it
                break
        unfinished = torch.isinf(best_sum)
        top = sums.argmax(0)
        best = torch.where(unfinished, tokens[top], best)
        return best[None], torch.where(unfinished, scores[top], best_scores)[None]

    def _padded(self, tokens: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        left = self.steps - tokens.shape[1]
        return (
            nn.functional.pad(tokens, (0, left), value=self.end),
            nn.functional.pad(scores, (0, left), value=1.0),
        )


def _pooling(length: int, cells: int) -> Tensor:
    """Return the matrix [cells, length] of adaptive average pooling, which ONNX does not have for any sizes."""
    matrix = np.zeros((cells, length), np.float32)
    for cell in range(cells):
        begin, end = cell * length // cells, -((-(cell + 1) * length) // cells)
        matrix[cell, begin:end] = 1 / (end - begin)
    return torch.from_numpy(matrix)


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


def _way_of(weights: NamedWeights) -> tuple[str, _Names]:
    for way in _WAYS:
        for name in weights.names:
            if name.endswith(f"{way.seen[0]}.weight"):
                return name.removesuffix(f"{way.seen[0]}.weight"), way
    raise ConfigError(
        "an attention-LSTM must have the weights attention.encoder_att, .decoder_att and .full_att (or attention.U, .W "
        f"and .A), got {', '.join(map(repr, weights.names[:3]))}"
    )


def _decoder(weights: NamedWeights, prefix: str, way: _Names) -> tuple[dict[str, nn.Module], nn.Module | None]:
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


def _overruled(way: _Names, metadata: Mapping[str, str]) -> _Names:
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
