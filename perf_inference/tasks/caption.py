"""Captioners: an image in, a sentence out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import Engine
from perf_inference.errors import ConfigError, EngineError
from perf_inference.measure.stamps import Scalar
from perf_inference.tasks.vision.image import Image, ImageInput
from perf_inference.tasks.vision.placement import Placement


@dataclass(frozen=True)
class Caption:
    """A sentence and how sure the model was of it."""

    text: str
    score: float  # probability of the least certain word [0, 1]
    tokens: int


class CaptionTask:
    """For models that decode greedily in their graph: `tokens` [1, T] int64 and `scores` [1, T] float32."""

    def __init__(self, engine: Engine) -> None:
        """Read the vocabulary from the model's metadata.

        Raises:
            ConfigError: a model without `tokens` or without its vocabulary.
        """
        if "tokens" not in {spec.name for spec in engine.outputs} or "vocabulary" not in engine.info.metadata:
            raise ConfigError(
                f"'{engine.info.name}' is no captioner: it needs an output 'tokens' and metadata 'vocabulary', it has "
                f"outputs {[spec.name for spec in engine.outputs]} and metadata {sorted(engine.info.metadata)}"
            )
        self._words = _vocabulary(engine)
        self._input = ImageInput.of(engine.inputs[0], 256, 192, rgb=False, scale=1.0, metadata=engine.info.metadata)

    def blank(self) -> Image:
        """Return an image of nothing, to warm the engine up."""
        return self._input.blank()

    def preprocess(self, frame: Image) -> tuple[Mapping[str, NDArray[Any]], Placement]:
        """Return the engine's input of a BGR image [H, W, 3]."""
        array, placement = self._input.stretched(frame)
        return {self._input.name: array}, placement

    def postprocess(self, outputs: Mapping[str, NDArray[Any]], context: Placement) -> Caption:
        """Return the words up to the end token (0).

        Raises:
            EngineError: a token that is not in the vocabulary.
        """
        tokens = outputs["tokens"].reshape(-1)
        if tokens.min(initial=0) < 0 or tokens.max(initial=0) >= len(self._words):
            raise EngineError(f"tokens must be below {len(self._words)}, got {tokens.tolist()}")
        ends = np.flatnonzero(tokens == 0)
        length = int(ends[0]) if len(ends) else len(tokens)
        scores = outputs["scores"].reshape(-1)[: length + 1] if "scores" in outputs else np.ones(1, np.float32)
        return Caption(" ".join(self._words[t] for t in tokens[:length]), float(scores.min(initial=1.0)), length)

    def extra(self, result: Caption, context: Placement) -> Mapping[str, Scalar]:
        return {"tokens": result.tokens}


def _vocabulary(engine: Engine) -> list[str]:
    """Return the words that a model's metadata lists.

    Raises:
        ConfigError: it lists none.
    """
    text = engine.info.metadata["vocabulary"]
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        words = None
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise ConfigError(
            f"the metadata 'vocabulary' of '{engine.info.name}' must be a list of words as JSON, got {text[:60]!r}; "
            "export it again"
        )
    return words
