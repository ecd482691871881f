"""Nodes of the same name: services, parameters and heartbeats of one are taken for those of the other."""

from __future__ import annotations

import time

from perf_inference.console.causes.cause import Cause, shown
from perf_inference.console.node import NodeSeen

_DOUBLE_S = 10.0
_LEFT_S = 25.0  # so long a node that was killed stays in the graph
_FIX = "ros2 node list    # end one of them, or name it: --ros-args -r __node:=NAME"


def causes(node: NodeSeen, now_s: float) -> list[Cause]:
    """Return that a node with a heartbeat is not alone with its name."""
    name = shown(node.name)
    if node.double_s is not None and now_s - node.double_s < _DOUBLE_S:
        text = f"several processes call themselves {name}: give each a name of its own"
        return [Cause("double", 97, text, _FIX)]
    count, since_s = node.twins
    if count > 1 and not _may_be_left(node, now_s, since_s):
        return [Cause("double", 97, f"{count} nodes of the graph are named {name}: give each a name of its own", _FIX)]
    return []


def of_strangers(name: str, count: int) -> Cause:
    """Return that several nodes without a heartbeat have this name."""
    text = f"{count} nodes of the graph are named {shown(name)}, or one was killed within the last 20 s"
    return Cause("double", 62, f"{text}: give each a name of its own", _FIX, about=name)


def _may_be_left(node: NodeSeen, now_s: float, since_s: float) -> bool:
    """Return whether the other may be one that was killed, of which the graph does not know yet."""
    if any(now_s - when < _LEFT_S for when in node.restarts) and now_s - since_s < _LEFT_S:
        return True
    started = node.beats[-1].start.partition("/")[2] if node.beats else ""
    age_s = time.time() - int(started) / 1e9 if started.isdecimal() and len(started) < 20 else _LEFT_S
    return 0 <= age_s < _LEFT_S and now_s - since_s < _LEFT_S
