"""What a converter is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from perf_inference.engines.engine import Options


class Range(NamedTuple):
    """Shapes between which an input may change; a plan is the fastest at `usual`."""

    least: tuple[int, ...]
    usual: tuple[int, ...]
    most: tuple[int, ...]


Shape = tuple[int, ...] | Range


@dataclass(frozen=True)
class PlanOptions:
    """How TensorRT builds a plan, beyond its precision."""

    workspace_bytes: int = 1 << 30  # the most device memory that one layer may use while it runs
    optimization_level: int | None = None  # 0 builds the quickest, 5 runs the quickest; None: TensorRT's own, 3
    version_compatible: bool = False  # runs on later versions too; holds code that runs on the host
    hardware_compatible: bool = False  # runs on every GPU from Ampere on, slower


PLAIN_PLAN = PlanOptions()


@dataclass(frozen=True)
class Job:
    """One file that is to be made of an ONNX file."""

    model: str  # as the user names it
    precision: str  # of what is made
    options: Options
    shapes: Mapping[str, Shape]  # of inputs whose free axes are to be fixed, or have their range
    folder: Path  # in which a converter keeps what its next job can use
    plan: PlanOptions = PLAIN_PLAN


def fixed(shapes: Mapping[str, Shape]) -> dict[str, tuple[int, ...]]:
    """Return those of the shapes that are no range."""
    return {name: shape for name, shape in shapes.items() if not isinstance(shape, Range)}
