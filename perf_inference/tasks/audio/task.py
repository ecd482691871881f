"""Sound in chunks: what a wav2vec2-type network hears in each, as text (CTC) or as a class."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import Engine
from perf_inference.errors import ConfigError, EngineError, InputError
from perf_inference.tasks.audio.sound_file import Sound

CTC, CLASSES = "ctc", "classification"
_MOST_CHUNKS = 100_000


@dataclass(frozen=True)
class Heard:
    """What was heard in one chunk."""

    start_s: float
    text: str | None  # of a network for text
    class_name: str | None  # of one for classes
    score: float  # of text: mean probability of its best path; of a class: its probability [0, 1]
    logits: NDArray[np.float32]  # [frames, tokens] or [classes]

    def as_dict(self) -> dict[str, Any]:
        """Return the chunk as `predict` writes it."""
        said = {"text": self.text} if self.class_name is None else {"class_name": self.class_name}
        return {"start_s": self.start_s, **said, "score": self.score}


class AudioTask:
    """What the arrays of a network of sound mean: `samples` float32 [B, N], `logits` [B, T, tokens] or [B, classes]."""

    def __init__(self, engine: Engine) -> None:
        """Read what the model's metadata say.

        Raises:
            ConfigError: no network of sound.
        """
        said = engine.info.metadata
        try:
            self.kind, self.rate_hz = said["audio"], int(said["sample_rate"])
            self._words = [str(word) for word in json.loads(said["vocabulary"])]
            self._blank, self._space = int(said.get("blank", "0")), said.get("space", "|")
            self._unsaid = frozenset(int(number) for number in json.loads(said.get("unsaid", "[]")))
        except (KeyError, ValueError, TypeError) as error:
            raise ConfigError(
                f"'{engine.info.name}' is no network of sound: its metadata must have audio, sample_rate and vocabulary"
            ) from error
        if self.kind not in (CTC, CLASSES) or self.rate_hz < 1:
            raise ConfigError(f"'audio' of '{engine.info.name}' must be {CTC} or {CLASSES}, got '{self.kind[:40]}'")
        self._engine = engine

    def heard(self, chunks: NDArray[np.float32], starts_s: list[float], batch: int) -> list[Heard]:
        """Return what is heard in the chunks [B, N], so many at a time.

        Raises:
            EngineError: the engine failed.
        """
        found = []
        for first in range(0, len(chunks), batch):
            part = np.ascontiguousarray(chunks[first : first + batch])
            logits = np.array(self._engine.infer({"samples": part})["logits"], np.float32)
            if len(logits) != len(part) or logits.ndim != (3 if self.kind == CTC else 2):
                raise EngineError(f"logits of {len(part)} chunks must come for each, got {list(logits.shape)}")
            found += [self._heard(one, start) for one, start in zip(logits, starts_s[first:], strict=False)]
        return found

    def _heard(self, logits: NDArray[np.float32], start_s: float) -> Heard:
        if logits.shape[-1] < len(self._words):
            raise EngineError(f"logits must be of {len(self._words)} words at least, got {logits.shape[-1]}")
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        odds /= odds.sum(-1, keepdims=True)
        if self.kind == CLASSES:
            best = int(odds.argmax())
            return Heard(start_s, None, self._name(best), float(odds[best]), logits)
        return Heard(start_s, self.text(logits), None, float(odds.max(-1).mean()), logits)

    def text(self, logits: NDArray[np.float32]) -> str:
        """Return the text of the best path: repeated tokens once, then without blanks (Graves et al., ICML 2006).

        Special tokens are left out last: left out first, as transformers does with skip_special_tokens, blanks would go
        with them, and with the blanks one of two equal letters.
        """
        path = logits.argmax(-1)
        kept = path[np.concatenate([[True], path[1:] != path[:-1]])] if len(path) else path
        said = [self._name(number) for number in kept.tolist() if number != self._blank and number not in self._unsaid]
        return "".join(" " if word == self._space else word for word in said).strip()

    def _name(self, number: int) -> str:
        return self._words[number] if number < len(self._words) else str(number)


def chunks_of(sound: Sound, length_s: float, hop_s: float) -> tuple[NDArray[np.float32], list[float]]:
    """Return the sound's chunks [B, N], the last one filled up with silence, and where each begins [s].

    Raises:
        InputError: a length or hop that gives none, or too many.
    """
    length, hop = round(length_s * sound.rate_hz), round(hop_s * sound.rate_hz)
    if length < 1 or hop < 1:
        raise InputError(f"chunks must have a length and a hop above 0 s, got {length_s:g} and {hop_s:g}")
    count = 1 + max(0, -(-(len(sound.samples) - length) // hop))
    if count > _MOST_CHUNKS:
        raise InputError(f"there must be at most {_MOST_CHUNKS} chunks, got {count}; take a longer hop")
    filled = np.zeros((count - 1) * hop + length, np.float32)
    part = sound.samples[: len(filled)]
    filled[: len(part)] = part
    chunks = np.stack([filled[number * hop : number * hop + length] for number in range(count)])
    return chunks, [number * hop / sound.rate_hz for number in range(count)]


def describe(chunks: list[Heard]) -> Mapping[str, Any]:
    """Return what `predict` writes of a file: `kind` and `chunks`."""
    return {"kind": "audio", "chunks": [chunk.as_dict() for chunk in chunks]}
