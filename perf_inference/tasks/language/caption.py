"""Captioners: an image in, a sentence out, and what a model answers to a prompt."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import Engine
from perf_inference.engines.stream import TokenStream
from perf_inference.errors import ConfigError, EngineError, InputError
from perf_inference.measure.stamps import Scalar
from perf_inference.tasks.language.vocabulary import end_of, unsaid
from perf_inference.tasks.vision.image import Image, ImageInput
from perf_inference.tasks.vision.placement import Placement

LONGEST_PROMPT = 10_000  # characters
_BLANK = (480, 640, 3)


@dataclass(frozen=True)
class Caption:
    """A sentence and how sure the model was of it."""

    text: str
    score: float | None  # probability of the least certain token [0, 1]; None: the model does not say
    tokens: int
    token_ids: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()  # probability of each token; empty: the model does not say


class CaptionTask:
    """What the arrays of a captioner mean. Two kinds are known by their outputs:

    - `tokens` [1, T] int64 and `scores` [1, T] float32, with the metadata `vocabulary`: all words in one graph.
    - `text` uint8 [N], UTF-8, with `tokens` and `scores` of any length: engines that know their own words. They take
      the BGR image as `image` uint8 [H, W, 3] and `prompt` uint8 [N].
    """

    def __init__(
        self, engine: Engine, prompt: str = "", beams: int = 0, max_tokens: int = 0, min_score: float = 0.0
    ) -> None:
        """Read the vocabulary from the model's metadata.

        Args:
            prompt: what is asked of the image; empty: the model's own way to describe it.
            beams, max_tokens: what the engine was asked for; 0: nothing.
            min_score: a sentence whose score is lower is none.

        Raises:
            ConfigError: a model that is no captioner, has no vocabulary, or cannot do what is asked.
        """
        outputs, metadata, name = {spec.name for spec in engine.outputs}, engine.info.metadata, engine.info.name
        self._says_text = "text" in outputs
        if not self._says_text and ("tokens" not in outputs or "vocabulary" not in metadata):
            raise ConfigError(
                f"'{name}' is no captioner: it needs an output 'tokens' and metadata 'vocabulary', it has "
                f"outputs {[spec.name for spec in engine.outputs]} and metadata {sorted(metadata)}"
            )
        for key, wanted in (("beams", beams), ("max_tokens", max_tokens)):
            had = metadata.get(key, "1" if key == "beams" else "")
            if wanted and had != str(wanted):
                raise ConfigError(
                    f"'{name}' cannot do {key} {wanted}: it was made with {key} {had or 'of its own'}; set {key}: 0, "
                    "or take its checkpoint"
                )
        self._name, self._takes_prompt = name, any(spec.name == "prompt" for spec in engine.inputs)
        self.prompt, self.min_score = "", min_score
        self.ask(prompt)
        self._sent = (0, 0)  # of which sentence, how many pieces
        self._on_text: Callable[[str], None] | None = None
        self.stream: TokenStream | None = None
        if getattr(engine, "streams", hasattr(engine, "stream")):
            self.stream = TokenStream(self._token)
            self.stream.wants_text = False
            engine.stream = self.stream  # type: ignore[attr-defined]
        if self._says_text:
            return
        self._words = _vocabulary(engine)
        self._end, self._unsaid = end_of(self._words), unsaid(self._words)
        self._input = ImageInput.of(engine.inputs[0], 256, 192, rgb=False, scale=1.0, metadata=metadata)

    @property
    def on_text(self) -> Callable[[str], None] | None:
        """Who is told of the words as they come."""
        return self._on_text

    @on_text.setter
    def on_text(self, told: Callable[[str], None] | None) -> None:
        self._on_text = told
        if self.stream is not None:
            self.stream.wants_text = told is not None

    def ask(self, prompt: str) -> None:
        """Take what is asked of the images from now on.

        Raises:
            ConfigError: the model takes no prompt.
        """
        check_prompt(prompt)
        if prompt and not self._takes_prompt:
            raise ConfigError(f"'{self._name}' describes images and answers no questions; set prompt: ''")
        self.prompt = prompt

    def blank(self) -> Image:
        """Return an image of nothing, to warm the engine up."""
        return np.zeros(_BLANK, np.uint8) if self._says_text else self._input.blank()

    def preprocess(self, frame: Image) -> tuple[Mapping[str, NDArray[Any]], Placement]:
        """Return the engine's inputs of a BGR image [H, W, 3]."""
        if self._says_text:
            height, width = frame.shape[:2]
            inputs = {"image": frame, "prompt": as_bytes(self.prompt)}
            return inputs, Placement(1.0, 1.0, 0.0, 0.0, width, height)
        array, placement = self._input.stretched(frame)
        return {self._input.name: array}, placement

    def postprocess(self, outputs: Mapping[str, NDArray[Any]], context: Placement) -> Caption:
        """Return the words up to the end token.

        Raises:
            EngineError: a token that is not in the vocabulary, or no text.
            InputError: the sentence was cancelled, or is less likely than `min_score`.
        """
        if self.stream is not None and self.stream.cancelled:
            raise InputError("the caption was cancelled: a newer trigger came")
        found = self._of_text(outputs) if self._says_text else self._of_tokens(outputs)
        if found.score is not None and found.score < self.min_score:
            raise InputError(
                f"the score of the sentence is {found.score:.3f}, below min_score {self.min_score:g}: it is left out"
            )
        return found

    def extra(self, result: Caption, context: Placement) -> Mapping[str, Scalar]:
        """Return the timing's fields; null where the model does not tell of its tokens."""
        stream = self.stream
        return {
            "tokens": result.tokens,
            "prefill_ms": None if stream is None else stream.prefill_ms,
            "first_token_ms": None if stream is None else stream.first_token_ms,
            "tokens_per_s": None if stream is None else stream.tokens_per_s,
        }

    def _of_text(self, outputs: Mapping[str, NDArray[Any]]) -> Caption:
        try:
            text = outputs["text"].tobytes().decode()
        except UnicodeDecodeError as error:
            raise EngineError(f"'{self._name}' must give its text as UTF-8: {error}") from error
        tokens = tuple(outputs["tokens"].reshape(-1).tolist())
        scores = tuple(outputs["scores"].reshape(-1).tolist())
        count = int(outputs["count"]) if "count" in outputs else len(tokens)  # a chat server tells no tokens
        return Caption(text, min(scores, default=None), count, tokens, scores)

    def _of_tokens(self, outputs: Mapping[str, NDArray[Any]]) -> Caption:
        tokens = outputs["tokens"].reshape(-1)
        if tokens.min(initial=0) < 0 or tokens.max(initial=0) >= len(self._words):
            raise EngineError(f"tokens must be below {len(self._words)}, got {tokens.tolist()}")
        ends = np.flatnonzero(tokens == self._end)
        length = int(ends[0]) if len(ends) else len(tokens)
        scores = outputs["scores"].reshape(-1)[: length + 1] if "scores" in outputs else np.ones(1, np.float32)
        said = [number for number in tokens[:length].tolist() if number not in self._unsaid]
        return Caption(
            " ".join(self._words[number] for number in said),
            float(scores.min(initial=1.0)),
            length,
            tuple(tokens[:length].tolist()),
            tuple(outputs["scores"].reshape(-1)[:length].tolist()) if "scores" in outputs else (),
        )

    def _token(self, number: int, text: str | None) -> None:
        assert self.stream is not None
        sentence = self.stream.sentences
        sent = self._sent[1] if self._sent[0] == sentence else 0
        if text is None:
            if not 0 <= number < len(self._words) or number in self._unsaid:
                return
            text = f"{' ' if sent else ''}{self._words[number]}"
        if text:
            self._sent = (sentence, sent + 1)
            if self._on_text is not None:
                self._on_text(text)


def check_prompt(prompt: str) -> None:
    """Raise ConfigError where a prompt is too long or holds what no text does."""
    if len(prompt) > LONGEST_PROMPT or any(letter not in "\n\t" and not letter.isprintable() for letter in prompt):
        raise ConfigError(f"prompt must be a printable text of at most {LONGEST_PROMPT} characters, got {len(prompt)}")


def as_bytes(text: str) -> NDArray[np.uint8]:
    """Return a text as an engine's input: its UTF-8 bytes, uint8 [N]."""
    return np.frombuffer(text.encode(), np.uint8)


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
