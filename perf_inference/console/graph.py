"""What a console asks of a graph; `nodes/console/live.py` has it of a real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from perf_inference.console.picture import Picture
from perf_inference.console.watch import Watch


@dataclass(frozen=True)
class Offered:
    """What the parameters of a node say of its models."""

    model: str
    allowed_models: tuple[str, ...]
    precision: str
    runtime: str
    device: str


class Graph(Protocol):
    """A graph; what blocks raises CallError with a sentence, and is called from a thread of its own."""

    def look(self) -> Picture:
        """Return what is so now."""

    def note(self, text: str) -> None:
        """Add what was done to the time line."""

    def with_watch(self, work: Callable[[Watch], Any]) -> Any:
        """Return what `work` reads of what was heard."""

    def stop(self) -> None:
        """Disable every policy; returns at once, whatever else is being waited for."""

    def stopped(self) -> str:
        """Return what has come of it, once; empty: nothing new."""

    def call(self, word: str) -> str:
        """Ask for one thing of `calls.CALLS`; return the answer (blocks)."""

    def set(self, node: str, values: Mapping[str, Any]) -> str:
        """Set parameters, and wait for a swap; return what is in force (blocks)."""

    def offered(self, node: str) -> Offered:
        """Return what a node's models may be (blocks)."""

    def end_stack(self) -> str:
        """End what was started with the console, if anything; return what was done (blocks)."""
