"""Parameters that somebody has set while a node was being configured."""

from __future__ import annotations

from array import array
from dataclasses import fields
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter


def set_since(node: Node, kind: type[Any], before: Any) -> list[Parameter]:
    """Return those of the dataclass that may change while the node runs, and are not what they were."""
    found = []
    for item in fields(kind):
        if item.metadata["while_running"]:
            now = node.get_parameter(item.metadata["name"] or item.name)
            if _plain(now.value) != _plain(getattr(before, item.name)):
                found.append(now)
    return found


def _plain(value: Any) -> Any:
    return list(value or ()) if value is None or isinstance(value, tuple | array) else value
