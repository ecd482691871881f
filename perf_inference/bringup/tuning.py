"""Settings of a process that large messages need: the middleware's transport and glibc's allocator.

A stock shared-memory segment (512 kB) cannot hold a camera image, and a stock allocator maps and unmaps every image
again. Both are read when a process starts, hence set here for child processes, and by `tune_this_process` before rclpy
is imported. The transport takes memory, and only publishers of images need it; the allocator serves all. What the
user has set is never changed, and PERF_INFERENCE_TUNING=off leaves all as it is. docs/transport.md has the figures.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from perf_inference.bringup import middleware
from perf_inference.bringup.executables import COMMAND, CONTAINER, NODES

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}
PAGES = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"
}  # copies of 6 MB are a fifth faster; read at a process's start only
TUNING = "PERF_INFERENCE_TUNING"  # off: nothing is set; by_starter: a starter has decided already
RESTARTED = "PERF_INFERENCE_RESTARTED"  # set for a process that is started again after it died
SIGNAL_STATUS = (
    "PERF_INFERENCE_SIGNAL_STATUS"  # set for a process whose exit status shall name the signal that ended it
)
_STARTED = re.compile(r"(?:.*/|perf_inference\.nodes\.)?(\w+_node|container|perf-inference)(?:=.*)?")
_NODE = re.compile(r"(?:.*/|perf_inference\.nodes\.)(\w+_node|container)(?:\.py)?")
_OFF = ("off", "0", "false", "no")
_BY_STARTER = "by_starter"
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # malloc.h
_own: dict[str, str] = {}  # what this process has set for itself


class Tuning(NamedTuple):
    """What a starter adds to the environment of its processes."""

    all: Mapping[str, str]
    images: Mapping[str, str]  # publishers of images, besides
    others: Mapping[str, str]  # the others, besides
    line: str  # what it is, for the user
    short: str  # that something is set, and what the user has to know of it
    sized: Mapping[str, Mapping[str, str]] = MappingProxyType({})  # publishers whose images have a known size

    def of(self, images: bool, name: str = "") -> dict[str, str]:
        """Return what a process gets that does, or does not, publish images.

        Args:
            name: of the process, of which `choose` may have been told how large its images are.
        """
        return {**self.all, **(self.sized.get(name, self.images) if images else self.others)}


def is_off(environment: Mapping[str, str]) -> bool:
    """Return whether the user wants nothing set."""
    return environment.get(TUNING, "").lower() in _OFF


def switch_off(environment: MutableMapping[str, str]) -> None:
    """Leave all as it is, here and in the processes that are started from here."""
    environment[TUNING] = _OFF[0]


def choose(
    environment: Mapping[str, str],
    image_publishers: Sequence[str] = (),
    limits: middleware.KernelLimits | None = None,
    started: bool = True,
    image_bytes: Mapping[str, int] = MappingProxyType({}),
) -> Tuning:
    """Return what to add for processes of which these publish images (none named: one that may).

    Args:
        started: for processes that will be started; False: for one that runs, which is too late for some of it.
        image_bytes: how large an image of these publishers is, by name, where it is known.
    """
    if is_off(environment):
        line = f"transport and allocator: stock ({TUNING}={environment[TUNING]})"
        return Tuning({}, {}, {}, line, line)
    count = max(1, len(image_publishers))
    setting = middleware.transport(environment, count, limits)
    sized = {
        name: middleware.transport(environment, count, limits, size).variables for name, size in image_bytes.items()
    }
    own = any(name in environment for name in ALLOCATOR)
    pages = PAGES if started and not environment.keys() & PAGES.keys() else {}
    allocator = {} if own else {**ALLOCATOR, **pages}
    parts = _parts(setting, {name: sized.get(name, setting.variables) for name in image_publishers})
    if setting.others not in ({}, setting.variables) and list(image_publishers) != [CONTAINER]:
        parts.append(f"{_assignments(setting.others)} for the others")
    parts = [*(parts if setting.variables else []), *([setting.remark] if setting.remark else [])]
    parts.append(_assignments(allocator) or "allocator as you have set it")
    line = f"transport and allocator: {', '.join(parts)} ({TUNING}=off: stock)"
    brief = ["set for images"] if setting.variables else []
    brief += [*([setting.remark] if setting.remark else []), *([] if allocator else ["allocator as you have set it"])]
    short = f"transport and allocator: {', '.join(brief) or 'allocator set'}"
    return Tuning({**allocator, TUNING: _BY_STARTER}, setting.variables, setting.others, line, short, sized)


def _parts(setting: middleware.Setting, publishers: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return in words what the publishers of images get, those of one size together."""
    if setting.variables == setting.others:
        return [_assignments(setting.variables)]
    names: dict[str, list[str]] = {}
    for name, variables in publishers.items():
        names.setdefault(_assignments(variables), []).append(name)
    return [f"{said} for {', '.join(who)}" for said, who in names.items()] or [
        f"{_assignments(setting.variables)} for publishers of images"
    ]


def tuned(environment: Mapping[str, str], images: bool = True, image_bytes: int = 0) -> dict[str, str]:
    """Return the environment with the settings added for which the user has none.

    Args:
        images: for a process that publishes images.
        image_bytes: the size of one; 0: not known.
    """
    sizes = {"": image_bytes} if image_bytes else {}
    return {**environment, **choose(environment, image_bytes=sizes).of(images, "")}


def describe(environment: Mapping[str, str], image_publishers: Sequence[str] = ()) -> str:
    """Return one line on what `tuned` adds."""
    return choose(environment, image_publishers).line


def tune_this_process() -> str:
    """Set the same for the process itself; call it before rclpy is imported. Return a line on what was set."""
    if is_off(os.environ) or os.environ.get(TUNING) == _BY_STARTER:
        return ""
    images = may_publish_images(sys.orig_argv)
    chosen = choose(os.environ, started=False)
    added = chosen.of(images)
    _own.update({name: value for name, value in added.items() if name not in {*ALLOCATOR, TUNING}})
    os.environ.update(_own)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and "MALLOC_MMAP_THRESHOLD_" in added:
        mallopt(_M_MMAP_THRESHOLD, int(ALLOCATOR["MALLOC_MMAP_THRESHOLD_"]))
        mallopt(_M_TRIM_THRESHOLD, int(ALLOCATOR["MALLOC_TRIM_THRESHOLD_"]))
    return chosen.line


def handed_on() -> dict[str, str]:
    """Return the environment for processes that are started from here, without what this one has set for itself.

    They would take it for the user's choice: a camera would get the small segment of a process that only listens.
    """
    return {name: value for name, value in os.environ.items() if _own.get(name) != value}


def is_node(command: Sequence[str]) -> bool:
    """Return whether a process with this command line is a node of this package, or a container of them."""
    return any(_NODE.fullmatch(word) for word in command)


def may_publish_images(command: Sequence[str]) -> bool:
    """Return whether a process with this command line may publish images; a program of others may."""
    names = {found[1] for found in map(_STARTED.fullmatch, command) if found}
    if "perf_inference.cli" in command:
        names.add(COMMAND)
    known = names & {*NODES, COMMAND}
    return not known or any(NODES.get(name, False) for name in names)


def _assignments(variables: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in variables.items())
