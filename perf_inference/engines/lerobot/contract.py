"""From LeRobot's `config.json` (and `meta/info.json` of the data set it was trained on) to a contract.

Read off LeRobot 0.3 and 0.4: `input_features` and `output_features` {name: {type, shape}}, and `n_obs_steps`. Inputs
and outputs have the features' names, as the export and the runtime have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perf_inference.engines.lerobot.folder import Feature, features_of
from perf_inference.engines.policy_folder import sign_of
from perf_inference.errors import ConfigError
from perf_inference.files.draft import as_yaml, required
from perf_inference.files.json_file import read_json

CONTRACT = "perf_inference.contract"  # the key of a model's metadata
_LANGUAGE = ("smolvla", "pi0", "pi05", "pi0_fast", "pi0fast", "groot", "xvla", "wall_x")
_JOINTS = "the {n} joints in the order of the training data, as joint_states names them"
_RAD = "{one} if the data set has rad (or m), {other} if it has degrees; LeRobot's own arms record degrees or percent"


def draft_of(config: Mapping[str, Any], info: Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    """Return the contract's values.

    Args:
        info: of the data set, `meta/info.json`: it has names and frames per second.

    Raises:
        ConfigError: a feature that is none.
    """
    inputs, outputs = features_of(config, "input_features", where), features_of(config, "output_features", where)
    fps = (info or {}).get("fps")
    steps = config.get("n_obs_steps") or 1
    rate = fps or required("frames per second of the data set that it was trained on (meta/info.json: fps)")
    window = {"length": steps, "rate_hz": rate} if steps > 1 else None
    observations = [_observed(feature, info, window) for feature in inputs]
    speaks = is_told_its_task(str(config.get("type")))
    if speaks:
        observations.append({"input": "task", "source": "text"})
    actions = [_acted(feature, info) for feature in outputs if feature.kind == "ACTION"]
    if not actions:
        names = ", ".join(feature.name for feature in outputs)
        raise ConfigError(f"{where}: output_features must have one of type ACTION, got {names}")
    return {
        "version": 1,
        "rate_hz": rate,
        "task": required("what the robot is to do, in the words of the data set") if speaks else None,
        "observations": observations,
        "actions": actions,
        "merge": "ensemble" if config.get("temporal_ensemble_coeff") is not None else None,
    }


def text_of(config: Mapping[str, Any], where: str, info: Mapping[str, Any] | None = None) -> str:
    """Return the YAML of the contract, with what is to be filled in.

    Raises:
        ConfigError: see `draft_of`.
    """
    said = f"From LeRobot's {config.get('type')} policy. Values that start with REQUIRED are to be filled in."
    return as_yaml(draft_of(config, info, where), [said])


def is_told_its_task(kind: str) -> bool:
    """Return whether policies of this type take a text."""
    return kind in _LANGUAGE


def metadata_of(folder: Path) -> dict[str, str]:
    """Return what a folder says of itself as a model's metadata: its contract, with what is to be filled in.

    Raises:
        ConfigError: see `draft_of`.
    """
    file = sign_of(folder)
    config = read_json(file)
    return {CONTRACT: text_of(config, str(file)), "lerobot": str(config.get("type"))}


def names_of(feature: Any) -> list[str] | None:
    """Return the names of a feature's values in `meta/info.json`: a list, or a list within a mapping."""
    names = feature.get("names") if isinstance(feature, Mapping) else None
    if isinstance(names, Mapping):
        names = next(iter(names.values()), None)
    good = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return [name.removesuffix(".pos") for name in names] if good and names else None


def _observed(feature: Feature, info: Mapping[str, Any] | None, window: Mapping[str, Any] | None) -> dict[str, Any]:
    term: dict[str, Any] = {"input": feature.name}
    if feature.kind == "VISUAL":
        camera = feature.name.rpartition(".")[2]
        term |= {
            "topic": required(f"the topic of the camera '{camera}'"),
            "type": "sensor_msgs/msg/Image",
            "image": {"size": list(feature.shape[-2:]), "colour": "rgb", "layout": "nhwc", "dtype": "uint8"},
        }
    elif feature.kind == "STATE":
        term |= {
            "topic": "joint_states",
            "type": "sensor_msgs/msg/JointState",
            "names": _names(feature, info),
            "scale": required(_RAD.format(one="1", other="57.29577951308232")),
        }
    else:
        term |= {
            "topic": required(f"the topic that has the {feature.shape[0]} values of '{feature.name}'"),
            "type": required("its message type, like std_msgs/msg/Float64MultiArray"),
        }
    if window is not None:
        term["window"] = dict(window)
    return term


def _acted(feature: Feature, info: Mapping[str, Any] | None) -> dict[str, Any]:
    kinds = "position where the actions are joint positions (most of LeRobot's arms), else velocity or delta"
    return {
        "output": feature.name,
        "names": _names(feature, info),
        "kind": required(kinds),
        "scale": required(_RAD.format(one="1", other="0.017453292519943295")),
    }


def _names(feature: Feature, info: Mapping[str, Any] | None) -> Any:
    known = names_of((info or {}).get("features", {}).get(feature.name))
    return known or required(_JOINTS.format(n=feature.shape[0]))
