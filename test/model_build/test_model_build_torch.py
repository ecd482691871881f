"""One small network exported to every format: the same outputs everywhere, in every precision that there is."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support.inference_server import MLServer  # noqa: E402

from perf_inference import cli, engines, model_build  # noqa: E402
from perf_inference.engines import MODELS, RUNTIMES, ArraySpec, Engine, Options, architectures  # noqa: E402
from perf_inference.engines.architectures import Architecture  # noqa: E402
from perf_inference.engines.pytorch.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from perf_inference.errors import ConfigError  # noqa: E402
from perf_inference.model_build.preparation import prepare  # noqa: E402
from perf_inference.model_build.recipe import Recipe  # noqa: E402
from perf_inference.model_build.trial.difference import difference  # noqa: E402
from perf_inference.model_build.trial.trial import try_out  # noqa: E402

pytestmark = pytest.mark.torch
LOCAL = [name for name in ("onnx", "torch", "torchscript", "torch_export", "openvino") if RUNTIMES[name].installed]
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 5e-2, "int8": 5e-2}


class Small(torch.nn.Module):  # type: ignore[misc]
    """An image and a state to two outputs, one of whole numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.look = torch.nn.Conv2d(3, width, 3, stride=2)
        self.layers = torch.nn.Sequential(torch.nn.Linear(width + 4, 32), torch.nn.Tanh(), torch.nn.Linear(32, 5))

    def forward(self, image: Any, state: Any) -> tuple[Any, Any]:
        seen = torch.relu(self.look(image)).mean((2, 3))
        scores = self.layers(torch.cat([seen, state], dim=1))
        return scores, scores.argmax(1)


def build_small(weights: Mapping[str, Any], metadata: Mapping[str, str]) -> Architecture:
    module = Small(len(weights["look.bias"]))
    module.load_state_dict({name: weight.float() for name, weight in weights.items()})
    floats = np.dtype(np.float32)
    inputs = (ArraySpec("image", (None, 3, 16, 16), floats), ArraySpec("state", (None, 4), floats))
    return Architecture(module.eval(), inputs, ("scores", "best"))


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERF_INFERENCE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small(tmp_path: Path) -> str:
    """Return the path of a checkpoint of the network."""
    architectures.register("small", build_small)
    torch.manual_seed(0)
    path = tmp_path / "small.safetensors"
    save_checkpoint(path, "small", Small(16).state_dict(), {"task": "look", "names": "a,b"})
    return str(path)


def inputs(batch: int, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((batch, 3, 16, 16)).astype(np.float32)
    return {"image": image, "state": rng.standard_normal((batch, 4)).astype(np.float32)}


@pytest.fixture
def opened() -> Iterator[list[Engine]]:
    engines_: list[Engine] = []
    yield engines_
    for engine in engines_:
        engine.close()


@pytest.mark.parametrize("runtime", LOCAL)
def test_every_format_gives_the_same_outputs(small: str, runtime: str, opened: list[Engine]) -> None:
    engine = model_build.load(small, runtime, Options(precision="fp32"))
    opened.append(engine)
    gives_what_the_network_gives(engine, small)


@pytest.mark.skipif(not (find_spec("mlserver") and find_spec("tritonclient")), reason="needs mlserver and tritonclient")
def test_a_server_gives_the_same_outputs(small: str, tmp_path: Path, opened: list[Engine]) -> None:
    file = prepare(small, "onnx", Options(precision="fp32")).model
    server = MLServer(tmp_path, {"small": file})
    server.start()
    try:
        for protocol in ("http", "grpc"):
            opened.append(engines.load(server.url(protocol, "small"), options=Options(deadline_ms=20_000)))
            gives_what_the_network_gives(opened[-1], small)
    finally:
        server.stop()


def gives_what_the_network_gives(engine: Engine, small: str) -> None:
    assert (engine.info.name, engine.info.precision) == ("small", "fp32")
    assert engine.info.metadata.items() >= {"task": "look", "names": "a,b", "architecture": "small"}.items()
    assert [spec.name for spec in engine.inputs] == ["image", "state"]
    assert [(spec.name, spec.shape, spec.dtype) for spec in engine.outputs] == [
        ("scores", (None, 5), np.float32), ("best", (None,), np.int64)
    ]  # fmt: skip
    module = Small(16)
    module.load_state_dict(load_checkpoint(Path(small)).weights)
    for batch in (1, 3):
        given = inputs(batch)
        with torch.inference_mode():
            scores, best = module(*map(torch.from_numpy, given.values()))
        outputs = engine.infer(given)
        assert np.abs(outputs["scores"] - scores.numpy()).max() < TOLERANCE["fp32"]
        assert outputs["best"].tolist() == best.tolist()


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
@pytest.mark.parametrize("runtime", LOCAL)
def test_every_precision_is_near_fp32_or_refused(small: str, runtime: str, precision: str) -> None:
    options = Options(precision=precision)
    if precision not in RUNTIMES[runtime].precisions:
        with pytest.raises(ConfigError, match=f"runtime '{runtime}' cannot run in {precision}: .* use "):
            model_build.load(small, runtime, options)
        return
    engine, original = model_build.load(small, runtime, options), model_build.load(small, runtime)
    assert (engine.info.name, engine.info.precision) == ("small", precision)
    found = difference(engine.infer(inputs(2)), original.infer(inputs(2)))
    assert 0 < found.relative < TOLERANCE[precision], found
    engine.close()
    original.close()


@pytest.mark.parametrize("runtime", ["onnx", "torchscript", "torch_export"])
def test_free_axes_can_be_fixed(small: str, runtime: str) -> None:
    shapes = {"image": (2, 3, 16, 16), "state": (2, 4)}
    made = prepare(small, runtime, Options(), Recipe(shapes=shapes))
    engine = engines.load(made.model, made.runtime)
    assert {spec.name: spec.shape for spec in engine.inputs} == shapes
    assert engine.outputs[0].shape == (2, 5)
    engine.close()
    with pytest.raises(ConfigError, match=r"shape of state does not fit the network: its inputs are image"):
        prepare(small, runtime, Options(), Recipe(shapes={"state": (2, 5)}))


def test_a_checkpoint_without_a_name_asks_for_it(small: str, tmp_path: Path) -> None:
    bare = tmp_path / "bare.pt"
    torch.save(Small(16).state_dict(), bare)
    with pytest.raises(ConfigError, match="does not say which network its weights are for; give --architecture"):
        model_build.prepare(str(bare), "onnx")
    made = model_build.prepare(str(bare), "onnx", Options(architecture="small"))
    assert engines.load(made.model).info.metadata["architecture"] == "small"


@pytest.mark.parametrize("name", ["detector", "captioner", "policy"])
def test_the_embedded_checkpoints_are_the_embedded_models(name: str) -> None:
    original = model_build.load(name, "onnx", Options(threads=1))
    example = {spec.name: np.ones([n or 1 for n in spec.shape], spec.dtype) for spec in original.inputs}
    wanted = original.infer(example)
    checkpoint = next(path for path in MODELS.glob(f"{name}.*") if path.suffix in (".safetensors", ".pt"))
    for runtime in LOCAL:
        engine = model_build.load(str(checkpoint), runtime, Options(threads=1))
        found = difference(engine.infer(example), wanted)
        assert found.largest < 1e-4 * max(1.0, float(np.abs(wanted[original.outputs[0].name]).max())), (runtime, found)
        assert found.unequal == 0
        engine.close()


class Evil:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.mark, "it ran"))


def test_a_hostile_checkpoint_is_refused_in_the_trial(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = tmp_path / "evil.pt"
    torch.save({"state_dict": Evil(mark)}, path, pickle_module=pickle)
    model_build.check(str(path), "torch")  # it is an archive as it should be
    for runtime in ("torch", "onnx"):
        with pytest.raises(ConfigError, match=r"evil\.pt' asks for"):
            try_out(str(path), runtime, Options(architecture="policy"))
    assert not mark.exists()


def test_the_command_compares_a_checkpoint_with_its_pruned_self(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = load_checkpoint(MODELS / "policy.pt")
    weights = {name: weight.clone() for name, weight in checkpoint.weights.items()}
    for weight in weights.values():
        if weight.ndim > 1:
            weight[weight.abs() < 0.02 * weight.abs().max()] = 0
    pruned, figures = tmp_path / "pruned.pt", tmp_path / "figures.json"
    save_checkpoint(pruned, checkpoint.architecture, weights, checkpoint.metadata)
    arguments = [
        "build",
        str(MODELS / "policy.pt"),
        "--runtime",
        "onnx",
        "--compare",
        "--scenes",
        "10",
        "--threads",
        "1",
    ]
    assert cli.main([*arguments, "--pruned", str(pruned), "--json", str(figures)]) == 0
    rows = {(Path(row["model"]).stem, row["precision"]): row for row in json.loads(figures.read_text())}
    assert len(rows) == 8
    assert rows["policy", "fp32"]["difference"] is None or rows["policy", "fp32"]["difference"]["largest"] == 0
    assert 0 < rows["pruned", "fp32"]["difference"]["relative"] < 0.5
    assert rows["policy", "int8"]["score"]["value"] == 1.0
    assert "pruned.pt" in capsys.readouterr().out
