"""Contracts of files as LeRobot, Isaac Lab and rosetta write them; the files here are written anew after theirs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from perf_inference import cli
from perf_inference.errors import ConfigError
from perf_inference.files.draft import left_open
from perf_inference.tasks.policy.contract.contract import Contract
from perf_inference.tasks.policy.contract.parse import parse_contract
from perf_inference.tasks.policy.importing.read import contract_text

ACT = {
    "type": "act", "n_obs_steps": 1, "chunk_size": 20, "n_action_steps": 20,
    "input_features": {
        "observation.state": {"type": "STATE", "shape": [2]},
        "observation.images.front": {"type": "VISUAL", "shape": [3, 96, 128]},
    },
    "output_features": {"action": {"type": "ACTION", "shape": [2]}},
    "normalization_mapping": {"VISUAL": "MEAN_STD", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"},
}  # fmt: skip
LEGS = """
actions:
- {action_type: JointAction, clip: null, dtype: torch.float32,
   full_path: isaaclab.envs.mdp.actions.joint_actions.JointPositionAction,
   joint_names: [LF, RF], mdp_type: Action, name: joint_position_action, offset: [0.4, -0.4], scale: 0.5, shape: [2],
   extras: {description: x}}
articulations:
  robot:
    default_joint_pos: [0.4, -0.4]
    default_joint_pos_limits: [[-0.75, 0.5], [-0.5, 0.75]]
    joint_names: [LF, RF]
observations:
  policy:
  - {dtype: torch.float32, extras: {units: m/s, modifiers: null},
     full_path: isaaclab.envs.mdp.observations.base_lin_vel,
     mdp_type: Observation, name: base_lin_vel, observation_type: RootState, shape: [3],
     overloads: {clip: null, flatten_history_dim: true, history_length: 0, scale: 2.0}}
  - {full_path: isaaclab.envs.mdp.observations.base_ang_vel, name: base_ang_vel, shape: [3], extras: {},
     overloads: {clip: [-4.0, 8.0], scale: 0.25, history_length: 0}}
  - {full_path: isaaclab.envs.mdp.observations.projected_gravity, name: projected_gravity, shape: [3], extras: {}}
  - {full_path: isaaclab.envs.mdp.observations.generated_commands, name: generated_commands, shape: [3], extras: {}}
  - {full_path: isaaclab.envs.mdp.observations.joint_pos_rel, joint_names: [LF, RF], joint_pos_offsets: [0.4, -0.4],
     name: joint_pos_rel, shape: [2], extras: {}, overloads: {scale: null}}
  - {full_path: isaaclab.envs.mdp.observations.joint_vel_rel, joint_names: [LF, RF], joint_vel_offsets: [0.0, 0.0],
     name: joint_vel_rel, shape: [2], extras: {}, overloads: {scale: 0.05}}
  - {full_path: isaaclab.envs.mdp.observations.last_action, name: last_action, shape: [2], extras: {}}
  - {full_path: isaaclab.envs.mdp.observations.height_scan, name: height_scan, shape: [187],
     extras: {description: heights}}
scene: {decimation: 4, dt: 0.02, physics_dt: 0.005}
"""
STONE = """
robot_type: stone
fps: 30
x-qos: {state: &state {reliability: best_effort, history: keep_last, depth: 50}}
observations:
  observation.images.front:
    channel: {topic: /front/image_raw/compressed, type: sensor_msgs/msg/CompressedImage, qos: *state}
    align: {strategy: hold, timeline: header}
    apply: [resize: [48, 64]]
  observation.state:
    - channel: {topic: /joint_states, type: sensor_msgs/msg/JointState, qos: *state}
      align: {strategy: hold, timeline: header}
      select: [position.pan, position.lift, velocity.pan, velocity.lift]
      apply: [rad2deg]
    - channel: {topic: /odom, type: nav_msgs/msg/Odometry, dtype: float64}
      select: [twist.twist.linear.x, twist.twist.angular.z]
  observation.battery:
    channel: {topic: /battery, type: std_msgs/msg/Float64MultiArray, decoder: "mine:decode"}
    select: [cell0, cell1]
actions:
  action:
    - channel: {topic: /arm/joint_commands, type: sensor_msgs/msg/JointState, safety: hold}
      select: [position.pan, position.lift]
      apply: [rad2deg]
    - channel: {topic: /gripper, type: std_msgs/msg/Float64, encoder: "mine:encode"}
      select: [data]
  action.base:
    channel: {topic: /cmd_vel, type: geometry_msgs/msg/TwistStamped, safety: zeros}
    select: [twist.linear.x, twist.angular.z]
    apply: [clamp: {min: -0.5, max: 0.5}]
teleop: {input: [{target: /arm/joint_commands}]}
"""
FIRST_FORM = """
name: first
version: 1
rate_hz: 20.0
observations:
  - key: observation.images.cam
    topic: /camera/image_raw
    type: sensor_msgs/msg/Image
    image: {resize: [24, 32]}
    align: {strategy: asof, tol_ms: 50, stamp: header}
  - key: observation.state
    topic: /joint_states
    type: sensor_msgs/msg/JointState
    selector: {names: [left, right], field: position}
    qos: {reliability: reliable, history: keep_last, depth: 50}
actions:
  - key: action
    publish: {topic: /cmd_vel, type: geometry_msgs/msg/Twist, layout: flat}
    from_tensor: {clamp: [-1.0, 1.0]}
recording: {storage: mcap}
"""


def _filled(text: str, values: dict[str, Any]) -> Contract:
    """The contract with these values at the paths that it leaves open, all of them."""
    draft = yaml.safe_load(text)
    assert {path for path, _ in left_open(draft)} == set(values)
    for path, value in values.items():
        at: Any = draft
        *steps, last = path.replace("[", ".[").split(".")
        for step in steps:
            at = at[int(step[1:-1])] if step.startswith("[") else at[step]
        at[last] = value
    return parse_contract(yaml.safe_dump(draft), "filled.yaml")


def _written(folder: Path, name: str, content: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


ARM = {
    "rate_hz": 30, "observations[0].names": ["a", "b"], "observations[0].scale": 1,
    "observations[1].topic": "front/image",
    "actions[0].names": ["a", "b"], "actions[0].kind": "position", "actions[0].scale": 1,
}  # fmt: skip


def test_a_lerobot_folder_says_features_and_leaves_the_robot_open(tmp_path: Path) -> None:
    contract = _filled(contract_text(_written(tmp_path / "act", "config.json", ACT)), ARM)
    state, front = contract.observations
    assert (state.input, state.topic, state.names) == ("observation.state", "joint_states", ("a", "b"))
    assert front.image is not None
    assert tuple(front.image.size or ()) == (96, 128)
    assert contract.actions[0].output == "action"


def test_a_lerobot_data_set_says_names_and_rate(tmp_path: Path) -> None:
    features = {"observation.state": {"names": ["a.pos", "b.pos"]}, "action": {"names": {"motors": ["a", "b"]}}}
    data = _written(tmp_path / "data", "x", "")
    _written(data / "meta", "info.json", {"fps": 50, "features": features})
    text = contract_text(_written(tmp_path / "act", "config.json", ACT), data)
    given = {key: value for key, value in ARM.items() if not key.endswith("names") and key != "rate_hz"}
    contract = _filled(text, given)
    assert contract.rate_hz == 50
    assert contract.observations[0].names == contract.actions[0].names == ("a", "b")


def test_two_steps_of_a_diffusion_policy_are_a_window(tmp_path: Path) -> None:
    config = {**ACT, "type": "diffusion", "n_obs_steps": 2, "horizon": 16}
    rates = {f"observations[{i}].window.rate_hz": 10 for i in (0, 1)}
    contract = _filled(contract_text(_written(tmp_path / "d", "config.json", config)), {**ARM, **rates})
    assert all(term.window is not None and term.window.length == 2 for term in contract.observations)


def test_a_policy_that_is_told_its_task_has_a_text(tmp_path: Path) -> None:
    for kind in ("smolvla", "pi0"):
        text = contract_text(_written(tmp_path / kind, "config.json", {**ACT, "type": kind}))
        contract = _filled(text, {**ARM, "task": "pick it up"})
        assert contract.observations[-1].source == "text"


def test_isaac_labs_terms_keep_order_offsets_scales_and_limits(tmp_path: Path) -> None:
    text = contract_text(_written(tmp_path / "run", "anymal_IO_descriptors.yaml", LEGS))
    contract = _filled(
        text,
        {
            "observations[0].topic": "odom", "observations[1].topic": "imu", "observations[2].topic": "imu",
            "observations[3].topic": "cmd_vel", "observations[7].topic": "heights",
            "observations[7].type": "std_msgs/msg/Float64MultiArray", "actions[0].limits.velocity": 5.0,
        },
    )  # fmt: skip
    assert contract.rate_hz == 50
    speed, turn, gravity, command, position, velocity, last, _ = contract.observations
    assert speed.scale == (2.0,)
    assert turn.clip == (-1.0, 2.0)  # clipped before the scaling there, after it here
    assert gravity.transform == "gravity"
    assert command.fields == ("linear.x", "linear.y", "angular.z")
    assert (position.names, position.offset) == (("LF", "RF"), (0.4, -0.4))
    assert (velocity.fields, velocity.scale) == (("velocity",), (0.05,))
    assert last.source == "previous_action"
    action = contract.actions[0]
    assert (action.kind, action.scale, action.offset, action.names) == ("position", (0.5,), (0.4, -0.4), ("LF", "RF"))
    assert (action.limits.lower, action.limits.upper) == ((-0.75, -0.5), (0.5, 0.75))


def test_isaac_labs_clip_and_history(tmp_path: Path) -> None:
    content = yaml.safe_load(LEGS)
    content["actions"][0]["clip"] = [[-0.25, 0.25], [-9.0, 9.0]]
    content["observations"]["policy"][4]["overloads"] = {"history_length": 3, "flatten_history_dim": True}
    content["observations"]["policy"][5]["overloads"] = {"clip": [-1, 1], "scale": [1.0, 2.0]}
    content["actions"].append({"full_path": "x.JointEffortAction", "joint_names": ["jaw"], "shape": [1]})
    draft = yaml.safe_load(contract_text(_written(tmp_path, "IO_descriptors.yaml", yaml.safe_dump(content))))
    assert draft["actions"][0]["limits"]["lower"] == [-0.25, -0.5]
    assert draft["actions"][0]["limits"]["upper"] == [0.25, 0.75]
    assert [action["slice"] for action in draft["actions"]] == ["0:2", "2:3"]
    assert draft["observations"][4]["window"] == {"length": 3, "rate_hz": 50.0, "flatten": "term"}
    open_ = dict(left_open(draft))
    assert "scales differ" in open_["observations[5].clip"]
    assert "JointEffortAction" in open_["actions[1].kind"]


def test_rosettas_present_form(tmp_path: Path) -> None:
    contract = _filled(
        contract_text(_written(tmp_path, "stone.yaml", STONE) / "stone.yaml"),
        {
            "observations[4].fields": ["data"], "actions[1].kind": "position", "actions[1].scale": 1,
            "actions[1].message": "Float64MultiArray",
        },
    )  # fmt: skip
    front, position, velocity, odometry, _ = contract.observations
    assert tuple(front.image.size or ()) == (48, 64) if front.image else False
    assert (position.fields, position.names) == (("position",), ("pan", "lift"))
    assert velocity.fields == ("velocity",)
    assert position.scale == velocity.scale == (math.degrees(1),)
    assert position.qos.depth == 50
    assert odometry.fields == ("twist.twist.linear.x", "twist.twist.angular.z")
    arm, grip, base = contract.actions
    assert (arm.output, arm.columns, arm.kind, arm.safe) == ("action", (0, 2), "position", "hold")
    assert arm.scale == (math.radians(1),)
    assert (grip.columns, grip.topic) == ((2, 3), "/gripper")
    assert (base.kind, base.names, base.message) == ("twist", ("linear.x", "angular.z"), "TwistStamped")
    assert (base.limits.lower, base.limits.upper, base.safe) == ((-0.5, -0.5), (0.5, 0.5), "zero")


def test_rosettas_first_form(tmp_path: Path) -> None:
    contract = _filled(
        contract_text(_written(tmp_path, "first.yaml", FIRST_FORM) / "first.yaml"),
        {"actions[0].names": ["linear.x", "angular.z"]},
    )
    image, joints = contract.observations
    assert image.image is not None
    assert (joints.names, joints.fields) == (("left", "right"), ("position",))
    assert joints.qos.reliability == "reliable"
    assert contract.actions[0].message == "Twist"
    assert contract.rate_hz == 20


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", {"type": "act"}, "must be a folder of a LeRobot policy"),
        ("config.json", "{", "must be JSON"),
        ("config.json", {**ACT, "input_features": {"x": {"type": "STATE"}}}, "input_features.x must have"),
        ("config.json", {**ACT, "output_features": {"x": {"type": "STATE", "shape": [1]}}}, "one of type ACTION"),
        ("x.yaml", "a: [", "must be YAML"),
        ("x.yaml", "a: 1", "must be a folder of a LeRobot policy"),
        ("IO_descriptors.yaml", LEGS.replace("  policy:", "  critic:") + "\n", "x"),
    ],
)
def test_what_is_none_of_them_is_refused(tmp_path: Path, name: str, content: Any, said: str) -> None:
    source = _written(tmp_path, name, content) / name
    if said == "x":  # the only group is taken
        assert "previous_action" in contract_text(source)
        return
    with pytest.raises(ConfigError, match=said):
        contract_text(source)
    with pytest.raises(ConfigError, match=r"neither config\.json nor"):
        contract_text(_written(tmp_path / "empty", "x", ""))


def test_check_says_what_is_left_open_with_status_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _written(tmp_path / "act", "config.json", ACT)
    out = tmp_path / "c.yaml"
    assert cli.main(["contract", "from", str(tmp_path / "act"), "--out", str(out)]) == 0
    assert "7 values" in capsys.readouterr().err
    assert cli.main(["check", str(out)]) == 78
    said = capsys.readouterr().err
    assert f"{out}: 7 of its values are REQUIRED" in said
    assert "observations[1].topic (the topic of the camera 'front')" in said
    assert cli.main(["contract", "from", str(tmp_path / "act")]) == 0
    assert capsys.readouterr().out == out.read_text()
    assert cli.main(["contract", "from", str(tmp_path / "none")]) == 78
