"""ONNX files as other exporters write them: what is made of them is right, or refused; nothing broken is kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.onnx_models import save

from perf_inference import cli, engines, model_build
from perf_inference.engines import Options
from perf_inference.engines.onnx.file import read_onnx_file
from perf_inference.errors import ConfigError
from perf_inference.model_build import content
from perf_inference.model_build.converters import onnx_precision
from perf_inference.model_build.converters.calibration import Calibration
from perf_inference.model_build.plan import resolve
from perf_inference.model_build.preparation import key_of, prepare
from perf_inference.model_build.recipe import Recipe
from perf_inference.model_build.trial.difference import what_is_broken

INT8, FP16 = Options(precision="int8", threads=1), Options(precision="fp16", threads=1)
NUMBERS = np.random.default_rng(0)
KERNELS = NUMBERS.normal(size=(16, 3, 3, 3)).astype(np.float32) * np.logspace(-3, 0, 16).reshape(-1, 1, 1, 1)
IMAGES = [{"x": NUMBERS.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(4)]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERF_INFERENCE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def kept(cache_folder: Path) -> list[Path]:
    return [path for path in (cache_folder / "built").glob("*") if path.is_dir()]


def value(name: str, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def convolution(path: Path, opset: int = 17, constants: bool = False, shape: tuple[Any, ...] = (1, 3, 16, 16)) -> Path:
    """Write a convolution whose channels have very different sizes."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])]
    weights = {"w": KERNELS.astype(np.float32)}
    if constants:  # as PaddlePaddle has all weights
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weights.pop("w"), "w")))
    free = [shape[0], 16, *shape[2:]]
    save(path, nodes, [value("x", list(shape))], [value("y", free)], weights, {})
    model = onnx.load(str(path))
    model.opset_import[0].version = opset
    model.ir_version = 7
    onnx.save(model, str(path))
    return path


def off(model: Path, options: Options, recipe: Recipe | None = None) -> tuple[float, str]:
    """Return the largest difference from fp32 as a share, and what the made file is called."""
    made = prepare(str(model), "onnx", options, recipe)
    one, other = engines.load(str(model)), engines.load(made.model)
    inputs: Mapping[str, Any] = IMAGES[0]
    wanted, found = one.infer(inputs)["y"], other.infer(inputs)["y"]
    return float(np.abs(found - wanted).max() / np.abs(wanted).max()), other.info.precision


@pytest.mark.slow
@pytest.mark.parametrize("opset", [11, 12, 13, 17])
@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("calibrated", [False, True])
def test_int8_of_old_opsets_and_of_weights_in_constants(
    tmp_path: Path, opset: int, constants: bool, calibrated: bool
) -> None:
    model = convolution(tmp_path / "m.onnx", opset, constants)
    recipe = Recipe(calibration=Calibration.of(IMAGES)) if calibrated else Recipe()
    share, precision = off(model, INT8, recipe)
    assert precision == "int8"
    assert share < 0.03
    made = read_onnx_file(Path(prepare(str(model), "onnx", INT8, recipe).model))
    assert made.weights["int8"] >= KERNELS.size


def test_int8_of_nothing_that_can_be_is_refused(tmp_path: Path, cache_folder: Path) -> None:
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"])]
    save(tmp_path / "m.onnx", nodes, [value("x", [1, 512])], [value("y", [1, 512])],
         {"w": NUMBERS.normal(size=512).astype(np.float32)}, {})  # fmt: skip
    for recipe in (Recipe(), Recipe(calibration=Calibration.of([{"x": np.ones((1, 512), np.float32)}]))):
        with pytest.raises(ConfigError, match="none of its weights can be int8"):
            prepare(str(tmp_path / "m.onnx"), "onnx", INT8, recipe)
    assert kept(cache_folder) == []


def test_a_file_is_called_what_its_weights_are(tmp_path: Path) -> None:
    model = onnx.load(str(convolution(tmp_path / "m.onnx")))
    onnx.helper.set_model_props(model, {"precision": "int8"})
    onnx.save(model, str(tmp_path / "m.onnx"))
    assert engines.load(str(tmp_path / "m.onnx")).info.precision == "fp32"
    assert resolve(str(tmp_path / "m.onnx")).stored == "fp32"


def test_weights_that_half_floats_cannot_hold_stay_as_they_are(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["z"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["z", "scale", "bias", "mean", "variance"], ["y"]),
    ]
    weights = {
        "w": KERNELS.astype(np.float32), "scale": np.full(16, 9000.0, np.float32), "bias": np.zeros(16, np.float32),
        "mean": np.zeros(16, np.float32), "variance": np.linspace(1e7, 9.8e7, 16, dtype=np.float32),
    }  # fmt: skip
    save(tmp_path / "m.onnx", nodes, [value("x", [1, 3, 16, 16])], [value("y", [1, 16, 16, 16])], weights, {})
    share, precision = off(tmp_path / "m.onnx", FP16)
    assert precision == "fp16"
    assert share < 0.01


def small_difference(path: Path, factor: float) -> Path:
    """Write a model whose output is what it is given, and `factor` times what int8 loses of a product of matrices."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Einsum", ["x", "w2"], ["b"], equation="ij,jk->ik"),  # which stays as it is
        helper.make_node("Sub", ["a", "b"], ["c"]),
        helper.make_node("Mul", ["c", "factor"], ["d"]),
        helper.make_node("Add", ["d", "x"], ["y"]),
    ]
    matrix = NUMBERS.normal(size=(64, 64)).astype(np.float32)
    weights = {"w": matrix, "w2": matrix.copy(), "factor": np.array([factor], np.float32)}
    return save(path, nodes, [value("x", [1, 64])], [value("y", [1, 64])], weights, {})


def test_what_is_another_model_is_refused_and_not_kept(
    tmp_path: Path, cache_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(small_difference(tmp_path / "m.onnx", 1000.0))
    assert cli.main(["build", model, "--precision", "int8"]) == 78
    assert "is another model on inputs at random, and is not kept: output 'y' differs" in capsys.readouterr().err
    assert kept(cache_folder) == []
    with pytest.raises(ConfigError, match="not kept"):
        model_build.load(model, options=INT8)


@pytest.mark.slow
def test_outputs_far_from_those_in_fp32_are_a_warning_and_a_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(small_difference(tmp_path / "m.onnx", 5.0))
    assert cli.main(["build", model, "--precision", "int8"]) == 3
    assert "warning: in int8 its outputs are far from those in fp32" in capsys.readouterr().err
    model = str(small_difference(tmp_path / "n.onnx", 0.1))
    assert cli.main(["build", model, "--precision", "int8"]) == 0


def linked(folder: Path) -> Path:
    """Write a model as Hugging Face's cache keeps it: links to files that are named after their content."""
    (folder / "blobs").mkdir(parents=True)
    (folder / "snapshot").mkdir()
    model = onnx.load(str(convolution(folder / "blobs" / "m.onnx")))
    onnx.save(model, str(folder / "blobs" / "m.onnx"), save_as_external_data=True, location="weights.bin",
              size_threshold=0)  # fmt: skip
    for name, blob in (("m.onnx", "0a1b"), ("weights.bin", "2c3d")):
        (folder / "blobs" / name).rename(folder / "blobs" / blob)
        os.symlink(f"../blobs/{blob}", folder / "snapshot" / name)
    return folder / "snapshot" / "m.onnx"


@pytest.mark.parametrize("options", [FP16, INT8])
def test_links_are_followed(tmp_path: Path, options: Options) -> None:
    share, precision = off(linked(tmp_path / "hub"), options)
    assert precision == options.precision
    assert share < 0.03


def test_other_weights_beside_are_another_model(tmp_path: Path) -> None:
    model = linked(tmp_path / "hub")
    assert [file.name for file in content.files_of(model)] == ["m.onnx", "weights.bin"]
    before = key_of(resolve(str(model), "onnx", FP16)).digest
    weights = model.parent / "weights.bin"
    weights.write_bytes(b"\0" * weights.stat().st_size)
    assert key_of(resolve(str(model), "onnx", FP16)).digest != before


@pytest.mark.slow
def test_paddles_free_axes(tmp_path: Path) -> None:
    model = convolution(tmp_path / "m.onnx", shape=(-1, 3, -1, -1))
    (spec,) = engines.load(str(model)).inputs
    assert spec.shape == (None, 3, None, None)
    onnx_precision.fix_shapes(model, tmp_path / "fixed.onnx", {"x": (1, 3, 16, 16)})
    assert engines.load(str(tmp_path / "fixed.onnx")).inputs[0].shape == (1, 3, 16, 16)
    assert off(model, INT8)[0] < 0.03
    assert cli.main(["build", str(model), "--shape", "x=1,3,16,16", "--precision", "fp16"]) == 0


@pytest.mark.slow
def test_inputs_are_tried_until_a_model_with_free_axes_runs(tmp_path: Path) -> None:
    # a reader of lines of text: 48 px high, however wide
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["z"]), helper.make_node("MatMul", ["z", "w"], ["y"])]
    weights = {"shape": np.array([0, 0, 48, 320], np.int64), "w": NUMBERS.normal(size=(320, 8)).astype(np.float32)}
    save(tmp_path / "m.onnx", nodes, [value("x", [1, 3, "h", "w_px"])], [value("y", [1, 3, 48, 8])], weights, {})
    assert cli.main(["build", str(tmp_path / "m.onnx"), "--precision", "fp16"]) == 0


@pytest.mark.parametrize(
    ("found", "wanted", "said"),
    [
        ([1.0, 2.0], [1.0, 2.1], ""),
        ([1.0, 9.0], [1.0, 2.0], "differs by up to 7"),
        ([1.0, np.inf], [1.0, 2.0], "not finite"),
        ([1.0, 5.0], [1.0, np.inf], ""),
        ([0.0005], [0.0], ""),
        ([1.0, 1.0, 1.0, 4.0], [2.0, 3.0, 2.0, 4.0], ""),
        ([0.0, 0.0, 0.0, 0.0], [2.0, 3.0, 2.0, 4.0], "differs by 100 %"),
        ([1.0], [1.0, 2.0], r"\[1\], in fp32 \[2\]"),
    ],
)
def test_what_is_broken(found: list[float], wanted: list[float], said: str) -> None:
    broken = what_is_broken({"y": np.array(found, np.float32)}, {"y": np.array(wanted, np.float32)})
    assert bool(broken) == bool(said)
    assert said.replace("\\", "") in broken
