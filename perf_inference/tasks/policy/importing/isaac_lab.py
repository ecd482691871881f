"""From Isaac Lab's `IO_descriptors.yaml` to a contract.

Read off its documentation's example: `actions[]`, `observations.GROUP[]` in the manager's order, `articulations` and
`scene`.
An observation is clipped and then scaled there, and scaled and then clipped here; an action is clipped when it is in
joint units, which is a limit here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perf_inference.errors import ConfigError
from perf_inference.files.draft import required

_JOINTS, _IMU, _ODOMETRY = "sensor_msgs/msg/JointState", "sensor_msgs/msg/Imu", "nav_msgs/msg/Odometry"
_KINDS = {"JointPositionAction": "position", "JointVelocityAction": "velocity", "RelativeJointPositionAction": "delta"}
_GROUP = "policy"


def is_descriptor(content: Any) -> bool:
    """Return whether a YAML value is such a file."""
    if not isinstance(content, Mapping) or not isinstance(content.get("observations"), Mapping):
        return False
    groups = content["observations"].values()
    first = next((group[0] for group in groups if isinstance(group, list) and group), None)
    return isinstance(first, Mapping) and "full_path" in first


def draft_of(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the contract's values.

    Raises:
        ConfigError: it has no observations of the group `policy`, or no actions.
    """
    groups = content["observations"]
    group = groups.get(_GROUP, next(iter(groups.values())) if len(groups) == 1 else None)
    if not isinstance(group, list) or not isinstance(content.get("actions"), list):
        raise ConfigError(f"{where}: must have the observations of a group '{_GROUP}' and actions; its groups are "
                          f"{', '.join(map(str, groups))}")  # fmt: skip
    dt = (content.get("scene") or {}).get("dt")
    rate = round(1 / dt, 6) if isinstance(dt, int | float) and dt > 0 else required("steps of the policy per second")
    limits = _limits_of(content.get("articulations"))
    actions, start = [], 0
    for action in content["actions"]:
        count = _count(action)
        acted = _acted(action, limits)
        if len(content["actions"]) > 1:
            acted = {"output": acted.pop("output"), "slice": f"{start}:{start + count}", **acted}
        actions.append(acted)
        start += count
    return {
        "version": 1,
        "rate_hz": rate,
        "observations": [_observed(term, rate) for term in group],
        "actions": actions,
    }


def _observed(said: Mapping[str, Any], rate: Any) -> dict[str, Any]:
    name = str(said.get("full_path", "")).rpartition(".")[2]
    term: dict[str, Any] = {"input": "obs", **_source_of(name, said)}
    overloads = said.get("overloads") or {}
    scale, clip = overloads.get("scale"), overloads.get("clip")
    if scale is not None:
        term["scale"] = scale
    if clip is not None:
        term["clip"] = _clip_after(clip, scale)
    if modifiers := (said.get("extras") or {}).get("modifiers"):
        term["transform"] = required(f"what its modifiers do ({_short(modifiers)}); leave it out if they do nothing")
    if history := overloads.get("history_length"):
        flatten = "term" if overloads.get("flatten_history_dim", True) else "none"
        term["window"] = (
            {"length": history, "rate_hz": rate, "flatten": flatten} if term.get("source") is None
            else required(f"{history} samples of it, which this source does not keep: train it with none")
        )  # fmt: skip
    return term


def _source_of(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    names = said.get("joint_names")
    if name in ("joint_pos", "joint_pos_rel", "joint_vel", "joint_vel_rel") and names:
        field = "position" if "pos" in name else "velocity"
        term = {"topic": "joint_states", "type": _JOINTS, "fields": [field], "names": names}
        offsets = said.get(f"joint_{field[:3]}_offsets")
        if name.endswith("_rel") and offsets and any(offsets):
            term["offset"] = offsets
        return term
    if name == "last_action":
        return {"source": "previous_action"}
    if name == "base_lin_vel":
        topic = required("the odometry of the base; its twist is in the base's own frame")
        return {"topic": topic, "type": _ODOMETRY, "fields": ["twist.twist.linear"]}
    if name == "base_ang_vel":
        return {"topic": required("the IMU of the base"), "type": _IMU, "fields": ["angular_velocity"]}
    if name == "projected_gravity":
        topic = required("the IMU of the base")
        return {"topic": topic, "type": _IMU, "fields": ["orientation"], "transform": "gravity"}
    if name == "generated_commands" and _count(said) == 3:
        topic = required("where its command comes from: velocities forward, to the left and around, like cmd_vel")
        return {"topic": topic, "type": "geometry_msgs/msg/Twist", "fields": ["linear.x", "linear.y", "angular.z"]}
    what = str((said.get("extras") or {}).get("description") or name)
    units = (said.get("extras") or {}).get("units")
    sentence = f"the topic of {name}, {_count(said)} values{f' in {units}' if units else ''}: {_short(what)}"
    return {"topic": required(sentence), "type": required(f"the message type of {name}")}


def _clip_after(clip: Any, scale: Any) -> Any:
    """Return the bounds of a value that is scaled by now."""
    if not isinstance(clip, list | tuple) or len(clip) != 2:
        return required(f"bounds after the scaling; before it they are {_short(clip)}")
    factors = scale if isinstance(scale, list) else [1.0 if scale is None else scale]
    if len(set(factors)) != 1:
        return required(f"bounds after the scaling; before it they are {list(clip)}, and scales differ")
    return sorted(float(bound) * factors[0] for bound in clip)


def _acted(said: Mapping[str, Any], limits: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    kind = _KINDS.get(str(said.get("full_path", "")).rpartition(".")[2])
    names = said.get("joint_names") or required("the joints in the order of its values")
    what = f"what {said.get('full_path')} gives is none of position, velocity, delta that could be sent to joints"
    action: dict[str, Any] = {"output": "actions", "names": names, "kind": kind or required(what)}
    for key in ("scale", "offset"):
        if said.get(key) is not None:
            action[key] = said[key]
    bounds: dict[str, Any] = {}
    clip = said.get("clip")
    if isinstance(names, list) and kind != "velocity":
        known = [limits.get(name) for name in names]
        if all(pair is not None for pair in known):
            bounds = {"lower": [pair[0] for pair in known if pair], "upper": [pair[1] for pair in known if pair]}
    if clip is not None and isinstance(names, list):
        pairs = clip if isinstance(clip, list) and clip and isinstance(clip[0], list) else [clip] * len(names)
        if kind == "position" and all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            lower, upper = (
                bounds.get("lower", [-float("inf")] * len(names)),
                bounds.get("upper", [float("inf")] * len(names)),
            )
            bounds = {
                "lower": [max(pair[0], bound) for pair, bound in zip(pairs, lower, strict=True)],
                "upper": [min(pair[1], bound) for pair, bound in zip(pairs, upper, strict=True)],
            }
        else:
            action["clip"] = required(f"bounds of the model's values; in joint units they are {_short(clip)}")
    bounds["velocity"] = required("the highest speed of the joints [rad/s], one number or one for each")
    action["limits"] = bounds
    return action


def _limits_of(articulations: Any) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for said in articulations.values() if isinstance(articulations, Mapping) else ():
        pairs = said.get("default_joint_pos_limits") or said.get("joint_pos_limits") or []
        for name, pair in zip(said.get("joint_names") or [], pairs, strict=False):
            if isinstance(pair, list) and len(pair) == 2:
                found[str(name)] = (pair[0], pair[1])
    return found


def _count(said: Mapping[str, Any]) -> int:
    shape = said.get("shape")
    return int(shape[-1]) if isinstance(shape, list) and shape and isinstance(shape[-1], int) else 0


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 120 else f"{text[:117]}..."
