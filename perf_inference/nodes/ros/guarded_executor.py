"""An executor that no callback can end.

rclpy raises the error of a callback out of `spin_once`, which ends the process, though the next message may be a good
one. Worse, an error while the message is taken leaves the entity marked as at work: it is never called again, nor is
any other in its callback group. Here both are counted as faults of the node, and the callback is over.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from perf_inference.nodes.reports.faults import Faults, faults_of


class GuardedExecutor(SingleThreadedExecutor):
    """Runs the callbacks of subscriptions, timers, services, clients, guard conditions and events of the middleware."""

    def _make_handler(self, entity: Any, node: Node, take: Callable[..., Any], *execute: Any) -> Any:
        """Guard both halves: taking what came, and the callback.

        Up to Iron rclpy hands in the second half as `execute`; later ones have it returned by the first.
        """
        faults, where = faults_of(node), f"the callback of {_name(entity)}"

        def taken(*arguments: Any) -> Any:
            work = None
            with faults.watching(where):
                work = take(*arguments)
            return work if execute or work is None else _guarded(work, faults, where)

        return super()._make_handler(entity, node, taken, *(_guarded(work, faults, where) for work in execute))


def _guarded(work: Callable[..., Awaitable[Any]], faults: Faults, where: str) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(work)
    async def run(*arguments: Any) -> None:
        with faults.watching(where):
            await work(*arguments)

    return run


def _name(entity: Any) -> str:
    """Return what an entity is, in words."""
    kind = type(entity).__name__.lower()
    name = getattr(entity, "topic_name", None) or getattr(entity, "srv_name", None)
    return f"{kind} {name}" if name else f"a {kind}"
