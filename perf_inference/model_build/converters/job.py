"""What a converter is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from perf_inference.engines.engine import Options


@dataclass(frozen=True)
class Job:
    """One file that is to be made of an ONNX file."""

    model: str  # as the user names it
    precision: str  # of what is made
    options: Options
    shapes: Mapping[str, tuple[int, ...]]  # of inputs whose free axes are to be fixed
    folder: Path  # in which a converter keeps what its next job can use
