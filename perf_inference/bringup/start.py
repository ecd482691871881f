"""Start the nodes of a graph: their command lines, their environment, and what is told meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from perf_inference.bringup import child_process, search_path, shared_memory, tuning
from perf_inference.bringup.domain import free_domain
from perf_inference.bringup.process_groups import ProcessSpec, processes
from perf_inference.bringup.robot import Graph
from perf_inference.bringup.supervisor import Supervisor
from perf_inference.files.private import open_own, own_folder
from perf_inference.printable import printable

_LOOK_S = 3.0
_FIRST = ("recorder_node", "policy_node")  # executables: what comes is recorded, and a robot waits for its policy
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT
NODES_LOG = "nodes.log"  # in a run's directory: what starter and nodes printed


def commands(graph: Graph, container: bool) -> dict[str, list[str]]:
    """Return the command lines by name, in the order in which they are to be started.

    One is of a node, of a group of nodes, or of a container with all. First comes the recorder's, then the policy's,
    and then they come as the file has them.
    """
    return {process.name: process.command for process in sorted(processes(graph, container), key=_turn)}


def _turn(process: ProcessSpec) -> int:
    executables = {node.executable for node in process.nodes}
    return next((turn for turn, first in enumerate(_FIRST) if first in executables), len(_FIRST))


def prepare(graph: Graph, container: bool, wanted: bool, verbose: bool = False) -> dict[str, dict[str, str]]:
    """Set the transport and the allocator, say so, and return what single processes get of it.

    What exactly is set goes into each run's nodes.log.

    Args:
        wanted: false leaves all as it is.
        verbose: say what exactly is set.
    """
    if not wanted:
        tuning.switch_off(os.environ)
    tidy()
    started = processes(graph, container)
    chosen = choose(tuning.handed_on(), started)
    say(chosen.line if verbose or chosen.short == chosen.line else f"{chosen.short} (-v says what)")
    for directory in graph.run_directories:
        note(directory, chosen.line)
    return {process.name: chosen.of(process.images, process.name) for process in started}


def choose(environment: Mapping[str, str], started: Sequence[ProcessSpec]) -> tuning.Tuning:
    """Return what these processes get of transport and allocator."""
    publishers = [process.name for process in started if process.images]
    sizes = {process.name: process.image_bytes for process in started if process.image_bytes}
    return tuning.choose(environment, publishers, image_bytes=sizes)


def note(directory: Path, line: str) -> None:
    """Write a line of the starter into the nodes.log of a run's directory."""
    with open(open_own(own_folder(directory) / NODES_LOG, _APPEND), "a", encoding="utf-8") as file:
        file.write(f"perf-inference: {printable(line)}\n")


def choose_domain() -> int | None:
    """Take a ROS domain that nobody else uses, unless the user has chosen one; return it."""
    if "ROS_DOMAIN_ID" in os.environ:
        return None
    os.environ["ROS_DOMAIN_ID"] = str(free_domain())
    return int(os.environ["ROS_DOMAIN_ID"])


def tidy() -> None:
    """Remove the shared memory that processes which were killed have left behind, and say so."""
    if not tuning.is_off(os.environ) and (removed := shared_memory.describe(shared_memory.clean())):
        say(removed)


class MemoryWatch:
    """Tells of processes whose shared memory was removed under them: their neighbours will not find it again."""

    def __init__(self, supervisor: Supervisor, tell: Callable[[str], None]) -> None:
        self._supervisor, self._tell = supervisor, tell
        self._told: set[int] = set()
        self._next_s = time.monotonic()

    def look(self) -> None:
        """Look once in some seconds; call it often."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + _LOOK_S
        for child in self._supervisor.children:
            pid = child.process.pid if child.process is not None and child.alive else None
            if pid is not None and pid not in self._told and shared_memory.is_cut_off(pid):
                self._told.add(pid)
                self._tell(
                    f"{child.name}: its shared memory was removed from {shared_memory.SHM}; who starts from now on "
                    "cannot hear it, the recorder neither: start all of them again"
                )


def child_environment() -> dict[str, str]:
    """Return the environment of the nodes' processes."""
    own = {**child_process.named(), tuning.SIGNAL_STATUS: "1", "PYTHONUNBUFFERED": "1"}
    return {**tuning.handed_on(), **search_path.of_children(os.environ), **own}


def say(line: str) -> None:
    """Print one line at once."""
    print(f"perf-inference: {printable(line)}", flush=True)
