"""A contract says what it means, or in one sentence what is wrong with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.paths import ROOT
from support.policy_models import network

from perf_inference import engines
from perf_inference.cli import main
from perf_inference.errors import ConfigError
from perf_inference.tasks.policy.binding import Binding
from perf_inference.tasks.policy.contract.contract import Contract
from perf_inference.tasks.policy.contract.parse import METADATA, contract_of_metadata, parse_contract, read_contract

LEAST = """
observations:
- {input: joints, topic: joint_states, type: sensor_msgs/msg/JointState}
actions:
- {output: velocity, kind: velocity, names: [shoulder, elbow]}
"""
CONTRACTS = sorted((ROOT / "config" / "contracts").glob("*.yaml"))


def test_the_least_contract_and_its_defaults() -> None:
    contract = parse_contract(LEAST, "my.yaml")
    term, action = contract.observations[0], contract.actions[0]
    assert (contract.version, contract.rate_hz, contract.execution, contract.merge) == (1, None, "async", "align")
    assert (contract.align_fade_s, contract.margin, contract.max_skew_s, contract.task) == (0.2, 1, None, "")
    assert (term.source, term.window, term.transform, term.normalize, term.stand_in) == ("topic", None, "", None, None)
    assert (term.offset, term.scale, term.clip) == ((0.0,), (1.0,), None)
    assert (term.qos.reliability, term.qos.durability, term.qos.depth) == ("best_effort", "volatile", 5)
    assert (action.message, action.topic, action.columns, action.repeat) == (
        "Float64MultiArray",
        "action",
        (0, None),
        1,
    )
    assert (action.align, action.gripper, action.safe, action.limits.lower) == ("linear", None, None, ())
    assert contract == parse_contract(LEAST, "my.yaml")
    hash(contract)  # frozen all through


@pytest.mark.parametrize(
    ("kind", "message"),
    [("position", "JointTrajectory"), ("delta", "JointTrajectory"), ("velocity", "Float64MultiArray")],
)
def test_the_message_goes_by_the_kind(kind: str, message: str) -> None:
    assert parse_contract(LEAST.replace("kind: velocity", f"kind: {kind}"), "c").actions[0].message == message


def _with(old: str, new: str) -> str:
    assert old in LEAST
    return LEAST.replace(old, new)


WRONG = [
    ("[]", "a contract must be a mapping"),
    ("a: [", "a contract must be YAML: line "),
    ("actions: []", "observations is missing"),
    (_with("observations:", "version: 2\nobservations:"), "version must be a whole number from 1 to 1"),
    (_with("observations:", "rate: 10\nobservations:"), r"rate is no key of a contract; did you mean rate_hz\?"),
    (_with("observations:", "rate_hz: 0\nobservations:"), "rate_hz must be a number above 0 and at most 1000"),
    (_with("observations:", "rate_hz: .nan\nobservations:"), "rate_hz must be a number above 0"),
    (_with("observations:", "rate_hz: yes\nobservations:"), "rate_hz must be a number"),
    (_with("observations:", "execution: later\nobservations:"), "execution must be one of async, sync, got 'later'"),
    (_with("topic: joint_states, ", ""), r"observations\[0\].topic is missing; it must be a topic's name"),
    (_with("topic: joint_states", "topic: a b"), r"observations\[0\].topic must be a topic's name, got 'a b'"),
    (_with("sensor_msgs/msg/JointState", "JointState"), r"observations\[0\].type must be a message type like"),
    (_with("JointState}", "JointState, fields: ['a..b']}"), r"observations\[0\].fields must be paths like"),
    (_with("JointState}", "JointState, transform: spin}"), r"transform must be one of gravity, rot6d"),
    (
        _with("JointState}", "JointState, window: {length: 0, rate_hz: 5}}"),
        r"window.length must be a whole number from 1",
    ),
    (_with("JointState}", "JointState, window: {length: 2}}"), r"observations\[0\].window.rate_hz is missing"),
    (_with("JointState}", "JointState, normalize: {mean: 0}}"), r"normalize must be \{mean, std\} or \{min, max\}"),
    (
        _with("JointState}", "JointState, scale: 2, normalize: {mean: 0, std: 1}}"),
        "normalize goes without offset, scale",
    ),
    (_with("JointState}", "JointState, clip: [1, -1]}"), r"clip must be \[lowest, highest\]"),
    (_with("JointState}", "JointState, clip: 1}"), r"clip must be \[lowest, highest\]"),
    (_with("JointState}", "JointState, names: [a, a]}"), "names must be a list of different texts"),
    (_with("JointState}", "JointState, image: {size: [1, 1]}}"), "image goes with types sensor_msgs/msg/Image and"),
    (_with("JointState}", "JointState, source: constant, value: 1}"), "type goes with source topic alone, not with"),
    (_with("JointState}", "JointState, qos: {depth: 0}}"), "qos.depth must be a whole number from 1 to 10000, got 0"),
    (
        _with("JointState}", "JointState, ranges: {count: 3, max: 1}}"),
        r"ranges must be \{count, max, inf\} with transform",
    ),
    (_with("kind: velocity", "kind: torque"), r"actions\[0\].kind must be one of position, velocity, delta, twist"),
    (_with("kind: velocity, ", ""), r"actions\[0\].kind is missing"),
    (_with("[shoulder, elbow]}", "[shoulder, elbow], slice: '0-2'}"), r"actions\[0\].slice must be a text like"),
    (_with("[shoulder, elbow]}", "[shoulder, elbow], slice: '0:3'}"), r"actions\[0\].slice must be 2 values long"),
    (
        _with("[shoulder, elbow]}", "[shoulder, elbow], scale: [1, 2, 3]}"),
        "scale must be a number or a list of 2 numbers",
    ),
    (_with("[shoulder, elbow]}", "[shoulder, elbow], message: Twist}"), "message Twist does not go with kind velocity"),
    (
        _with("[shoulder, elbow]}", "[shoulder, elbow], limits: {lower: 1, upper: 0}}"),
        "limits.upper must be no lower than",
    ),
    (
        _with("[shoulder, elbow]}", "[shoulder, elbow], limits: {velocity: -1}}"),
        "velocity must be numbers of at least 0",
    ),
    (_with("[shoulder, elbow]}", "[shoulder, elbow], gripper: {closed: 0, open: 1}}"), "names must be one name where"),
    (LEAST + "- {output: a, kind: velocity, names: [elbow]}", r"actions\[1\].names has elbow, which an entry before"),
    (LEAST + "- {output: a, kind: position, names: [g]}", r"actions\[1\].topic 'action' has another message or kind"),
    (LEAST + "state:\n- {input: joints, output: h}", "state gives the input 'joints', which something else gives too"),
    (_with("JointState}", "JointState}\n- {input: t, source: text}"), "task must be a text where an observation has"),
]


@pytest.mark.parametrize(("text", "what"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_said_in_one_sentence_with_file_and_key(text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        parse_contract(text, "my.yaml")
    assert str(caught.value).startswith("my.yaml: ")
    assert "\n" not in str(caught.value)


def test_a_contract_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"contract must be a YAML file, .* cannot be read"):
        read_contract(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="it is not UTF-8"):
        read_contract(tmp_path / "binary.yaml")


def test_a_model_carries_its_contract(tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx", {"joints": (1, 2)}, {"velocity": (1, 2)}, metadata={METADATA: LEAST})
    engine = engines.load(str(model))
    carried = contract_of_metadata(engine.info.metadata, "m")
    assert carried is not None
    assert carried.actions == parse_contract(LEAST, "c").actions
    assert contract_of_metadata({}, "m") is None
    with pytest.raises(ConfigError, match=r"metadata 'perf_inference.contract' of 'm': a contract must be"):
        contract_of_metadata({METADATA: "3"}, "m")


def _bound(text: str, model: Path) -> Binding:
    contract = parse_contract(text, "my.yaml")
    engine = engines.load(str(model))
    return Binding(contract, engine.inputs, engine.outputs, engine.info)


UNFIT = [
    ({"x": (1, 2)}, {"velocity": (1, 2)}, "the model has no input 'joints'; its inputs are x"),
    ({"joints": (1, 2), "x": (1, 3)}, {"velocity": (1, 2)}, "no observation gives the model's input 'x'"),
    ({"joints": (1, 2)}, {"v": (1, 2)}, "the model has no output 'velocity'; its outputs are v"),
    ({"joints": (1, 2)}, {"velocity": (1, 3)}, "output 'velocity' must have 2 values for shoulder, elbow, not"),
    ({"joints": (1, 2)}, {"velocity": (1, 4, 3)}, "output 'velocity' must have 2 values for shoulder, elbow, not"),
    ({"joints": (1, 2)}, {"velocity": (1, 1, 1, 2)}, r"must be \[1, steps, values\] or \[1, values\], it is"),
]


@pytest.mark.parametrize(("inputs", "outputs", "what"), UNFIT, ids=range(len(UNFIT)))
def test_a_model_that_does_not_fit(tmp_path: Path, inputs: dict, outputs: dict, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        _bound(LEAST, network(tmp_path / "m.onnx", inputs, outputs))
    assert str(caught.value).startswith("my.yaml does not fit 'm': ")


def test_names_that_do_not_fill_the_input(tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx", {"joints": (1, 6)}, {"velocity": (1, 2)})
    text = _with("JointState}", "JointState, names: [shoulder, elbow], fields: [position, velocity]}")
    with pytest.raises(ConfigError, match=r"input 'joints' must be \[1, 6\], the observations give \[1, 4\]"):
        _bound(text, model)


def test_check_says_what_it_subscribes_to_and_whether_the_model_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(LEAST)
    fitting = network(tmp_path / "fits.onnx", {"joints": (1, 2)}, {"velocity": (1, 8, 2)})
    other = network(tmp_path / "other.onnx", {"joints": (1, 2)}, {"velocity": (1, 8, 3)})
    assert main(["check", str(tmp_path / "c.yaml"), "--model", str(fitting)]) == 0
    said = capsys.readouterr().out
    assert "subscribes to joint_states (sensor_msgs/msg/JointState)" in said
    assert "publishes action (Float64MultiArray)" in said
    assert re.search(r"fits 'fits': chunks of 8 steps", said)
    assert main(["check", str(tmp_path / "c.yaml"), "--model", str(other)]) == 78
    assert "does not fit 'other'" in capsys.readouterr().err
    assert main(["check", "--model", str(fitting)]) == 78
    assert "carries no contract" in capsys.readouterr().err


@pytest.mark.slow
def test_build_writes_the_contract_into_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text(LEAST)
    model = network(tmp_path / "m.onnx", {"joints": (1, 2)}, {"velocity": (1, 2)}, metadata={"kept": "yes"})
    for _ in range(2):  # a second time it replaces the first
        assert main(["build", str(model), "--contract", str(tmp_path / "c.yaml")]) == 0
    metadata = engines.load(str(model)).info.metadata
    assert metadata[METADATA] == LEAST
    assert metadata["kept"] == "yes"
    assert model.read_bytes().count(METADATA.encode()) == 1
    capsys.readouterr()
    assert main(["check", "--model", str(model)]) == 0
    unfit = network(tmp_path / "unfit.onnx", {"joints": (1, 2)}, {"v": (1, 2)})
    before = unfit.read_bytes()
    assert main(["build", str(unfit), "--contract", str(tmp_path / "c.yaml")]) == 78
    assert unfit.read_bytes() == before
    assert main(["build", "policy", "--contract", str(tmp_path / "c.yaml")]) == 78


def test_there_are_six_contracts_and_each_is_one() -> None:
    assert len(CONTRACTS) >= 6
    for path in CONTRACTS:
        assert isinstance(read_contract(path), Contract)


@pytest.mark.parametrize("node", ["/**/yolo_node: {}", "robot: {{front: {{yolo_node: {}}}}}"])
def test_a_parameters_file_is_told_from_a_contract(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], node: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(node.format("{ros__parameters: {model: detector}}"))
    assert main(["check", str(file)]) == 78
    said = capsys.readouterr().err
    assert f"{file} is a ROS parameters file, which `perf-inference run --config` takes" in said


@pytest.mark.parametrize(("rate", "line"), [("rate_hz: 30\n", "ticks at 30 Hz"), ("", "ticks at the node's `rate`")])
def test_check_says_the_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str], rate: str, line: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        f"{rate}observations:\n- {{input: x, topic: joint_states, type: sensor_msgs/msg/JointState, names: [a]}}\n"
        "actions:\n- {output: y, kind: velocity, names: [a]}\n"
    )
    assert main(["check", str(file)]) == 0
    assert line in capsys.readouterr().out.splitlines()
