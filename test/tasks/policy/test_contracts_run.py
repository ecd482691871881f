"""Each contract of config/contracts drives a network of the right shapes, from messages to commands."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.paths import ROOT
from support.policy_models import network

from perf_inference import engines
from perf_inference.cli import main
from perf_inference.tasks.policy.binding import Binding
from perf_inference.tasks.policy.chunks.commands import Base
from perf_inference.tasks.policy.chunks.delays import Delays
from perf_inference.tasks.policy.chunks.limiter import Limiter
from perf_inference.tasks.policy.chunks.player import Player, PlayerSettings
from perf_inference.tasks.policy.contract.contract import Term
from perf_inference.tasks.policy.contract.parse import read_contract
from perf_inference.tasks.policy.observing.observer import Context, Observer

MS = 1_000_000
FOLDER = ROOT / "config" / "contracts"
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "demo_arm": (
        {"force": (1, 65, 6), "joints": (1, 65, 4), "image": ((1, 96, 128, 3), "uint8")},
        {"action": (1, 2)},
    ),
    "window_mlp": ({"sensor": (1, 65, 6), "robot": (1, 65, 12)}, {"velocity": (1, 6)}),
    "act_two_cameras": (
        {
            "observation.images.front": (1, 3, 120, 160),
            "observation.images.wrist": (1, 3, 120, 160),
            "observation.state": (1, 6),
        },
        {"action": (1, 50, 6)},
    ),
    "quadruped": ({"obs": (1, 48)}, {"actions": (1, 12)}),
    "mobile_base": (
        {"image": ((1, 60, 80, 3), "uint8"), "state": (1, 3), "scan": (1, 36)},
        {"cmd": (1, 2)},
    ),
    "gripper_delta": ({"state": (1, 15), "instruction": ((1, 64), "uint8")}, {"action": (1, 8)}),
}


def message(term: Term, at: int) -> Any:
    """Return a message of a term's type, decoded; for images what decodes one."""
    vector = {"x": 0.1 * at, "y": 0.2, "z": 0.3}
    turn = {"x": 0.0, "y": 0.0, "z": math.sin(0.1), "w": math.cos(0.1)}
    twist = {"linear": vector, "angular": vector}
    if term.is_image:
        return lambda: np.full((240, 320, 3), 100 + at, np.uint8)
    return {
        "geometry_msgs/msg/WrenchStamped": {"header": {}, "wrench": {"force": vector, "torque": vector}},
        "geometry_msgs/msg/TwistStamped": {"header": {}, "twist": twist},
        "geometry_msgs/msg/Twist": twist,
        "sensor_msgs/msg/Imu": {"orientation": turn, "angular_velocity": vector},
        "nav_msgs/msg/Odometry": {"pose": {"pose": {"orientation": turn}}, "twist": {"twist": twist}},
        "sensor_msgs/msg/LaserScan": {"ranges": [1.0 + 0.01 * i for i in range(360)]},
        "sensor_msgs/msg/JointState": {
            "name": list(reversed(term.names)),
            "position": [0.01 * i for i in range(len(term.names))],
            "velocity": [],
        },
    }[term.type]


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_a_contract_runs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs, outputs = SHAPES[name]
    model = network(tmp_path / "m.onnx", inputs, outputs)
    assert main(["check", str(FOLDER / f"{name}.yaml"), "--model", str(model)]) == 0
    assert "fits 'm'" in capsys.readouterr().out
    contract, engine = read_contract(FOLDER / f"{name}.yaml"), engines.load(str(model))
    binding = Binding(contract, engine.inputs, engine.outputs, engine.info)
    commands, step_s = binding.commands, 1 / (contract.rate_hz or 10)
    observer = Observer(contract, binding.prepare, 50 * MS, 300 * MS, commands.width, binding.widths)
    limiter = Limiter(contract.actions, step_s)
    player = Player(PlayerSettings(step_s, commands.aligns, commands.rates), Delays(step_s, 0.05))
    raw = None
    for tick in range(3):
        for at in range(70):
            for place, series in observer.series.items():
                observer.add(place, (tick * 700 + 10 * at) * MS, message(series.term, at))
        end_ns = (tick * 700 + 690) * MS
        assert observer.missing(end_ns) == ""
        ask = player.ask(end_ns)
        assert ask is not None
        seen = observer.look(end_ns, Context(raw, player.last, contract.task))
        outcome = engine.infer(binding.inputs(seen, ask.prefix, ask.delay_steps))
        rows = commands.raw(outcome)
        raw = rows[0]
        chunk = commands.published(rows, Base(seen.measured, player.last))
        assert chunk.shape == (binding.horizon, len(commands.names))
        assert player.answer(ask, chunk, end_ns).dropped == ""
        for _ in range(len(chunk)):
            step = player.step()
            assert step is not None
            sent = limiter.apply(step.values)
            limiter.sent(sent)
            player.sent(sent)
            for action, part in zip(contract.actions, commands.slices, strict=True):
                bounds = action.limits
                if bounds.lower and action.kind != "velocity":
                    assert (sent[part] >= bounds.lower).all()
                    assert (sent[part] <= bounds.upper).all()
    assert player.counts.sent == 3 * len(chunk)


def test_the_quadruped_sees_its_48_values_in_order(tmp_path: Path) -> None:
    contract = read_contract(FOLDER / "quadruped.yaml")
    observer = Observer(contract, {}, 0, 300 * MS, 12)
    for place, series in observer.series.items():
        observer.add(place, 0, message(series.term, 5))
    obs = observer.look(0, Context(raw=np.arange(12.0))).arrays["obs"]
    assert obs.shape == (1, 48)
    np.testing.assert_allclose(obs[0, :3], [1.0, 0.4, 0.6])  # linear velocity, times 2
    np.testing.assert_allclose(obs[0, 3:6], [0.125, 0.05, 0.075])  # angular velocity, a quarter
    np.testing.assert_allclose(obs[0, 6:9], [0, 0, -1], atol=1e-12)  # gravity
    np.testing.assert_allclose(obs[0, 9:12], [1.0, 0.4, 0.075])  # the command
    # positions: reversed names, so FL_hip is the last of the message; minus the standing pose
    np.testing.assert_allclose(obs[0, 12:15], [0.11 - 0.1, 0.10 - 0.8, 0.09 + 1.5], atol=1e-12)
    assert obs[0, 24:36].tolist() == [0.0] * 12  # no velocity was sent, and there is no sample before
    assert obs[0, 36:].tolist() == list(range(12))


def test_a_delta_is_added_to_where_the_joints_were(tmp_path: Path) -> None:
    contract = read_contract(FOLDER / "gripper_delta.yaml")
    engine = engines.load(str(network(tmp_path / "m.onnx", *SHAPES["gripper_delta"])))
    binding = Binding(contract, engine.inputs, engine.outputs, engine.info)
    observer = Observer(contract, {}, 0, 300 * MS, 8, binding.widths)
    for place, series in observer.series.items():
        observer.add(place, 0, message(series.term, 0))
    seen = observer.look(0, Context(task="go"))
    assert seen.measured is not None
    np.testing.assert_allclose(seen.measured[:7], [0.01 * i for i in range(6, -1, -1)])
    raw = np.array([[1.0, -1.0, 9.0, 0, 0, 0, 0, 0.52]])
    closed = binding.commands.published(raw, Base(seen.measured, None))
    np.testing.assert_allclose(closed[0, :3] - seen.measured[:3], [0.05, -0.05, 0.05])
    assert closed[0, 7] == 0.0  # 0.52 is not yet open, within the hysteresis
    opened = np.array([0.0] * 7 + [0.04])
    assert binding.commands.published(raw, Base(seen.measured, opened))[0, 7] == 0.04  # nor closed yet
