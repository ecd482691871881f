"""From LeRobot's `config.json` (and `meta/info.json` of the data set it was trained on) to a contract.

Read off LeRobot 0.3 and 0.4: `input_features` and `output_features` {name: {type, shape}}, and `n_obs_steps`. Inputs and
outputs have the features' names, as the export and the runtime have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perf_inference.errors import ConfigError
from perf_inference.tasks.policy.importing.draft import required

_LANGUAGE = ("smolvla", "pi0", "pi05", "pi0_fast", "pi0fast", "groot", "xvla", "wall_x")
_JOINTS = "the {n} joints in the order of the training data, as joint_states names them"
_RAD = "{one} if the data set has rad (or m), {other} if it has degrees; LeRobot's own arms record degrees or percent"


def is_config(content: Any) -> bool:
    """Return whether a JSON value is the `config.json` of a LeRobot policy."""
    return isinstance(content, Mapping) and "type" in content and "input_features" in content


def draft_of(config: Mapping[str, Any], info: Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    """Return the contract's values.

    Args:
        info: of the data set, `meta/info.json`: it has names and frames per second.

    Raises:
        ConfigError: a feature that is none.
    """
    inputs, outputs = _features(config, "input_features", where), _features(config, "output_features", where)
    fps = (info or {}).get("fps")
    steps = config.get("n_obs_steps") or 1
    rate = fps or required("frames per second of the data set that it was trained on (meta/info.json: fps)")
    window = {"length": steps, "rate_hz": rate} if steps > 1 else None
    observations = [_observed(name, *feature, info, window) for name, feature in inputs.items()]
    speaks = config.get("type") in _LANGUAGE
    if speaks:
        observations.append({"input": "task", "source": "text"})
    actions = [_acted(name, shape, info, inputs) for name, (kind, shape) in outputs.items() if kind == "ACTION"]
    if not actions:
        raise ConfigError(f"{where}: output_features must have one of type ACTION, got {', '.join(outputs) or 'none'}")
    return {
        "version": 1,
        "rate_hz": rate,
        "task": required("what the robot is to do, in the words of the data set") if speaks else None,
        "observations": observations,
        "actions": actions,
    }


def names_of(feature: Any) -> list[str] | None:
    """Return the names of a feature's values in `meta/info.json`: a list, or a list within a mapping."""
    names = feature.get("names") if isinstance(feature, Mapping) else None
    if isinstance(names, Mapping):
        names = next(iter(names.values()), None)
    good = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return [name.removesuffix(".pos") for name in names] if good and names else None


def _observed(
    name: str, kind: str, shape: list[int], info: Mapping[str, Any] | None, window: Mapping[str, Any] | None
) -> dict[str, Any]:
    term: dict[str, Any] = {"input": name}
    if kind == "VISUAL":
        camera = name.rpartition(".")[2]
        height, width = shape[-2:] if len(shape) == 3 else (0, 0)
        term |= {
            "topic": required(f"the topic of the camera '{camera}'"),
            "type": "sensor_msgs/msg/Image",
            "image": {"size": [height, width], "colour": "rgb", "layout": "nhwc", "dtype": "uint8"},
        }
    elif kind == "STATE":
        known = names_of((info or {}).get("features", {}).get(name))
        term |= {
            "topic": "joint_states",
            "type": "sensor_msgs/msg/JointState",
            "names": known or required(_JOINTS.format(n=shape[0])),
            "scale": required(_RAD.format(one="1", other="57.29577951308232")),
        }
    else:
        term |= {
            "topic": required(f"the topic that has the {shape} values of '{name}'"),
            "type": required("its message type, like std_msgs/msg/Float64MultiArray"),
        }
    if window is not None:
        term["window"] = dict(window)
    return term


def _acted(
    name: str, shape: list[int], info: Mapping[str, Any] | None, inputs: Mapping[str, tuple[str, list[int]]]
) -> dict[str, Any]:
    known = names_of((info or {}).get("features", {}).get(name))
    return {
        "output": name,
        "names": known or required(_JOINTS.format(n=shape[0])),
        "kind": required(
            "position where the actions are joint positions (most of LeRobot's arms), else velocity or delta"
        ),
        "scale": required(_RAD.format(one="1", other="0.017453292519943295")),
    }


def _features(config: Mapping[str, Any], key: str, where: str) -> dict[str, tuple[str, list[int]]]:
    said = config.get(key)
    if not isinstance(said, Mapping) or not said:
        raise ConfigError(f"{where}: {key} must be a mapping of features with type and shape, got {str(said)[:60]}")
    found = {}
    for name, feature in said.items():
        shape = feature.get("shape") if isinstance(feature, Mapping) else None
        if not isinstance(shape, list) or not shape or not all(isinstance(n, int) and n > 0 for n in shape):
            raise ConfigError(
                f"{where}: {key}.{name} must have a type and a shape of whole numbers, got {str(feature)[:60]}"
            )
        found[str(name)] = (str(feature.get("type")), shape)
    return found
