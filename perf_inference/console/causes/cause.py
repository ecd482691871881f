"""What a cause is."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from perf_inference.printable import OUTSIDE, printable

ERROR, WARN = 85, 40  # from this rank on it is one


@dataclass(frozen=True)
class Cause:
    """One thing that can be said of a node."""

    kind: str
    rank: int  # the worse, the higher; below WARN nothing is wrong
    text: str
    fix: str = ""  # a command; empty: there is nothing to be done
    samples: int = 0  # that its figures rest on; 0: it has none
    about: str = ""  # the topic or machine that it is about; empty: the node

    @property
    def level(self) -> str:
        """`error`, `warning` or `ok`."""
        return "error" if self.rank >= ERROR else "warning" if self.rank >= WARN else "ok"


def word(text: object) -> str:
    """Return a text of others as one word of a command: it is to be copied into a shell."""
    return shlex.quote(printable(text, OUTSIDE))


def shown(text: object) -> str:
    """Return a text of others as part of a sentence."""
    return printable(text, OUTSIDE)


def ms(value: float) -> str:
    """Return milliseconds with as many digits as tell something."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def hz(value: float) -> str:
    """Return a rate."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
