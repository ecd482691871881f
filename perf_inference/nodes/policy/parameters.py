"""The parameters of policy_node, and the limits of the robot that it drives."""

from __future__ import annotations

from dataclasses import dataclass

from rclpy.node import Node

from perf_inference.errors import ConfigError
from perf_inference.nodes.policy.actions import ACTION_MESSAGES, message_of
from perf_inference.nodes.policy.gates import WHERE
from perf_inference.nodes.ros.parameters import ImageParameters, is_given, model_parameter, parameter
from perf_inference.safety import GateSettings, JointLimits
from perf_inference.safety.settings import SAFE_ACTIONS

_PI = 3.141592653589793
LIMITS = ("limits.lower", "limits.upper", "limits.velocity")


@dataclass(frozen=True)
class PolicyParameters(ImageParameters):
    """Parameters of policy_node."""

    model: str = model_parameter("policy")
    contract: str = parameter(
        "", "YAML file that says what the model's arrays mean (docs/policies.md); empty: what the model carries in its "
        "metadata, if anything"
    )  # fmt: skip
    guards: tuple[str, ...] = parameter(
        (),
        "with a contract: plug-ins of the group perf_inference.guards that each command goes through before the gate",
    )
    max_disorder_s: float = parameter(
        0.1, "a sample that is older than the newest of its source by no more is put in order [s]",
        at_least=0, at_most=10,
    )  # fmt: skip
    added_delay_ms: tuple[float, ...] = parameter(
        (0.0,),
        "to try a policy out: added to each inference, one number or the least and most of it [ms]",
    )
    rate: float = parameter(10.0, "actions per second [Hz]", at_least=0.1, at_most=1000)
    enabled: bool = parameter(False, "drive from the start; else when the service ~/enable says so")
    shadow: bool = parameter(
        False,
        "begin in shadow mode: what it would send goes to action_shadow, and nothing to action; ~/shadow changes it",
    )
    enabled_after_restart: bool = parameter(
        False, "drive again by itself after a crash; else the service ~/enable is waited for"
    )
    action: str = parameter("auto", "what the model's output means; auto: as its metadata say",
                            choices=("auto", "velocity", "position"))  # fmt: skip
    action_message: str = parameter("auto", "message of the topic action; auto: Float64MultiArray for velocities, "
                                    "JointTrajectory for positions", choices=ACTION_MESSAGES)  # fmt: skip
    gate: str = parameter(
        "process", "where the gate is that lets actions out: a process of its own, which sends the safe action when "
        "this one dies or hangs, or inline, in this one", choices=WHERE,
    )  # fmt: skip
    safe_action: str = parameter(
        "zero", "sent while disabled, stale or stopping: zero velocity, hold the position, stop sending after one safe "
        "command, or decelerate to rest", choices=SAFE_ACTIONS,
    )  # fmt: skip
    ramp_s: float = parameter(0.0, "after it is enabled the velocity limits grow from nothing within this time [s]",
                              at_least=0, at_most=60)  # fmt: skip
    open_loop_s: float = parameter(
        0.3, "how far ahead a JointTrajectory goes on before its braking tail [s]", at_least=0.01, at_most=10
    )
    estop_required: bool = parameter(
        False, "drive only while false comes on the topic estop, at least once within estop_timeout_s"
    )
    estop_timeout_s: float = parameter(0.5, "silence on a required estop that counts as true [s]",
                                       at_least=0.05, at_most=60)  # fmt: skip
    command_timeout_s: float = parameter(
        0.0, "after so long without a command the controller, or the robot, stops by itself [s]; 0: it has no such "
        "time-out that you know of", at_least=0, at_most=60,
    )  # fmt: skip
    max_observation_age_s: float = parameter(0.3, "an older image or sample [s] gives the safe action",
                                             at_least=0.01, at_most=60)  # fmt: skip
    sample_rate: float = parameter(100.0, "rate of the samples in the model's windows [Hz]", at_least=1, at_most=10_000)
    joint_names: tuple[str, ...] = parameter(
        ("shoulder", "elbow"), "joints in the model's order, as joint_states has them"
    )
    lower: tuple[float, ...] = parameter((-_PI, -_PI), "lowest position of each joint [rad]", name="limits.lower")
    upper: tuple[float, ...] = parameter((_PI, _PI), "highest position of each joint [rad]", name="limits.upper")
    velocity: tuple[float, ...] = parameter((1.0, 1.0), "highest speed of each joint [rad/s]", name="limits.velocity")
    acceleration: tuple[float, ...] = parameter(
        (),
        "with which each joint brakes at least [rad/s^2]; empty: within actuator_latency_s",
        name="limits.acceleration",
    )
    actuator_latency_s: float = parameter(
        0.15, "after it a joint moves as it was sent to: dead time and three time constants of its lag [s]",
        at_least=0, at_most=5,
    )  # fmt: skip
    tracking_tolerance: float = parameter(
        0.2, "a joint that is measured farther than this from where the commands lead, three times, gives the safe "
        "action [rad]; 0: not compared", at_least=0, at_most=1000,
    )  # fmt: skip

    @property
    def enabled_again(self) -> bool:
        """Whether what was started again after a crash is enabled by itself."""
        return self.enabled and self.enabled_after_restart


def robot_limits(node: Node, p: PolicyParameters) -> JointLimits:
    """Return the limits that the user gave; the default ones are those of the default joints alone.

    Raises:
        ConfigError: other joints without limits, or limits that do not fit them.
    """
    missing = [name for name in LIMITS if not is_given(node, name)]
    if missing and p.joint_names != PolicyParameters().joint_names:
        raise ConfigError(
            f"{', '.join(missing)} must be given for the joints {', '.join(p.joint_names)}: the limits of a robot are "
            f"not guessed; add `limits: {{lower: [...], upper: [...], velocity: [...]}}` with {len(p.joint_names)} "
            f"values each to {node.get_name()}"
        )
    return JointLimits.of(p.joint_names, p.lower, p.upper, p.velocity, p.acceleration)


def settings_of(p: PolicyParameters, kind: str) -> GateSettings:
    """Return what the gate is set to, for actions of this kind."""
    return GateSettings(
        kind=kind,
        period_s=1 / p.rate,
        max_age_s=p.max_observation_age_s,
        latency_s=p.actuator_latency_s,
        tolerance_rad=p.tracking_tolerance,
        safe_action=p.safe_action,
        ramp_s=p.ramp_s,
        trajectory=message_of(kind, p.action_message) == "joint_trajectory",
        open_loop_s=p.open_loop_s,
    )


def warning_of(p: PolicyParameters, kind: str) -> str:
    """Return what a user should know of the controller that these actions are for, or nothing."""
    if kind != "velocity" or message_of(kind, p.action_message) == "joint_trajectory":
        return ""
    if p.command_timeout_s == 0:
        return (
            "velocities stay in force for ever at a controller without a time-out, as forward_command_controller and "
            "the velocity controllers made of it are: if the gate and this node die, nothing stops the joints. Use "
            "action_message: joint_trajectory (its tail brakes), or a controller or driver that stops by itself "
            "(diff_drive_controller: cmd_vel_timeout), and say so with command_timeout_s"
        )
    if p.command_timeout_s < 1 / p.rate:
        return (
            f"command_timeout_s must be longer than the period of {1 / p.rate:g} s, or the controller stops between "
            f"two actions; got {p.command_timeout_s:g} s"
        )
    return ""
