"""Between transformers' `generate` and a `TokenStream`: each token as it is known, whole words of text, and the end."""

from __future__ import annotations

from typing import Any

import torch
from transformers import StoppingCriteria

from perf_inference.engines.stream import TokenStream


class Pieces:
    """Takes the tokens that `generate` puts, and hands their text on as far as later tokens cannot change it."""

    def __init__(self, tokenizer: Any, stream: TokenStream, begins: WordBegins) -> None:
        self._tokenizer, self._stream, self._begins = tokenizer, stream, begins
        self._tokens: list[int] = []
        self._sent = ""
        self._prompt = True

    def put(self, value: Any) -> None:
        """Take what `generate` puts: the prompt first, then a token each time."""
        if self._prompt:
            self._prompt = False
            return
        for number in value.reshape(-1).tolist():
            if (
                not self._tokens and self._stream.prefill_ms is None
            ):  # another part of the model ran: BLIP's decoder, say
                self._stream.prefilled()
            self._tokens.append(number)
            self._stream.token(number, "")
            if self._stream.wants_text and self._begins.word(number):  # no other ends the word before it
                self._hand_on()

    def _hand_on(self) -> None:
        text = self._tokenizer.decode(self._tokens, skip_special_tokens=True)
        known = text[: text.rfind(" ")] if " " in text else ""  # the last word may go on
        if known.startswith(self._sent) and not known.endswith("\ufffd"):
            piece, self._sent = known[len(self._sent) :], known
            self._stream.last_text(piece)

    def end(self) -> None:
        """Called by `generate`; the rest is handed on by `finish`, which knows the whole text."""

    def finish(self, text: str) -> None:
        """Hand on what is left of the whole text."""
        if text.startswith(self._sent):
            self._stream.last_text(text[len(self._sent) :])


class WordBegins:
    """Knows which tokens begin a word: of the others the text so far need not be made, which takes a good part of the
    time of a small model's token."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._marked = any(raw.startswith(_SPACES) for raw in map(str, tokenizer.get_vocab()))
        self._known: dict[int, bool] = {}

    def word(self, number: int) -> bool:
        """Return whether the token may begin a word; where its tokenizer does not say, it may."""
        known = self._known.get(number)
        if known is None:
            known = self._known[number] = self._look(number)
        return known

    def _look(self, number: int) -> bool:
        raw = self._tokenizer.convert_ids_to_tokens(number)
        if not isinstance(raw, str) or number in self._tokenizer.all_special_ids:
            return True
        if self._marked:
            return any(space in raw for space in (*_SPACES, " "))
        return not raw.startswith("##")


_SPACES = ("\u0120", "\u2581")
"""What stands for a space in vocabularies of byte-level BPE and of SentencePiece; WordPiece marks the rest of words."""


class Prefilled:
    """Notes when the model has run for the first time; after that it costs nothing."""

    def __init__(self, model: Any, stream: TokenStream) -> None:
        self._stream = stream
        self._hook = model.register_forward_hook(self._ran)

    def _ran(self, model: Any, given: Any, made: Any) -> None:
        self.end()
        device = next(model.parameters()).device
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
        self._stream.prefilled()

    def end(self) -> None:
        """Listen no longer."""
        self._hook.remove()


class Cancelled(StoppingCriteria):
    """Ends a sentence that nobody wants any more."""

    def __init__(self, stream: TokenStream, device: Any) -> None:
        self._stream = stream
        self._answers = {answer: torch.full((1,), answer, dtype=torch.bool, device=device) for answer in (False, True)}

    def __call__(self, input_ids: Any, scores: Any, **more: Any) -> Any:
        return self._answers[self._stream.cancelled]
