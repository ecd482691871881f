"""ONNX Runtime, and what an .onnx file says without it."""

from typing import Any

from perf_inference._moved import forwarded


def __getattr__(name: str) -> Any:
    """Give what stood here when this was a module."""
    return forwarded(__name__, "engine", name)
