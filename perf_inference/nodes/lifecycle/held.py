"""What a node holds while it is configured: its cleanup lets all of it go, however far the configuring came."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from perf_inference.nodes.ros.runner import RunnableNode


class Held:
    """All that was made of a node since this."""

    def __init__(self, node: RunnableNode) -> None:
        self._node = node
        self._before = {id(entity) for entity, _ in self._entities()}
        self._judges = len(node.judges)
        self._stack = ExitStack()
        self._parameters: list[str] = []

    def at_close(self, end: Callable[[], object]) -> None:
        """Call this when it is let go, before what was given earlier."""
        self._stack.callback(end)

    def parameter(self, name: str) -> None:
        """Undeclare this parameter when it is let go."""
        self._parameters.append(name)

    def close(self) -> None:
        """Call what `at_close` was given (any thread)."""
        self._stack.close()

    def destroy(self) -> None:
        """Destroy publishers, subscriptions, services, timers and what else of ROS was made (ROS thread)."""
        for judge in self._node.judges[self._judges :]:
            self._node.remove_on_set_parameters_callback(judge)
        del self._node.judges[self._judges :]
        for entity, destroy in self._entities():
            if id(entity) not in self._before:
                destroy(entity)
        for name in self._parameters:
            if self._node.has_parameter(name):
                self._node.undeclare_parameter(name)

    def _entities(self) -> list[tuple[Any, Callable[[Any], Any]]]:
        node = self._node
        kinds = (
            (node.subscriptions, node.destroy_subscription),
            (node.timers, node.destroy_timer),
            (node.services, node.destroy_service),
            (node.clients, node.destroy_client),
            (node.guards, node.destroy_guard_condition),
            (node.publishers, node.destroy_publisher),
        )
        return [(entity, destroy) for entities, destroy in kinds for entity in list(entities)]
