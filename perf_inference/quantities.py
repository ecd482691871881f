"""Numbers as they are typed behind a command's options; a wrong one is wrong usage (status 2), said in one sentence."""

from __future__ import annotations

import argparse
import math


def positive(text: str) -> int:
    """Return a whole number above 0; raise ArgumentTypeError otherwise."""
    return _whole(text, 1, "above 0")


def whole(text: str) -> int:
    """Return a whole number from 0 on; raise ArgumentTypeError otherwise."""
    return _whole(text, 0, "from 0 on")


def above_zero(text: str) -> float:
    """Return a finite number above 0; raise ArgumentTypeError otherwise."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got '{text}'")
    return value


def not_negative(text: str) -> float:
    """Return a finite number from 0 on; raise ArgumentTypeError otherwise."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number from 0 on, got '{text}'")
    return value


def _whole(text: str, least: int, said: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < least:
        raise argparse.ArgumentTypeError(f"must be a whole number {said}, got '{text}'")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
