"""What an engine that makes a sentence word by word tells while it does it.

An engine that can has an attribute `stream`; whoever wants to know sets it, on the thread that calls `infer` or before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable


class TokenStream:
    """Takes down when each token was known, and hands its text on.

    `begin`, `prefilled`, `token` and `last_text` are called by the engine; `cancel` by anybody, on any thread.
    """

    def __init__(
        self, said: Callable[[int, str | None], None] = lambda token, text: None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:  # fmt: skip
        """Take who is told of each token: its number (-1: not known), and its text where the engine knows it."""
        self._said, self._now_ns = said, now_ns
        self._cancelled = False
        self.wants_text = True  # whether an engine that must make the text of its tokens is to make it before the end
        self.interrupt: Callable[[], None] | None = None  # set by an engine while it waits for what may never come
        self.sentences = 0  # that were begun
        self._begin_ns = now_ns()
        self._prefilled_ns: int | None = None
        self._tokens_ns: list[int] = []

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the rest: the engine ends the sentence as soon as it can."""
        return self._cancelled

    def cancel(self) -> None:
        """End the sentence that is being made."""
        self._cancelled = True
        if (interrupt := self.interrupt) is not None:
            interrupt()

    def begin(self) -> None:
        """Begin a sentence: `infer` was called."""
        self._cancelled = False
        self.sentences += 1
        self._prefilled_ns, self._tokens_ns, self._begin_ns = None, [], self._now_ns()

    def prefilled(self) -> None:
        """Take down that image and prompt have been read."""
        self._prefilled_ns = self._now_ns()

    def token(self, number: int, text: str | None = None) -> None:
        """Take down a token; its text may still be empty, where it is part of a letter or of a word."""
        self._tokens_ns.append(self._now_ns())
        self._said(number, text)

    def last_text(self, text: str) -> None:
        """Hand on text that belongs to tokens told before."""
        if text:
            self._said(-1, text)

    @property
    def prefill_ms(self) -> float | None:
        """From the call of `infer` until image and prompt had been read; None: not told."""
        return None if self._prefilled_ns is None else (self._prefilled_ns - self._begin_ns) / 1e6

    @property
    def first_token_ms(self) -> float | None:
        """From the call of `infer` until the first token was known; None: there was none."""
        return (self._tokens_ns[0] - self._begin_ns) / 1e6 if self._tokens_ns else None

    @property
    def tokens_per_s(self) -> float | None:
        """Of the tokens after the first; None: fewer than two."""
        if len(self._tokens_ns) < 2 or self._tokens_ns[-1] == self._tokens_ns[0]:
            return None
        return (len(self._tokens_ns) - 1) * 1e9 / (self._tokens_ns[-1] - self._tokens_ns[0])


@runtime_checkable
class Streaming(Protocol):
    """An engine that tells of its tokens."""

    stream: TokenStream | None
