"""The attention-LSTM captioner's network; `attention_lstm` reads it from a checkpoint's weights.

Beams: of all ways to go on, the best so many are kept after each step; the sentence returned is the finished one of the
largest sum of log-probabilities, or the best unfinished one where none has ended.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, RGB, of 0..1


class Names(NamedTuple):
    """How one way of writing the decoder calls its parts."""

    seen: tuple[str, ...]
    hidden: tuple[str, ...]
    energy: tuple[str, ...]
    activation: str
    gated: bool
    grid: int  # 0: as the encoder gives them
    image_px: int


class AttentionLstm(nn.Module):
    """BGR uint8 [1, H, W, 3] -> tokens int64 [1, T] and the probability of each, float32 [1, T].

    After the end token all tokens are the end, of probability 1. On the CPU it stops there; traced, or on a GPU where
    nobody listens, it goes on to the last step, as a graph has to.
    """

    mean: Tensor
    std: Tensor
    stream: Any = None  # `engines.stream.TokenStream`, told of each token as it is known

    def __init__(self, parts: dict[str, nn.Module], way: Names, start: int, end: int, beams: int, steps: int) -> None:
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
        if early:
            return self._said(seen, keys, hidden, cell, stream)
        return self._greedy(seen, keys, hidden, cell)

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
        part: Any = self._modules  # of a small network, looking up and calling modules is a good part of a step
        met = keys + part["hidden"].forward(hidden)[:, None]
        met = torch.relu(met) if self.way.activation == "relu" else torch.tanh(met)
        attention = part["energy"].forward(met).softmax(1)
        context = (seen * attention).sum(1)
        if self.way.gated:
            context = torch.sigmoid(part["gate"].forward(hidden)) * context
        given, inner, recurrent = (
            torch.cat([part["embedding"].forward(token), context], 1),
            part["input"],
            part["recurrent"],
        )
        if _is_plain(inner, recurrent):
            weights = (inner.weight, recurrent.weight, inner.bias, recurrent.bias)
            hidden, cell = torch.lstm_cell(given, (hidden, cell), *weights)
        else:
            write, keep, new, show = (inner(given) + recurrent(hidden)).chunk(4, 1)
            cell = torch.sigmoid(keep) * cell + torch.sigmoid(write) * torch.tanh(new)
            hidden = torch.sigmoid(show) * torch.tanh(cell)
        return part["words"].forward(hidden).float().log_softmax(1), hidden, cell

    def _said(self, seen: Tensor, keys: Tensor, hidden: Tensor, cell: Tensor, stream: Any) -> tuple[Tensor, Tensor]:
        """Return the likeliest word each time, each told as it is known."""
        token = torch.full((1,), self.start, dtype=torch.int64, device=seen.device)
        numbers, logs = [], []
        for _ in range(self.steps):
            words, hidden, cell = self._step(token, seen, keys, hidden, cell)
            best, token = words.max(1)
            number = int(token)  # waits for the device
            numbers.append(number)
            logs.append(best)
            if number == self.end:
                break
            if stream is not None:
                stream.token(number)
                if stream.cancelled:
                    break
        return self._padded(torch.tensor([numbers], device=seen.device), torch.stack(logs, 1).exp())

    def _greedy(self, seen: Tensor, keys: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same with the last step always reached, as a graph does it."""
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
        return torch.stack(tokens, 1), torch.stack(scores, 1)

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


def _is_plain(inner: nn.Module, recurrent: nn.Module) -> bool:
    """Return whether PyTorch's own LSTM cell can be called: two linear layers that are not quantised, and no graph."""
    return (
        type(inner) is nn.Linear
        and type(recurrent) is nn.Linear
        and inner.bias is not None
        and recurrent.bias is not None
        and not torch.jit.is_tracing()
    )


def _pooling(length: int, cells: int) -> Tensor:
    """Return the matrix [cells, length] of adaptive average pooling, which ONNX does not have for any sizes."""
    matrix = np.zeros((cells, length), np.float32)
    for cell in range(cells):
        begin, end = cell * length // cells, -((-(cell + 1) * length) // cells)
        matrix[cell, begin:end] = 1 / (end - begin)
    return torch.from_numpy(matrix)
