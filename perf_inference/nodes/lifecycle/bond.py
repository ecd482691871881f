"""The bond of a managed node with its lifecycle manager, which learns by it that the node has died (nav2)."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from rclpy.node import Node

_PERIOD_S, _TIMEOUT_S = 0.1, 4.0  # as nav2's nodes have it


def form_bond(node: Node) -> Any:
    """Return a bond that has been begun; None: bondpy is not installed."""
    if importlib.util.find_spec("bondpy") is None:
        return None
    bond = importlib.import_module("bondpy.bondpy").Bond(node, "bond", node.get_name())
    bond.set_heartbeat_period(_PERIOD_S)
    bond.set_heartbeat_timeout(_TIMEOUT_S)
    bond.start()
    return bond
