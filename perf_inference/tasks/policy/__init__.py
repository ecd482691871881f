"""Policies: their contract (`contract/`), what they see (`observing/`), and how their chunks are played (`chunks/`)."""

from typing import Any

from perf_inference._moved import forwarded


def __getattr__(name: str) -> Any:
    return forwarded(__name__, "policy_task", name)
