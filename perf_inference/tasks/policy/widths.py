"""How many numbers a term has, before its first sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from perf_inference.tasks.policy.contract.contract import Contract, Term
from perf_inference.tasks.policy.observing.fields import fields_of
from perf_inference.tasks.policy.observing.transforms import transform_of

WidthOf: TypeAlias = Callable[[str, str], int | None]
"""(message type, path) -> numbers there; None: it cannot be told, as of an array without a bound."""


def unknown(kind: str, path: str) -> int | None:
    """Know no message type."""
    return None


def width_of(term: Term, action_width: int, width_at: WidthOf = unknown) -> int | None:
    """Return the numbers of one sample of a term; None: its first sample will tell."""
    if term.source == "constant":
        return len(term.value)
    if term.source == "phase":
        return 2
    if term.source == "previous_action":
        return action_width
    if term.source == "text" or term.is_image:
        return None
    count: int | None
    if term.names:
        count = len(term.names) * len(fields_of(term.type, term.fields))
    else:
        each = [7] if term.source == "tf" else [width_at(term.type, p) for p in fields_of(term.type, term.fields)]
        known = [n for n in each if n is not None]
        count = sum(known) if len(known) == len(each) else None
    transform = transform_of(term.transform, term.ranges)
    if term.ranges is not None:
        return term.ranges.count
    return count if transform is None or count is None else transform.width(count)


def action_width(contract: Contract) -> int:
    """Return how many values all actions have together."""
    return sum(len(action.names) for action in contract.actions)
