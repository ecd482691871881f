"""Which contract policy_node runs: the file of its parameter, or what the model's own metadata carry."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rclpy.node import Node

from perf_inference.engines import Engine
from perf_inference.errors import ConfigError
from perf_inference.model_build.plan import metadata_of
from perf_inference.nodes.policy.contract.sources import Source, names_of
from perf_inference.nodes.policy.gate_setup import GateSetup, Topics
from perf_inference.nodes.policy.parameters import LIMITS, PolicyParameters, settings_of
from perf_inference.nodes.ros.parameters import is_given
from perf_inference.safety import JointLimits
from perf_inference.safety.joints import JOINT_STATES
from perf_inference.tasks.policy.contract.contract import ActionSpec, Contract
from perf_inference.tasks.policy.contract.parse import contract_of_metadata, read_contract

if TYPE_CHECKING:
    from perf_inference.tasks.policy.contract_task import ContractTask

_MESSAGES = {
    "Float64MultiArray": "multi_array", "JointTrajectory": "joint_trajectory", "JointState": "joint_state",
    "Twist": "twist", "TwistStamped": "twist_stamped",
}  # fmt: skip
_SAID_BY_CONTRACT = ("joint_names", "action", "action_message", "sample_rate")


def contract_of(p: PolicyParameters) -> Contract | None:
    """Return the contract; None: neither the parameter nor the model has one.

    Raises:
        ConfigError: it is wrong, or there is no such model.
    """
    if p.contract:
        return read_contract(Path(p.contract).expanduser())
    return contract_of_metadata(metadata_of(p.model, p.runtime, p.options()), p.model)


def with_contract(p: PolicyParameters, contract: Contract) -> PolicyParameters:
    """Return the parameters as the contract has them."""
    main = contract.main
    safe = next((action.safe for action in main if action.safe), p.safe_action)
    return replace(
        p,
        rate=contract.rate_hz or p.rate,
        joint_names=tuple(name for action in main for name in action.names),
        action=kind_of(main),
        action_message=_MESSAGES.get(main[0].message, main[0].message),
        safe_action=safe,
    )


def kind_of(actions: tuple[ActionSpec, ...]) -> str:
    """Return what the gate takes them for."""
    return "velocity" if actions[0].kind in ("velocity", "twist") else "position"


def limits_of(node: Node, p: PolicyParameters, contract: Contract) -> JointLimits:
    """Return the robot's limits: the parameters', or the contract's where nothing is given, which a line says.

    Raises:
        ConfigError: neither has them all.
    """
    names = p.joint_names
    if all(is_given(node, name) for name in LIMITS):
        return JointLimits.of(names, p.lower, p.upper, p.velocity, p.acceleration)
    if given := [name for name in LIMITS if is_given(node, name)]:
        missing = [name for name in LIMITS if name not in given]
        raise ConfigError(f"{', '.join(missing)} must be given where {', '.join(given)} is; the contract has them all, "
                          "or none is taken of it")  # fmt: skip
    said_by = contract.where
    bounds: dict[str, list[float]] = {"lower": [], "upper": [], "velocity": [], "acceleration": []}
    for action in contract.main:
        for key, values in bounds.items():
            said = list(getattr(action.limits, key))
            if not said and (key == "acceleration" or (action.kind == "twist" and key in ("lower", "upper"))):
                said = [-math.inf if key == "lower" else math.inf] * len(action.names)
            if not said and names == PolicyParameters().joint_names:
                said, said_by = list(getattr(p, key)), "the demo's arm, whose joints it names"
            if not said:
                raise ConfigError(
                    f"limits.{key} of {', '.join(action.names)} must be given, by {node.get_name()} or by "
                    f"{contract.where}: the limits of a robot are not guessed"
                )
            values += said
    node.get_logger().info(f"the robot's limits are those of {said_by}, since {node.get_name()} is given none")
    return JointLimits.of(names, *bounds.values())


def warn_of_replaced(node: Node, contract: Contract) -> None:
    """Warn of parameters that the contract says in their place."""
    if given := [name for name in _SAID_BY_CONTRACT if is_given(node, name)]:
        node.get_logger().warning(
            f"{', '.join(given)} of {node.get_name()} {'is' if len(given) == 1 else 'are'} not used: "
            f"{contract.where} says it"
        )


def gate_setup_of(
    node: Node, p: PolicyParameters, contract: Contract, sources: Sequence[Source], limits: JointLimits, enabled: bool
) -> tuple[GateSetup, Source]:
    """Return what the gate is to be, and the source that tells it where the joints are.

    Raises:
        ConfigError: no observation does.
    """
    topics, main = Topics.of(node), contract.main
    joints = next((source for source in sources if source.input.topic == topics.joint_states), None)
    if joints is None and main[0].kind != "twist":
        raise ConfigError(
            f"{contract.where}: an observation must be of the topic joint_states, since the gate has to know where the "
            "joints are; remap it where it has another name"
        )
    first = joints or sources[0]
    inputs = {name: topic for name, topic in names_of(sources).items() if name != first.name}
    setup = GateSetup(
        limits=limits,
        settings=settings_of(p, kind_of(main)),
        inputs={**inputs, JOINT_STATES: first.input.topic},
        topics=replace(topics, action=str(node.resolve_topic_name(main[0].topic))),
        message=p.action_message,
        enabled=enabled,
        hears_joints=main[0].kind != "twist",
        shadow=p.shadow,
        estop_timeout_s=p.estop_timeout_s if p.estop_required else None,
    )
    return setup, first


def warm_up_s(engine: Engine, task: ContractTask, added_s: float) -> float:
    """Return how long an inference takes, on a blank observation and without what is added to it."""
    inputs, _ = task.preprocess(task.blank())
    began_s = time.monotonic()
    engine.infer(inputs)
    return max(time.monotonic() - began_s - added_s, 0.0)
