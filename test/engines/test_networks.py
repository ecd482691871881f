"""The embedded networks in PyTorch: the ONNX files' own outputs, sizes read from the weights, and misfits refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from perf_inference import engines
from perf_inference.demo import training
from perf_inference.demo.evaluate import IMAGE_PX
from perf_inference.demo.scenes import render
from perf_inference.engines import MODELS, Options
from perf_inference.engines.architectures import Architecture, builder_of
from perf_inference.errors import ConfigError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

NAMES = {"captioner": "captioner.safetensors", "detector": "detector.safetensors", "policy": "policy.pt"}
SCENES = 4


def checkpoint(name: str) -> Any:
    from perf_inference.engines.pytorch.checkpoint import load_checkpoint

    return load_checkpoint(MODELS / NAMES[name])


def built(name: str) -> Architecture:
    found = checkpoint(name)
    return builder_of(name)(found.weights, found.metadata)


def scene_inputs(name: str, scene: int) -> Mapping[str, NDArray[Any]]:
    """Return what the model sees of a held-out scene; the policy's windows are drawn."""
    import cv2

    picture = render(training.test_scenes(scene + 1)[scene])
    if name != "policy":
        return {"image": training.model_input(picture)[None]}
    rng = np.random.default_rng(scene)
    small = cv2.resize(picture, IMAGE_PX, interpolation=cv2.INTER_AREA)
    windows = {key: rng.normal(0, 1, (1, 65, n)).astype(np.float32) for key, n in (("force", 6), ("joints", 4))}
    return {**windows, "image": np.asarray(small, np.uint8)[None]}


@pytest.mark.parametrize("name", list(NAMES))
def test_the_checkpoint_gives_what_the_onnx_file_gives(name: str) -> None:
    network, engine = built(name), engines.load(str(MODELS / f"{name}.onnx"), options=Options(threads=1))
    assert (MODELS / NAMES[name]).stat().st_size < 2_000_000
    assert network.inputs == engine.inputs
    assert network.outputs == tuple(spec.name for spec in engine.outputs)
    for scene in range(SCENES):
        inputs = scene_inputs(name, scene)
        wanted = engine.infer(inputs)
        with torch.no_grad():
            found = network.module(*(torch.from_numpy(inputs[spec.name]) for spec in network.inputs))
        for output, array in zip(network.outputs, found if isinstance(found, tuple) else (found,), strict=True):
            assert array.numpy().dtype == wanted[output].dtype
            np.testing.assert_allclose(array.numpy(), wanted[output], rtol=0, atol=0 if output == "tokens" else 1e-4)
    engine.close()


@pytest.mark.parametrize(("name", "task"), [("captioner", "caption"), ("detector", "detect"), ("policy", "policy")])
def test_the_checkpoint_says_what_the_onnx_file_says(name: str, task: str) -> None:
    engine = engines.load(str(MODELS / f"{name}.onnx"))
    said = {key: value for key, value in engine.info.metadata.items() if not key.startswith("score_onnx_")}
    assert checkpoint(name).metadata == {**said, "task": task}
    assert checkpoint(name).architecture == name
    engine.close()


@pytest.mark.parametrize("name", list(NAMES))
def test_every_part_of_a_group_lies_in_its_weight(name: str) -> None:
    network, weights = built(name), checkpoint(name).weights
    claimed: set[tuple[str, int, int]] = set()
    for group in network.groups:
        for part in group.parts:
            places = {(part.weight, part.dim, part.start + unit) for unit in range(group.units)}
            assert part.start + group.units <= weights[part.weight].shape[part.dim]
            assert not places & claimed, f"{group.name} and another group both claim places in {part.weight}"
            claimed |= places


@pytest.mark.parametrize("name", list(NAMES))
def test_a_unit_that_is_zero_everywhere_changes_nothing_when_it_goes(name: str) -> None:
    """A forgotten part, or one at a wrong place, would change the outputs or not load."""
    from perf_inference.model_build.converters.pruning import without_units

    network, found = built(name), checkpoint(name)
    weights = {key: value.clone() for key, value in found.weights.items()}
    for group in network.groups:
        for part in group.parts:  # the last 8 units: in every part, so that they neither speak nor are heard
            weights[part.weight].narrow(part.dim, part.start + group.units - 8, 8).zero_()
    silenced = builder_of(name)(weights, found.metadata)
    for group in silenced.groups:
        share = 8 / group.units
        alone = Architecture(silenced.module, silenced.inputs, silenced.outputs, (group,))
        smaller = builder_of(name)(without_units(alone, share), found.metadata)
        after = {g.name: g.units for g in smaller.groups}
        assert after == {g.name: g.units - (8 if g is group else 0) for g in silenced.groups}
        inputs = scene_inputs(name, 0)
        arrays = [torch.from_numpy(inputs[spec.name]) for spec in silenced.inputs]
        with torch.no_grad():
            wanted, given = silenced.module(*arrays), smaller.module(*arrays)
        for one, two in zip(*(each if isinstance(each, tuple) else (each,) for each in (wanted, given)), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", list(NAMES))
def test_weights_that_do_not_fit_together_are_refused(name: str) -> None:
    found = checkpoint(name)
    builder = builder_of(name)
    first = next(key for key, value in found.weights.items() if value.ndim == 4)
    for wrong in (
        {},
        {key: value for key, value in found.weights.items() if key != first},
        {**found.weights, first: found.weights[first][:-1]},
        {**found.weights, first: torch.zeros(3)},
        {**found.weights, "left.over": torch.zeros(1)},
    ):
        with pytest.raises(ConfigError, match="weight"):
            builder(wrong, found.metadata)


def test_a_detector_without_its_names_is_refused() -> None:
    found = checkpoint("detector")
    for names in ("", "[1, 2]", "{0: ''}", "{0: 'red circle', 1: 'red square', 2: 'blue circle'}"):
        with pytest.raises(ConfigError, match="names"):
            builder_of("detector")(found.weights, {**found.metadata, "names": names})


@pytest.mark.parametrize("name", ["captioner", "detector"])
def test_a_network_with_its_normalisations_is_built_too(name: str) -> None:
    from perf_inference.demo.captioner_net import Captioner
    from perf_inference.demo.detector_net import Detector

    trained = (Captioner() if name == "captioner" else Detector()).eval()
    again = builder_of(name)(trained.state_dict(), checkpoint(name).metadata)
    image = torch.zeros((1, 192, 256, 3), dtype=torch.uint8)
    with torch.no_grad():
        one, two = trained(image), again.module(image)
    torch.testing.assert_close(one, two)
    assert any("running_var" in part.weight for group in again.groups for part in group.parts)


def test_the_embedded_checkpoints_come_from_the_onnx_files(tmp_path: Path) -> None:
    from perf_inference.demo.checkpoints import convert
    from perf_inference.engines.pytorch.checkpoint import load_checkpoint

    for name, file in NAMES.items():
        convert(MODELS / f"{name}.onnx", name, tmp_path / file)
        made, kept = load_checkpoint(tmp_path / file), checkpoint(name)
        assert made.metadata == kept.metadata
        assert made.weights.keys() == kept.weights.keys()
        assert all(torch.equal(made.weights[key], kept.weights[key]) for key in kept.weights)


@pytest.mark.parametrize("name", list(NAMES))
def test_half_floats_run_too(name: str) -> None:
    inputs = scene_inputs(name, 0)
    outputs = {}
    for precision in ("fp32", "bf16"):
        engine = engines.load(str(MODELS / NAMES[name]), options=Options(threads=1, precision=precision))
        outputs[precision] = {key: array.copy() for key, array in engine.infer(inputs).items()}
        engine.close()
    for key, wanted in outputs["fp32"].items():
        off = np.abs(outputs["bf16"][key].astype(np.float64) - wanted).max()
        assert off < 0.03 * np.abs(wanted).max(), f"{key} is {off} off"
