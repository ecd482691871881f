"""From rosetta's YAML to a contract: the present form (a mapping of keys to channels) and the one before (lists).

Read off its own `contracts/`: `channel {topic, type, qos}`, `select`, `apply`; before that `topic`, `type`, `selector`,
`image.resize`, and `publish`, `from_tensor.clamp` of actions. What is for recording and teleoperation is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from perf_inference.errors import ConfigError
from perf_inference.files.draft import required

_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_MESSAGES = {
    "sensor_msgs/msg/JointState": "JointState", "trajectory_msgs/msg/JointTrajectory": "JointTrajectory",
    "std_msgs/msg/Float64MultiArray": "Float64MultiArray", "geometry_msgs/msg/Twist": "Twist",
    "geometry_msgs/msg/TwistStamped": "TwistStamped",
}  # fmt: skip
_SAFE = {"hold": "hold", "zeros": "zero", "zero": "zero"}
_JOINT_FIELDS = {"position": "position", "positions": "position", "velocity": "velocity", "velocities": "velocity"}
_INDEX = re.compile(r"\.(\d+)")


def is_contract(content: Any) -> bool:
    """Return whether a YAML value is one of rosetta's."""
    if not isinstance(content, Mapping):
        return False
    return any("channel" in entry or "key" in entry for _, entry in _entries(content.get("observations")))


def draft_of(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the contract's values.

    Raises:
        ConfigError: it has no actions.
    """
    rate = content.get("fps") or content.get("rate_hz") or required("frames per second of the training data")
    observations = [term for key, entry in _entries(content.get("observations")) for term in _observed(key, entry)]
    actions: list[dict[str, Any]] = []
    widths: dict[str, int] = {}
    listed = list(_entries(content.get("actions")))
    for key, entry in listed:
        action, count = _acted(key, entry)
        if sum(other == key for other, _ in listed) > 1:
            start = widths.get(key, 0)
            action = {
                "output": key,
                "slice": f"{start}:{start + count}",
                **{k: v for k, v in action.items() if k != "output"},
            }
            widths[key] = start + count
        actions.append(action)
    if not actions:
        raise ConfigError(f"{where}: must have actions, got none")
    return {"version": 1, "rate_hz": rate, "observations": observations, "actions": actions}


def _entries(section: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (key, entry) of both forms; one key may have several."""
    if isinstance(section, Mapping):
        for key, said in section.items():
            for entry in said if isinstance(said, list) else [said]:
                if isinstance(entry, Mapping):
                    yield str(key), entry
    elif isinstance(section, list):
        for entry in section:
            if isinstance(entry, Mapping):
                yield str(entry.get("key", "")), entry


def _observed(key: str, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    channel = entry.get("channel") or entry
    kind = str(channel.get("type", ""))
    base: dict[str, Any] = {
        "input": key,
        "topic": channel.get("topic") or required(f"the topic of {key}"),
        "type": kind or required(f"the message type of {key}"),
        **_qos(channel.get("qos")),
    }
    decoder = channel.get("decoder")
    if decoder:
        base["fields"] = required(f"the numbers of the message that its decoder {decoder} reads")
        return [base]
    if kind in _IMAGES:
        size = _resized(entry)
        return [{**base, "image": {"size": size, "colour": "rgb"}} if size else base]
    extra = _operators(entry.get("apply"), observed=True)
    terms = []
    for fields, names in _selected(entry, kind):
        terms.append({**base, **({"fields": fields} if fields else {}), **({"names": names} if names else {}), **extra})
    return terms


def _acted(key: str, entry: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    channel = entry.get("channel") or entry.get("publish") or {}
    kind = str(channel.get("type", ""))
    message = _MESSAGES.get(kind)
    selected = _selected(entry, kind)
    names = [name for fields, found in selected for name in found or fields]
    action: dict[str, Any] = {"output": key, "names": names or required("a name for each value, in their order")}
    fields = {field for found, joints in selected for field in found if joints}
    if message in ("Twist", "TwistStamped"):
        action["kind"] = "twist"
        action["names"] = [_twist(path) for found, _ in selected for path in found] or required(
            "components like linear.x and angular.z, in the order of its values"
        )
    elif len(fields) == 1 and (field := _JOINT_FIELDS.get(next(iter(fields)))):
        action["kind"] = field
    else:
        action["kind"] = required("position, velocity or delta: what its values are")
    action["message"] = message or required(
        f"one of {', '.join(_MESSAGES.values())}; '{kind}' is none of them, so let something turn one into it"
    )
    action["topic"] = channel.get("topic") or required("the topic that takes them")
    if channel.get("encoder"):
        action["scale"] = required(
            f"what its encoder {channel['encoder']} does with the values; leave it out if nothing"
        )
    action |= _operators(entry.get("apply"), observed=False)
    clamp = (entry.get("from_tensor") or {}).get("clamp")
    if isinstance(clamp, list) and len(clamp) == 2:
        action["limits"] = {"lower": clamp[0], "upper": clamp[1]}
    safety = channel.get("safety") or entry.get("safety_behavior")
    if safety in _SAFE:
        action["safe"] = _SAFE[safety]
    return action, len(names)


def _selected(entry: Mapping[str, Any], kind: str) -> list[tuple[list[str], list[str]]]:
    """Return (fields, names) in the order of the values: paths that follow each other are one."""
    selector = entry.get("selector") or {}
    paths = entry.get("select") or selector.get("names") or []
    if not isinstance(paths, list):
        return [([], [])]
    field = selector.get("field")
    found: list[tuple[list[str], list[str]]] = []
    joints = kind in ("sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory")
    for path in map(str, paths):
        first, _, name = path.partition(".")
        if joints and (field or name):
            one = str(field) if field else first
            joint = path if field else name
            if found and found[-1][0] == [one]:
                found[-1][1].append(joint)
            else:
                found.append(([one], [joint]))
        elif found and not found[-1][1]:
            found[-1][0].append(_INDEX.sub(r"[\1]", path))
        else:
            found.append(([_INDEX.sub(r"[\1]", path)], []))
    return found or [([], [])]


def _operators(apply: Any, observed: bool) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for operator in apply if isinstance(apply, list) else []:
        name, value = next(iter(operator.items())) if isinstance(operator, Mapping) and operator else (operator, None)
        if name in ("rad2deg", "deg2rad"):
            degrees = (name == "rad2deg") == observed  # actions go the other way
            said["scale"] = math.degrees(1) if degrees else math.radians(1)
        elif name == "clamp" and isinstance(value, Mapping) and {"min", "max"} <= set(value):
            if observed:
                said["clip"] = [value["min"], value["max"]]
            else:
                said["limits"] = {"lower": value["min"], "upper": value["max"]}
        else:
            said["transform" if observed else "scale"] = required(f"what its operator {operator} does")
    return said


def _resized(entry: Mapping[str, Any]) -> list[int] | None:
    image = entry.get("image")
    size = image.get("resize") if isinstance(image, Mapping) else None
    for operator in entry.get("apply") or []:
        if isinstance(operator, Mapping) and "resize" in operator:
            size = operator["resize"]
    return size if isinstance(size, list) and len(size) == 2 else None


def _qos(said: Any) -> dict[str, Any]:
    known = ("reliability", "durability", "depth")
    picked = {key: said[key] for key in known if key in said} if isinstance(said, Mapping) else {}
    return {"qos": picked} if picked else {}


def _twist(path: str) -> str:
    return path.removeprefix("twist.")
