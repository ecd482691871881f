"""TensorRT: its library, the plans that it runs, and the memory of the GPU."""

from typing import Any

from perf_inference._moved import forwarded


def __getattr__(name: str) -> Any:
    """Give what stood here when this was a module."""
    return forwarded(__name__, "engine", name)
