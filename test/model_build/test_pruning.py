"""Pruning: what goes is the weakest, all of it goes, zeros stay zero, and the smaller file runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from perf_inference import cli, engines
from perf_inference.demo import training
from perf_inference.demo.scenes import render
from perf_inference.engines import MODELS, Options
from perf_inference.engines.architectures import Architecture, Group, Part, register
from perf_inference.engines.engine import ArraySpec
from perf_inference.errors import EX_CONFIG, ConfigError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from perf_inference.engines.pytorch.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from perf_inference.model_build.converters import pruning  # noqa: E402  it is of no use without torch

FLOATS = np.dtype(np.float32)
INPUTS = (ArraySpec("x", (1, 2), FLOATS),)
HIDDEN = (Group("hidden", 4, (Part("0.weight", 0), Part("0.bias", 0), Part("2.weight", 1))),)


def perceptron(hidden: int = 4) -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Linear(2, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 1)).eval()


def worked_example() -> torch.nn.Sequential:
    """Squared norms of the hidden units, in and out together: 5, 13, 11, 40."""
    module = perceptron()
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 0.0], [1.0, 1.0], [6.0, 0.0]]))
        module[0].bias.copy_(torch.tensor([0.0, 2.0, 0.0, 0.0]))
        module[2].weight.copy_(torch.tensor([[1.0, 3.0, 3.0, 2.0]]))
    return module


@pytest.mark.parametrize(
    ("units", "share", "left"),
    [(64, 0.3, 48), (96, 0.3, 64), (16, 0.3, 8), (64, 0.99, 8), (10, 0.3, 7), (4, 0.99, 1), (64, 0.01, 64)],
)
def test_wide_groups_keep_a_multiple_of_eight(units: int, share: float, left: int) -> None:
    assert pruning.units_left(units, share) == left


def test_the_weakest_units_go_by_all_their_weights() -> None:
    module = worked_example()
    weights = pruning.without_units(Architecture(module, INPUTS, ("y",), HIDDEN), 0.5)
    assert weights["0.weight"].tolist() == [[0.0, 0.0], [6.0, 0.0]]  # units 1 and 3: by what is heard of 1, it stays
    assert weights["0.bias"].tolist() == [2.0, 0.0]
    assert weights["2.weight"].tolist() == [[3.0, 2.0]]
    assert weights["2.bias"].tolist() == module[2].bias.tolist()
    perceptron(2).load_state_dict(weights)


def test_what_is_left_of_a_network_is_its_own() -> None:
    module = worked_example()
    network = Architecture(module, INPUTS, ("y",), HIDDEN)
    for share in (0.0, 0.5):
        for weight in pruning.without_units(network, share).values():
            weight.zero_()
    assert all(parameter.count_nonzero() for parameter in (module[0].weight, module[2].weight))


def test_groups_that_share_a_dimension_go_each_from_its_start() -> None:
    module = torch.nn.Linear(5, 1)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 9.0, 8.0]]))
    first, second = Group("a", 2, (Part("weight", 1),)), Group("b", 2, (Part("weight", 1, 3),))
    weights = pruning.without_units(Architecture(module, INPUTS, ("y",), (first, second)), 0.5)
    assert weights["weight"].tolist() == [[2.0, 3.0, 9.0]]


def test_statistics_of_a_normalisation_go_along_but_do_not_count() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(1, 2, bias=False), torch.nn.BatchNorm1d(2))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[1.0], [2.0]]))
        module[1].running_mean.copy_(torch.tensor([100.0, 0.0]))
    parts = tuple(Part(name, 0) for name in ("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var"))
    weights = pruning.without_units(Architecture(module, INPUTS, ("y",), (Group("out", 2, parts),)), 0.5)
    assert weights["0.weight"].tolist() == [[2.0]]
    assert weights["1.running_mean"].tolist() == [0.0]


def test_the_smallest_weights_are_found_over_all_layers_in_relation_to_their_layer() -> None:
    # squares over the sum of those not smaller: 1/30, 4/29, 9/25, 16/16 and the same in a layer of a hundredth
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[4.0, -1.0], [2.0, 3.0]]))
        module[1].weight.copy_(torch.tensor([[0.01, 0.03], [-0.02, 0.04]]))
    biases = [module[0].bias.clone(), module[1].bias.clone()]
    weights = pruning.without_small_weights(module, 0.5)
    assert weights["0.weight"].tolist() == [[4.0, 0.0], [0.0, 3.0]]
    assert (weights["1.weight"] != 0).tolist() == [[False, True], [False, True]]
    assert torch.equal(weights["0.bias"], biases[0])
    assert torch.equal(weights["1.bias"], biases[1])
    assert module[0].weight.count_nonzero() == 4, "the module itself is left alone"


def test_zeros_stay_zero_in_training_and_are_free_again_afterwards() -> None:
    module = perceptron(8)
    module.load_state_dict(pruning.without_small_weights(module, 0.5))
    zeros = {name: parameter.detach() == 0 for name, parameter in module.named_parameters()}
    assert sum(int(zero.sum()) for zero in zeros.values()) == 12

    def train() -> None:
        optimizer = torch.optim.AdamW(module.parameters(), lr=0.1, weight_decay=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            (module(torch.ones(3, 2)) - 7.0).square().sum().backward()
            optimizer.step()

    before = module[2].weight.detach().clone()
    with pruning.zeros_kept(module):
        train()
    after = {name: parameter.detach() for name, parameter in module.named_parameters()}
    assert all((after[name] == 0)[zero].all() for name, zero in zeros.items())
    assert not torch.equal(after["2.weight"], before)
    train()
    assert any(bool((after[name] != 0)[zero].any()) for name, zero in zeros.items())


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    network = Architecture(perceptron(), INPUTS, ("y",), HIDDEN)
    with pytest.raises(ConfigError, match="structured"):
        pruning.without_units(network, share)
    with pytest.raises(ConfigError, match="magnitude"):
        pruning.without_small_weights(network.module, share)


@pytest.mark.parametrize(("model", "scenes"), [("captioner", 8), ("detector", 8), ("policy", 20)])
def test_the_command_writes_a_smaller_model_that_runs(
    model: str, scenes: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(engines.find_model(model, "torch"))
    out = tmp_path / f"small{source.suffix}"
    assert cli.main(["prune", model, "--scenes", str(scenes), "--threads", "1", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    small, large = load_checkpoint(out), load_checkpoint(source)
    assert out.stat().st_size < 0.6 * source.stat().st_size
    assert (small.architecture, small.metadata["task"]) == (large.architecture, large.metadata["task"])
    done = json.loads(small.metadata["pruning"])
    assert (done["structured"], done["magnitude"]) == (0.3, 0.1)
    assert done["scored_on"] == (2 if model == "policy" else scenes)
    assert done["scores"]["original"] > done["scores"]["pruned"], "it is not fine-tuned yet"
    assert f"{done['scores']['original']:.4f}" in said
    assert f"{sum(w.numel() for name, w in small.weights.items() if _learned(name)):,}" in said
    engine, embedded = (engines.load(str(path), "torch", Options(threads=1)) for path in (out, source))
    assert (engine.inputs, engine.outputs) == (embedded.inputs, embedded.outputs)
    outputs = engine.infer({spec.name: np.zeros([n or 1 for n in spec.shape], spec.dtype) for spec in engine.inputs})
    assert outputs.keys() == {spec.name for spec in engine.outputs}
    engine.close()
    embedded.close()


def _learned(name: str) -> bool:
    return name.split(".")[-1] not in ("positions", "cells_px", "grid_x", "grid_y", "fastest")


def test_fine_tuning_goes_on_from_what_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare, tuned = tmp_path / "bare.safetensors", tmp_path / "tuned.pt"
    common = ["prune", "captioner", "--scenes", "4", "--threads", "1"]
    assert cli.main([*common, "--out", str(bare)]) == 0
    assert cli.main([*common, "--fine-tune", "2", "--out", str(tuned)]) == 0
    assert "fine-tuned" in capsys.readouterr().out
    before, after = load_checkpoint(bare).weights, load_checkpoint(tuned).weights
    zeros = {name: w == 0 for name, w in before.items() if w.ndim > 1 and _learned(name)}
    assert sum(int(zero.sum()) for zero in zeros.values()) > 10_000
    assert all((after[name] == 0)[zero].all() for name, zero in zeros.items())
    assert not torch.equal(before["gates.weight"], after["gates.weight"])
    assert json.loads(load_checkpoint(tuned).metadata["pruning"])["fine_tune_steps"] == 2


def test_a_foreign_network_loses_single_weights_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def foreign(weights: object, metadata: object) -> Architecture:
        module = perceptron()
        module.load_state_dict(weights)
        return Architecture(module.eval(), INPUTS, ("y",))

    register("foreign", foreign)
    source, out = tmp_path / "foreign.pt", tmp_path / "smaller.pt"
    save_checkpoint(source, "foreign", worked_example().state_dict())
    assert cli.main(["prune", str(source), "--out", str(out)]) == EX_CONFIG
    assert "groups" in capsys.readouterr().err
    assert not out.exists()
    assert cli.main(["prune", str(source), "--structured", "0", "--fine-tune", "5", "--out", str(out)]) == EX_CONFIG
    assert "--fine-tune" in capsys.readouterr().err
    assert cli.main(["prune", str(source), "--structured", "0", "--magnitude", "0.5", "--out", str(out)]) == 0
    assert "no score" in capsys.readouterr().out
    assert load_checkpoint(out).weights["0.weight"].tolist() == [[2.0, 0.0], [0.0, 0.0], [0.0, 0.0], [6.0, 0.0]]


def test_the_embedded_pruned_captioner_is_one_model_in_both_formats() -> None:
    small, large = (load_checkpoint(MODELS / f"{name}.safetensors") for name in ("pruned", "captioner"))
    prunable = [name for name, w in small.weights.items() if w.ndim > 1 and _learned(name)]
    zeros = sum(int((small.weights[name] == 0).sum()) for name in prunable)
    assert zeros == int(0.1 * sum(small.weights[name].numel() for name in prunable))
    assert small.weights["gates.weight"].shape == (4 * 64, 24 + 32 + 10 + 64)
    assert large.weights["gates.weight"].shape == (4 * 96, 32 + 48 + 10 + 96)
    torch_engine, onnx_engine = (engines.load("pruned", runtime, Options(threads=1)) for runtime in ("torch", "onnx"))
    for scene in training.test_scenes(3):
        inputs = {"image": training.model_input(render(scene))[None]}
        one, two = torch_engine.infer(inputs), onnx_engine.infer(inputs)
        assert one["tokens"].tolist() == two["tokens"].tolist()
        np.testing.assert_allclose(one["scores"], two["scores"], rtol=0, atol=1e-4)
    torch_engine.close()
    onnx_engine.close()


def test_half_floats_stay_half_floats(tmp_path: Path) -> None:
    found = load_checkpoint(MODELS / "policy.pt")
    source, out = tmp_path / "half.pt", tmp_path / "small.pt"
    save_checkpoint(source, "policy", {name: w.half() for name, w in found.weights.items()}, found.metadata)
    assert cli.main(["prune", str(source), "--scenes", "1", "--out", str(out)]) == 0
    assert load_checkpoint(out).precision == "fp16"
    assert out.stat().st_size < source.stat().st_size


def test_a_checkpoint_that_names_no_network_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = load_checkpoint(MODELS / "policy.pt")
    source = tmp_path / "bare.pt"
    torch.save(dict(found.weights), source)
    assert cli.main(["prune", str(source), "--out", str(tmp_path / "small.pt")]) == EX_CONFIG
    assert "--architecture" in capsys.readouterr().err
    given = ["--architecture", "policy", "--scenes", "1"]
    assert cli.main(["prune", str(source), *given, "--out", str(tmp_path / "small.pt")]) == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["prune", "nothing_like_it"], "embedded"),
        (["prune", str(MODELS / "captioner.onnx")], "checkpoint"),
        (["prune", "captioner", "--structured", "1.5"], "structured"),
        (["prune", "captioner", "--scenes", "0"], "scenes"),
        (["prune", "captioner", "--out", str(MODELS / "captioner.safetensors")], "itself"),
        (["prune", "captioner", "--out", "small.onnx"], "out"),
    ],
)
def test_what_cannot_be_pruned_is_said_in_a_sentence(
    arguments: list[str], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if "--scenes" in arguments:  # a number that cannot be
        with pytest.raises(SystemExit, match="2"):
            cli.main([*arguments])
    else:
        assert cli.main([*arguments]) == EX_CONFIG
    assert word in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
