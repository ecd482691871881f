"""The node of a publisher or a subscription, as rclpy's `get_publishers_info_by_topic` and its like tell it."""

from __future__ import annotations

from typing import Any

UNKNOWN = "a node whose name is not known yet"
_NO_NAME = "_NODE_NAME_UNKNOWN_"  # rmw_dds_common's: an endpoint may be discovered before its node


def is_named(info: Any) -> bool:
    """Return whether the name of an endpoint's node has come."""
    return bool(info.node_name != _NO_NAME)


def node_of(info: Any) -> str:
    """Return the full name of an endpoint's node, /NAMESPACE/NAME, or `UNKNOWN`; anybody on the network chooses it."""
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}" if is_named(info) else UNKNOWN
