"""LeRobot's ACT as ONNX: the scaling is inside, both layouts of a folder give the same, and the contract is carried."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs PyTorch (make test-torch)")
pytest.importorskip("safetensors")
pytest.importorskip("onnx")

import torch
from safetensors.torch import save_file

from perf_inference import cli
from perf_inference.engines import load
from perf_inference.engines.lerobot.folder import features_of
from perf_inference.engines.onnx.metadata import read_metadata
from perf_inference.errors import ConfigError
from perf_inference.model_build.converters.lerobot import act as lerobot_act
from perf_inference.model_build.converters.lerobot import policies as lerobot

pytestmark = pytest.mark.torch
FEATURES = {
    "observation.images.front": {"type": "VISUAL", "shape": [3, 40, 64]},
    "observation.state": {"type": "STATE", "shape": [2]},
}
CONFIG: dict[str, Any] = {
    "type": "act", "n_obs_steps": 1, "chunk_size": 4, "n_action_steps": 4, "input_features": FEATURES,
    "output_features": {"action": {"type": "ACTION", "shape": [2]}}, "vision_backbone": "resnet18", "dim_model": 16,
    "n_heads": 2, "dim_feedforward": 16, "n_encoder_layers": 1, "n_decoder_layers": 1, "latent_dim": 4,
    "feedforward_activation": "relu", "pre_norm": False, "replace_final_stride_with_dilation": False,
    "normalization_mapping": {"VISUAL": "MEAN_STD", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"},
    "temporal_ensemble_coeff": None,
}  # fmt: skip
IMAGES = {"mean": torch.tensor([[[0.4]], [[0.5]], [[0.6]]]), "std": torch.tensor([[[0.2]], [[0.25]], [[0.3]]])}
STATE = {"mean": torch.tensor([1.0, -2.0]), "std": torch.tensor([0.5, 2.0])}
ACTION = {"mean": torch.tensor([10.0, -20.0]), "std": torch.tensor([2.0, 3.0])}
RANGES = {"min": torch.tensor([-1.0, 2.0]), "max": torch.tensor([3.0, 2.0])}  # the second never moved


class _None:
    def scaling(self, feature: Any, out: bool = False) -> Any:
        return lerobot_act.Scaling("IDENTITY")


def weights(config: dict[str, Any]) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    inputs = features_of(config, "input_features", "here")
    action = features_of(config, "output_features", "here")[0]
    network = lerobot_act._Policy(config, inputs, action, _None()).model
    return {f"model.{name}": w.clone() for name, w in network.state_dict().items()}


def present(folder: Path, config: dict[str, Any], statistics: dict[str, dict[str, torch.Tensor]]) -> Path:
    """The layout since 0.4."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file({**weights(config), "model.vae_encoder.x": torch.zeros(1)}, str(folder / "model.safetensors"))
    norm = {"eps": 1e-8, "norm_map": config["normalization_mapping"]}
    tensors = {f"{name}.{key}": value for name, found in statistics.items() for key, value in found.items()}
    for which, step in (("preprocessor", "normalizer_processor"), ("postprocessor", "unnormalizer_processor")):
        save_file({k: v.clone() for k, v in tensors.items()}, str(folder / f"{which}.safetensors"))
        steps = [
            {"registry_name": "device_processor", "config": {}},
            {"registry_name": step, "config": norm, "state_file": f"{which}.safetensors"},
        ]
        (folder / f"policy_{which}.json").write_text(json.dumps({"name": which, "steps": steps}))
    return folder


def before(folder: Path, config: dict[str, Any], statistics: dict[str, dict[str, torch.Tensor]]) -> Path:
    """The layout before 0.4: the statistics are among the weights."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    tensors = weights(config)
    for name, found in statistics.items():
        room = "unnormalize_outputs" if name == "action" else "normalize_inputs"
        for key, value in found.items():
            tensors[f"{room}.buffer_{name.replace('.', '_')}.{key}"] = value.clone()
    save_file(tensors, str(folder / "model.safetensors"))
    return folder


STATISTICS = {"observation.images.front": IMAGES, "observation.state": STATE, "action": ACTION}


def inputs(state: tuple[float, float] = (1.5, -2.0)) -> dict[str, np.ndarray]:
    image = np.random.default_rng(2).integers(0, 256, (1, 40, 64, 3)).astype(np.uint8)
    return {"observation.images.front": image, "observation.state": np.array([state], np.float32)}


def plain(config: dict[str, Any], image: np.ndarray, state: list[float]) -> np.ndarray:
    """What the network alone makes of scaled values."""
    policy = lerobot_act._Policy(
        config, features_of(config, "input_features", ""), features_of(config, "output_features", "")[0], _None()
    )
    policy.model.load_state_dict({name.removeprefix("model."): w for name, w in weights(config).items()})
    with torch.no_grad():
        vectors = {"STATE": torch.tensor([state])}
        return policy.eval().model(vectors, [torch.from_numpy(image)]).numpy()


def exported(folder: Path, target: Path) -> Any:
    assert cli.main(["build", str(folder), "--runtime", "onnx", "--out", str(target)]) == 0
    return load(str(target))


def test_both_layouts_scale_in_the_graph_as_a_hand_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PERF_INFERENCE_CACHE", str(tmp_path / "cache"))
    given = inputs()
    image = given["observation.images.front"].astype(np.float32).transpose(0, 3, 1, 2) / 255
    image = (image - IMAGES["mean"].numpy()[None]) / IMAGES["std"].numpy()[None]
    wanted = plain(CONFIG, image.astype(np.float32), [1.0, 0.0]) * ACTION["std"].numpy() + ACTION["mean"].numpy()
    for make in (present, before):
        engine = exported(make(tmp_path / make.__name__, CONFIG, STATISTICS), tmp_path / f"{make.__name__}.onnx")
        assert [spec.shape for spec in engine.inputs] == [(1, 40, 64, 3), (1, 2)]
        np.testing.assert_allclose(engine.infer(given)["action"], wanted, atol=1e-4)
        engine.close()
    assert "onnx in fp32" in capsys.readouterr().out
    metadata = read_metadata(tmp_path / "present.onnx")
    assert "observation.images.front" in metadata["perf_inference.contract"]
    assert metadata["lerobot"] == "act"
    # a contract with what is REQUIRED starts nothing, and says what is missing
    assert cli.main(["check", "--model", str(tmp_path / "present.onnx")]) == 78
    assert "are REQUIRED and must be filled in" in capsys.readouterr().err


def test_ranges_scale_as_each_version_has_them(tmp_path: Path) -> None:
    mapping = {"VISUAL": "IDENTITY", "STATE": "MIN_MAX", "ACTION": "MIN_MAX"}
    config = {**CONFIG, "normalization_mapping": mapping}
    statistics = {"observation.state": RANGES, "action": RANGES}
    given = inputs((1.0, 2.0))
    image = given["observation.images.front"].astype(np.float32).transpose(0, 3, 1, 2) / 255
    raw = plain(config, image, [0.0, -1.0])
    for make, width in ((present, np.array([4.0, 1e-8])), (before, np.array([4.0, 0.0]))):
        policy = lerobot.architecture(make(tmp_path / make.__name__, config, statistics))
        with torch.no_grad():
            found = policy.module(*(torch.from_numpy(given[spec.name]) for spec in policy.inputs)).numpy()
        np.testing.assert_allclose(found, (raw + 1) / 2 * width + RANGES["min"].numpy(), atol=1e-5)


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    folder = present(tmp_path / "act", CONFIG, STATISTICS)
    steps = folder / "policy_preprocessor.json"
    steps.write_text(json.dumps({"steps": [{"registry_name": "delta_processor"}]}))
    with pytest.raises(ConfigError, match="has a step 'delta_processor'"):
        lerobot.architecture(folder)
    steps.unlink()
    with pytest.raises(ConfigError, match=r"has no mean and std of 'observation\.images\.front'"):
        lerobot.architecture(folder)
    (folder / "config.json").write_text(json.dumps({**CONFIG, "dim_model": 32}))
    with pytest.raises(ConfigError, match=r"are not those that its|has no mean"):
        lerobot.architecture(folder)
    for kind in ("diffusion", "smolvla"):
        (folder / "config.json").write_text(json.dumps({**CONFIG, "type": kind}))
        with pytest.raises(ConfigError, match=f"of type '{kind}', which is not exported"):
            lerobot.architecture(folder)
