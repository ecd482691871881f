"""Why a node is slow or not well, in a sentence, and the command that goes on from there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from perf_inference.console.causes import inputs, life, machine, names, policy, recorder, time
from perf_inference.console.causes.cause import Cause
from perf_inference.console.machine import Machines
from perf_inference.console.node import NodeSeen


def causes_of(node: NodeSeen, machines: Machines, now_s: float) -> list[Cause]:
    """Return what is to be said of a node, the worst first; there is always something."""
    found = [
        *names.causes(node, now_s),
        *life.causes(node, now_s),
        *policy.causes(node, now_s),
        *recorder.causes(node),
        *inputs.causes(node, machines, now_s),
        *time.causes(node, machines, now_s),
    ]
    found += life.own_words(node, found)
    return sorted(found, key=lambda cause: -cause.rank)


def causes_of_names(count: Mapping[str, int]) -> list[Cause]:
    """Return the names that several nodes of the graph have, of those that have no heartbeat."""
    return [names.of_strangers(name, n) for name, n in sorted(count.items())]


def causes_of_machines(machines: Machines, hosts: Iterable[str], now_s: float) -> list[Cause]:
    """Return what is wrong with the machines themselves, the worst first."""
    found = [cause for host in hosts for cause in machine.causes(machines, host, now_s)]
    return sorted(found, key=lambda cause: -cause.rank)
