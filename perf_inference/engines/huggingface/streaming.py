"""Between transformers' `generate` and a `TokenStream`: each token as it is known, whole words of text, and the end."""

from __future__ import annotations

from typing import Any

import torch
from transformers import LogitsProcessor, StoppingCriteria

from perf_inference.engines.stream import TokenStream


class Pieces:
    """Takes the tokens that `generate` puts, and hands their text on as far as later tokens cannot change it."""

    def __init__(self, tokenizer: Any, stream: TokenStream) -> None:
        self._tokenizer, self._stream = tokenizer, stream
        self._tokens: list[int] = []
        self._sent = ""
        self._prompt = True

    def put(self, value: Any) -> None:
        """Take what `generate` puts: the prompt first, then a token each time."""
        if self._prompt:
            self._prompt = False
            return
        for number in value.reshape(-1).tolist():
            self._tokens.append(number)
            text = self._tokenizer.decode(self._tokens, skip_special_tokens=True)
            known = text[: text.rfind(" ")] if " " in text else ""  # the last word may go on
            piece = ""
            if known.startswith(self._sent) and not known.endswith("\ufffd"):
                piece, self._sent = known[len(self._sent) :], known
            self._stream.token(number, piece)

    def end(self) -> None:
        """Called by `generate`; the rest is handed on by `finish`, which knows the whole text."""

    def finish(self, text: str) -> None:
        """Hand on what is left of the whole text."""
        if text.startswith(self._sent):
            self._stream.last_text(text[len(self._sent) :])


class Prefilled(LogitsProcessor):
    """Notes when the first logits are there; it changes none."""

    def __init__(self, stream: TokenStream) -> None:
        self._stream: TokenStream | None = stream

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if self._stream is not None:
            if scores.device.type == "cuda":
                torch.cuda.current_stream(scores.device).synchronize()
            self._stream.prefilled()
            self._stream = None
        return scores


class Cancelled(StoppingCriteria):
    """Ends a sentence that nobody wants any more."""

    def __init__(self, stream: TokenStream) -> None:
        self._stream = stream

    def __call__(self, input_ids: Any, scores: Any, **more: Any) -> Any:
        return torch.full((input_ids.shape[0],), self._stream.cancelled, dtype=torch.bool, device=input_ids.device)
