"""perf-inference run: the nodes of a ROS parameters file, kept running."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

from perf_inference import child_process, environment, search_path, shared_memory
from perf_inference.commands.stopping import StopFlag
from perf_inference.errors import EX_CONFIG
from perf_inference.graph import Graph, default_config, read_graph
from perf_inference.printable import printable
from perf_inference.supervisor import Supervisor

NEEDS_ROS = True
_LOOK_S = 3.0

NO_TUNING = "leave transport and allocator as they are (as does PERF_INFERENCE_TUNING=off)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--config", type=Path, help="ROS parameters file (default: config/robot.yaml of the package)")
    parser.add_argument("--namespace", default="", help="namespace of all nodes")
    parser.add_argument("--sim", action="store_true", help="start the simulated robot too, and enable the policy")
    parser.add_argument("--container", action="store_true", help="all nodes in one process")
    parser.add_argument("--no-tuning", dest="tuning", action="store_false", help=NO_TUNING)
    parser.add_argument("--no-record", dest="record", action="store_false", help="leave the recorder out")
    add_set_argument(parser)


def add_set_argument(parser: argparse.ArgumentParser) -> None:
    """Add --set, which the demo has too."""
    parser.add_argument("--set", action="append", default=[], metavar="NODE.PARAMETER=VALUE", dest="assignments",
                        help="a parameter over the file's, again and again: policy_node.runtime=torch")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Start the nodes; end with Ctrl-C or SIGTERM (status 0) or when none is left (1; wrong configuration: 78)."""
    stop = StopFlag()
    graph = read_graph(options.config or default_config(), options.sim, options.record, assignments=options.assignments)
    say(f"{len(graph.nodes)} nodes from {graph.files[0]}: {', '.join(node.name for node in graph.nodes)}")
    own = prepare(graph, options.container, options.tuning)
    supervisor = Supervisor(commands(graph, options.namespace, options.container), child_environment(), say, own=own)
    supervisor.start()
    memory = MemoryWatch(supervisor, say)
    while not stop and supervisor.running and not supervisor.misconfigured:
        supervisor.poll()
        memory.look()
        time.sleep(0.05)
    if stop:
        say(f"{stop.name}: stopping")
    supervisor.poll()
    misconfigured = supervisor.misconfigured
    supervisor.stop()
    tidy()
    graph.close()
    for fate in supervisor.fates():
        say(fate)
    if graph.run_directory is not None:
        say(f"recorded in {graph.run_directory}")
    if misconfigured:
        return EX_CONFIG
    return 0 if stop else 1


def commands(graph: Graph, namespace: str, container: bool) -> dict[str, list[str]]:
    """Return the command lines by name: one per node, or one container."""
    if container:
        return {"container": graph.container_command(namespace)}
    return {node.name: graph.command(node, namespace) for node in graph.nodes}


def prepare(graph: Graph, container: bool, wanted: bool) -> dict[str, dict[str, str]]:
    """Set the transport and the allocator, say so, and return what single processes get of it.

    Args:
        wanted: false leaves all as it is.
    """
    if not wanted:
        environment.switch_off(os.environ)
    tidy()
    publishers = graph.image_publishers(container)
    tuning = environment.tuning(os.environ, publishers)
    say(tuning.line)
    names = ["container"] if container else [node.name for node in graph.nodes]
    return {name: tuning.of(images=name in publishers) for name in names}


def tidy() -> None:
    """Remove the shared memory that processes which were killed have left behind, and say so."""
    if not environment.is_off(os.environ) and (removed := shared_memory.describe(shared_memory.clean())):
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
    own = {**child_process.named(), environment.SIGNAL_STATUS: "1", "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **search_path.of_children(os.environ), **own}


def say(line: str) -> None:
    """Print one line at once."""
    print(f"perf-inference: {printable(line)}", flush=True)
