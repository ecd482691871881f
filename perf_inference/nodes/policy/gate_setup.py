"""What a gate is made of, as one value that goes to another process as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from perf_inference.errors import ConfigError
from perf_inference.safety import GateSettings, JointLimits


@dataclass(frozen=True)
class Topics:
    """Resolved names: the gate's node has no remappings of its own."""

    action: str
    action_shadow: str
    joint_states: str
    estop: str
    speed_scale: str
    enable: str  # a service

    @classmethod
    def of(cls, node: Node) -> Topics:
        """Return those of policy_node."""

        def resolved(name: str) -> str:
            return str(node.resolve_topic_name(name))

        enable = str(node.resolve_service_name("~/enable"))
        return cls(
            resolved("action"), resolved("action_shadow"), resolved("joint_states"), resolved("estop"),
            resolved("speed_scale"), enable,
        )  # fmt: skip


@dataclass(frozen=True)
class GateSetup:
    """Everything that decides about the gate."""

    limits: JointLimits
    settings: GateSettings
    inputs: Mapping[str, str]  # topics by the name of the input
    topics: Topics
    message: str  # of the topic action: one of ACTION_MESSAGES but auto, or a plug-in
    enabled: bool
    active: bool = True  # policy_node is, or is so in a moment
    joints_qos: Mapping[str, Any] | None = None  # of the reader of joint_states; None: as the node's parameters say
    action_qos: Mapping[str, Any] | None = None  # of the publisher of action; None: as the node's parameters say
    shadow: bool = False  # begin on the topic action_shadow, with no publisher of action
    ours: tuple[str, ...] = ()  # publishers of action that are policy_node's own: their gids in hexadecimal
    hears_joints: bool = True  # joint_states are a topic; False: policy_node tells of what stands for them
    estop_timeout_s: float | None = None  # estop is required, and older than this counts as true

    def as_values(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> GateSetup:
        """Return what `as_values` made JSON of.

        Raises:
            ConfigError: it is of another version.
        """
        try:
            limits = {name: tuple(value) for name, value in values["limits"].items()}
            made = {
                "limits": JointLimits(**limits),
                "settings": GateSettings(**values["settings"]),
                "topics": Topics(**values["topics"]),
                "ours": tuple(values["ours"]),
            }
            return cls(**{**values, **made})
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"the gate and policy_node are of two versions; install one of them: {error}") from error


def qos_values(node: Node, topic: str, entity: str, base: QoSProfile) -> dict[str, Any]:
    """Return the QoS of a publisher or subscription of this node, with what the user has overridden, as JSON has it.

    Args:
        entity: `publisher` or `subscription`; one with QoSOverridingOptions, which exists.
    """

    def value(policy: str, else_: Any) -> Any:
        name = f"qos_overrides.{topic}.{entity}.{policy}"
        return node.get_parameter(name).value if node.has_parameter(name) else else_

    return {
        "depth": value("depth", base.depth),
        "history": value("history", base.history.short_key),
        "reliability": value("reliability", base.reliability.short_key),
        "durability": value("durability", base.durability.short_key),
    }


def declare_qos(node: Node, topic: str, base: QoSProfile) -> None:
    """Declare the parameters by which a user overrides the QoS of a publisher that does not exist yet.

    They are those that rclpy declares with the publisher itself.
    """
    read_only = ParameterDescriptor(description="QoS of a publisher, for the start only", read_only=True)
    defaults: dict[str, Any] = {
        "depth": base.depth, "history": base.history.short_key, "reliability": base.reliability.short_key,
    }  # fmt: skip
    for policy, default in defaults.items():
        name = f"qos_overrides.{topic}.publisher.{policy}"
        if not node.has_parameter(name):
            node.declare_parameter(name, default, read_only)


def qos_of(values: Mapping[str, Any]) -> QoSProfile:
    """Return the profile of `qos_values`."""
    return QoSProfile(
        depth=values["depth"],
        history=HistoryPolicy.get_from_short_key(values["history"]),
        reliability=ReliabilityPolicy.get_from_short_key(values["reliability"]),
        durability=DurabilityPolicy.get_from_short_key(values["durability"]),
    )
