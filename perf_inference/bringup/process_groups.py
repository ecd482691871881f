"""Which nodes share a process: all (a container), those of a group (`start.process`), or none."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from perf_inference.bringup.executables import CONTAINER
from perf_inference.bringup.robot import Graph, NodeSpec
from perf_inference.errors import ConfigError


class ProcessSpec(NamedTuple):
    """One process to start."""

    name: str  # what the starters call it: of its only node, or of its group
    nodes: tuple[NodeSpec, ...]
    graph: Graph  # of these nodes
    shared: bool  # it is a container, also of one node
    image_bytes: int = 0  # of an image that it publishes, where a segment is made for that; 0: of the usual size

    @property
    def images(self) -> bool:
        """Whether it publishes images."""
        return any(node.images for node in self.nodes)

    @property
    def command(self) -> list[str]:
        """Its command line."""
        return self.graph.container_command() if self.shared else self.graph.command(self.nodes[0])


def processes(graph: Graph, container: bool = False) -> tuple[ProcessSpec, ...]:
    """Return the processes of a graph, in the order of their first nodes.

    Args:
        container: all nodes are in one.

    Raises:
        ConfigError: the nodes of a group cannot share a process, or it is called as a node is.
    """
    groups: dict[str, list[NodeSpec]] = {}
    for node in graph.nodes:
        group = f"{node.namespace}/{node.process}".lstrip("/") if node.process else node.label
        groups.setdefault(CONTAINER if container else group, []).append(node)
    found = []
    for name, nodes in groups.items():
        shared = container or bool(nodes[0].process)
        _check(name, nodes, graph, shared)
        enclave = graph.enclave if container else nodes[0].enclave
        sizes = [node.image_bytes for node in nodes if node.images]
        size = max(sizes, default=0) if all(sizes) else 0
        part = replace(graph, nodes=tuple(nodes), enclave=enclave)
        found.append(ProcessSpec(name, tuple(nodes), part, shared, size))
    return tuple(found)


def _check(name: str, nodes: list[NodeSpec], graph: Graph, shared: bool) -> None:
    """Raise ConfigError for a group that cannot be."""
    if name == CONTAINER or not shared:
        return
    if name in {node.label for node in graph.nodes}:
        raise ConfigError(
            f"start.process must be another name than a node's, got '{name}'; call it {name}_process, say"
        )
    if len({node.enclave for node in nodes}) > 1:
        raise ConfigError(
            f"the nodes of the process '{name}' must have one start.enclave, got "
            f"{', '.join(f'{node.name}: {node.enclave or None}' for node in nodes)}"
        )
