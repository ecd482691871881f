"""Cases of one kind: a few in `make test`, the others in `make prove PROVE=thorough`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def sampled(cases: Iterable[Any], keep: int = 1) -> list[Any]:
    """Return all cases for `parametrize`; those after the first `keep` are marked `thorough`."""
    marked = []
    for number, case in enumerate(cases):
        if number >= keep:
            if isinstance(case, type(pytest.param())):
                case = pytest.param(*case.values, marks=[*case.marks, pytest.mark.thorough], id=case.id)
            else:
                values = case if isinstance(case, tuple) else (case,)
                case = pytest.param(*values, marks=pytest.mark.thorough)
        marked.append(case)
    return marked
