"""How far a benchmark is, and how long it will still take."""

from __future__ import annotations

import sys
import time

from perf_inference.printable import printable

_TERMINAL_S, _LINES_S = 0.2, 5.0
_FIRST_S = 2.0  # what ends sooner says nothing


class Progress:
    """One line that is written again on a terminal, a line every five seconds elsewhere; all on stderr.

    Args:
        expected_s: of the whole, where it is known; otherwise the pace so far tells.
    """

    def __init__(self, name: str, total: int, expected_s: float | None = None) -> None:
        self._name, self._total, self._expected_s = name, total, expected_s
        self._begin_s = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._next_s = self._begin_s + _FIRST_S
        self._written = 0

    def show(self, done: int, words: str = "") -> None:
        """Show that `done` parts of the whole are done, and what is being done."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + (_TERMINAL_S if self._terminal else _LINES_S)
        taken_s = now_s - self._begin_s
        left_s = self._expected_s - taken_s if self._expected_s else None
        if done:
            left_s = taken_s * (self._total - done) / done
        left = "" if left_s is None else f", {max(0.0, left_s):.0f} s left"
        line = printable(f"{self._name}: {done} of {self._total}{left}{': ' if words else ''}{words}")
        if self._terminal:
            print(f"\r{line.ljust(self._written)}", end="", file=sys.stderr, flush=True)
            self._written = len(line)
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the line away."""
        if self._written:
            print(f"\r{' ' * self._written}\r", end="", file=sys.stderr, flush=True)
            self._written = 0
