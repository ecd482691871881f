"""A check, what came of it, and the sections that they are in."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Status = Literal["ok", "wrong", "skipped", "failed"]
ROOM = "perf_inference.bench.gpu_check"


class Skip(Exception):  # noqa: N818, no error
    """The check cannot be done here; says why."""


class Table(NamedTuple):
    """Figures of one check, for the page."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Outcome:
    """What a check saw."""

    said: str  # one sentence, with the figures
    ok: bool = True
    values: Mapping[str, Any] = field(default_factory=dict)  # plain JSON
    table: Table | None = None
    text: str = ""  # printed by others, as it is


@dataclass(frozen=True)
class Result:
    """One line of the page."""

    section: str
    check: str
    status: Status
    said: str
    took_s: float = 0.0
    values: Mapping[str, Any] = field(default_factory=dict)
    table: Table | None = None
    text: str = ""


Check = Callable[[], Outcome]


@dataclass(frozen=True)
class Section:
    """Checks of one subject."""

    name: str  # the module, and what --only takes
    title: str
    limit_s: float  # of all of them; of each where they are run alone
    alone: bool = False  # each check in a process of its own: it leaves its process unusable
    at_once: int = 1  # how many of these processes run at the same time

    def checks(self) -> Mapping[str, Check]:
        """Return the checks by name; their libraries are imported only now."""
        found: Sequence[Check] = importlib.import_module(f"{ROOM}.{self.name}").CHECKS
        return {check.__name__: check for check in found}


SECTIONS = (
    Section("machine", "The machine, and what NVML says beside nvidia-smi", 60),
    Section("waiting", "Waiting, events, memory and graphs through the CUDA runtime alone", 60),
    Section("threads", "Threads: what a wait costs, and in which context they work", 60),
    Section("pytorch", "The same through PyTorch", 90),
    Section("torch_engines", "PyTorch's engines: right, and how fast", 180),
    Section("torch_memory", "Too little memory", 90),
    Section("errors", "Errors that break the process' CUDA", 60, alone=True, at_once=3),
    Section("onnx", "ONNX Runtime's providers", 60, alone=True),
    Section("tensorrt", "TensorRT: build, run, swap", 150),
    Section("load", "Load: clocks, temperatures and energy", 90),
    Section("compiled", "torch.compile", 150),
    Section("jetson", "Jetson", 20),
)


def run_check(section: Section, name: str, check: Check) -> Result:
    """Run one check; whatever it raises is its result."""
    began_s = time.monotonic()
    try:
        outcome = check()
    except Skip as reason:
        return Result(section.name, name, "skipped", str(reason), time.monotonic() - began_s)
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:600]
        return Result(section.name, name, "failed", said, time.monotonic() - began_s)
    took_s = time.monotonic() - began_s
    status: Status = "ok" if outcome.ok else "wrong"
    return Result(section.name, name, status, outcome.said, took_s, outcome.values, outcome.table, outcome.text)
