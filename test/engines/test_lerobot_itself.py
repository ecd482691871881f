"""Policies that LeRobot itself has saved: the same chunk by LeRobot, by runtime lerobot and by the exported ONNX.

LeRobot is in an environment of its own: `tools/setup_lerobot.sh` makes .venv-lerobot, or LEROBOT_PYTHON names one.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.paths import TESTS

from perf_inference import cli, model_build
from perf_inference.engines import Engine, Options, load

pytestmark = [pytest.mark.long, pytest.mark.torch]
PYTHON = os.environ.get("LEROBOT_PYTHON", str(TESTS.parent / ".venv-lerobot" / "bin" / "python"))
SCRIPT = TESTS / "support" / "lerobot_policies.py"
SMALL = {"dim_model": 64, "n_heads": 4, "dim_feedforward": 96, "n_encoder_layers": 2, "chunk_size": 20,
         "n_action_steps": 20, "n_vae_encoder_layers": 1, "pretrained_backbone_weights": None}  # fmt: skip
QUANTILES = {"VISUAL": "MEAN_STD", "STATE": "QUANTILES", "ACTION": "QUANTILE10"}
RANGES = {"VISUAL": "IDENTITY", "STATE": "MIN_MAX", "ACTION": "MIN_MAX", "ENV": "MIN_MAX"}
KINDS = {
    "two_cameras": {},
    "deep": {"vision_backbone": "resnet50", "replace_final_stride_with_dilation": 1, "pre_norm": True, "cameras": 1,
             "feedforward_activation": "gelu", "n_decoder_layers": 2, "modes": QUANTILES, "size": [70, 100]},
    "no_camera": {"cameras": 0, "modes": RANGES, "use_vae": False, "seed": 7},
    "camera_and_surroundings": {"cameras": 1, "env": True, "modes": RANGES, "temporal_ensemble_coeff": 0.01,
                                "n_action_steps": 1},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _lerobot() -> None:
    if not Path(PYTHON).exists():
        pytest.skip(f"needs LeRobot at {PYTHON}: run tools/setup_lerobot.sh, or set LEROBOT_PYTHON")


def made(kind: str, folder: Path, settings: dict[str, Any]) -> Path:
    words = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    subprocess.run([PYTHON, "-I", str(SCRIPT), "make", kind, str(folder), *words], check=True)
    return folder


def inputs_of(engine: Engine, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        spec.name: rng.integers(0, 256, spec.shape).astype(np.uint8)
        if spec.dtype == np.uint8
        else np.array(["x"], object)
        if spec.dtype == object
        else rng.normal(size=spec.shape).astype(np.float32)
        for spec in engine.inputs
    }


def by_lerobot(folder: Path, inputs: dict[str, np.ndarray], tmp_path: Path) -> Any:
    source, target = tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(source, **inputs)
    subprocess.run([PYTHON, "-I", str(SCRIPT), "run", str(folder), str(source), str(target)], check=True)
    return np.load(target)


@pytest.mark.parametrize("name", KINDS)
def test_act_gives_the_same_chunk_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PERF_INFERENCE_CACHE", str(tmp_path / "cache"))
    folder = made("act", tmp_path / "act", {**SMALL, **KINDS[name]})
    engine = load(str(folder), options=Options(python=PYTHON, threads=1))
    exported = model_build.load(str(folder), "onnx", Options(threads=1))
    try:
        inputs = inputs_of(engine)
        wanted = by_lerobot(folder, inputs, tmp_path)
        for what, found in (("runtime", engine.infer(inputs)), ("onnx", exported.infer(inputs))):
            off = float(np.abs(found["action"] - wanted["action"]).max())
            print(f"\n{name}: {what} differs from lerobot by {off:.2g} (largest {np.abs(wanted['action']).max():.3g})")
            assert found["action"].shape == wanted["action"].shape == (1, 20, 6)
            assert off < 1e-4
        if name == "two_cameras":
            _say_ratios(engine, exported, inputs, lambda: by_lerobot(folder, inputs, tmp_path)["ms"])
    finally:
        engine.close()
        exported.close()


def _say_ratios(
    engine: Engine, exported: Engine, inputs: dict[str, np.ndarray], lerobot_ms: Callable[[], np.ndarray]
) -> None:
    """Print latencies as ratios, measured in turns."""
    each: dict[str, list[float]] = {"runtime": [], "onnx": [], "lerobot": []}
    for _ in range(3):
        each["lerobot"] += lerobot_ms().tolist()
        for _ in range(10):
            for what, one in (("runtime", engine), ("onnx", exported)):
                began = time.perf_counter()
                one.infer(inputs)
                each[what].append((time.perf_counter() - began) * 1e3)
    middle = {what: float(np.median(values)) for what, values in each.items()}
    ratios = {what: value / middle["onnx"] for what, value in middle.items()}
    print(f"p50 of {len(each['onnx'])} on one thread: " + ", ".join(
        f"{what} {middle[what]:.1f} ms ({ratio:.2f} of the exported one)" for what, ratio in ratios.items()
    ))  # fmt: skip


def test_diffusion_runs_by_the_runtime(tmp_path: Path) -> None:
    settings = {"down_dims": [32, 64], "num_inference_steps": 5, "crop_shape": None, "size": [96, 96]}
    folder = made("diffusion", tmp_path / "diffusion", settings)
    engine = load(str(folder), options=Options(python=PYTHON, threads=1))
    try:
        inputs = inputs_of(engine)
        assert inputs["observation.state"].shape == (1, 2, 6)
        found = engine.infer(inputs)["action"]
        wanted = by_lerobot(folder, inputs, tmp_path)["action"]
        off = float(np.abs(found - wanted).max())
        print(f"\ndiffusion: differs from lerobot by {off:.2g}, its chance drawn alike")
        assert off < 1e-4
        assert np.array_equal(engine.infer(inputs)["action"], found)  # the same observation, the same chunk
    finally:
        engine.close()


SMOLVLA = {"num_vlm_layers": 2, "chunk_size": 10, "n_action_steps": 10, "load_vlm_weights": False, "num_steps": 3,
           "resize_imgs_with_padding": [64, 64], "tokenizer_max_length": 16, "size": [64, 64], "cameras": 1,
           "max_state_dim": 8, "max_action_dim": 8}  # fmt: skip


def test_smolvla_is_told_its_task_and_chunks_in_real_time(tmp_path: Path) -> None:
    folder = made("smolvla", tmp_path / "smolvla", SMOLVLA)
    task = {"task": np.array(["pick up the red cube"], object)}
    engine = load(str(folder), options=Options(python=PYTHON, threads=1))
    try:
        inputs = {name: array for name, array in inputs_of(engine).items() if name != "task"}
        found = engine.infer({**inputs, **task})["action"]
        wanted = by_lerobot(folder, {**inputs, "task": np.array("pick up the red cube")}, tmp_path)["action"]
        assert float(np.abs(found - wanted).max()) < 1e-4
        other = engine.infer({**inputs, "task": np.array(["put it into the box"], object)})["action"]
        assert float(np.abs(found - other).max()) > 1e-3
    finally:
        engine.close()
    config = json.loads((folder / "config.json").read_text())
    config["rtc_config"] = {"enabled": True, "execution_horizon": 10}
    (folder / "config.json").write_text(json.dumps(config))
    engine = load(str(folder), options=Options(python=PYTHON, threads=1))
    try:
        plan = {"previous_chunk": np.full((1, 10, 6), 0.7, np.float32)}
        off = [
            float(
                np.abs(
                    engine.infer({**inputs, **task, **plan, "delay_steps": np.array([d])})["action"][0, :4] - 0.7
                ).mean()
            )
            for d in (0, 4)
        ]
        print(f"\nsmolvla: the first four steps are {off[0]:.2f} from the plan, and {off[1]:.2f} where it is guided")
        assert off[1] < off[0] / 2
    finally:
        engine.close()


CONTRACT = """
rate_hz: 20
observations:
- {input: observation.state, topic: joint_states, type: sensor_msgs/msg/JointState, names: [a, b, c, d, e, f]}
- {input: observation.images.front, topic: image, type: sensor_msgs/msg/Image,
   image: {size: [96, 128], colour: rgb, layout: nhwc, dtype: uint8}}
actions:
- {output: action, kind: position, names: [a, b, c, d, e, f], limits: {lower: -3, upper: 3, velocity: 2}}
"""


def test_the_exported_model_drives_policy_node(
    ros: Any, start_node: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sensor_msgs.msg import Image, JointState
    from trajectory_msgs.msg import JointTrajectory

    monkeypatch.setenv("PERF_INFERENCE_CACHE", str(tmp_path / "cache"))
    folder, model, contract = (
        made("act", tmp_path / "act", {**SMALL, "cameras": 1}),
        tmp_path / "a.onnx",
        tmp_path / "c",
    )
    contract.write_text(CONTRACT)
    assert cli.main(["build", str(folder), "--runtime", "onnx", "--contract", str(contract), "--out", str(model)]) == 0
    joints, images = (
        ros.node.create_publisher(*topic, 10) for topic in ((JointState, "joint_states"), (Image, "image"))
    )
    actions = ros.collect(JointTrajectory, "action")

    def publish() -> None:
        seen = JointState(name=list("abcdef"), position=[0.1] * 6)
        image = Image(height=96, width=128, encoding="rgb8", step=384, data=bytes(96 * 384))
        seen.header.stamp = image.header.stamp = ros.node.get_clock().now().to_msg()
        joints.publish(seen)
        images.publish(image)

    ros.node.create_timer(0.03, publish)
    node = start_node("policy_node", "-p", f"model:={model}", "-p", "enabled:=true", "-p", "tracking_tolerance:=0.0")
    drives = ros.spin_until(lambda: actions and any(abs(q - 0.1) > 0.05 for q in actions[-1].points[-1].positions), 60)
    assert drives, node.output()
