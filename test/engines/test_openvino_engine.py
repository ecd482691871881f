"""OpenVINO: the answers of ONNX Runtime, precisions that are what they say, and files that are not to be trusted."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static
from support.onnx_models import save

from perf_inference import engines
from perf_inference.engines import Options
from perf_inference.engines.engine import ArraySpec
from perf_inference.engines.onnx.metadata import read_metadata
from perf_inference.engines.openvino.engine import device_for, precision_for
from perf_inference.errors import ConfigError, EngineError, InputError
from perf_inference.model_build.converters.openvino import write
from perf_inference.testing.engine_contract import CHECKS, Check, Subject

CPU = ("BF16", "WINOGRAD", "FP32", "INT8")  # capabilities as OpenVINO tells them


def arrays(specs: tuple[ArraySpec, ...], seed: int = 0) -> dict[str, NDArray[Any]]:
    """Values for these inputs; 2 where a length is free."""
    numbers = np.random.default_rng(seed)
    return {
        spec.name: (numbers.random([2 if n is None else n for n in spec.shape]) * 255).astype(spec.dtype)
        for spec in specs
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["policy", "captioner", "detector"])
def test_the_embedded_models_answer_as_under_onnx_runtime(name: str, tmp_path: Path) -> None:
    reference = engines.load(name)
    write(engines.MODELS / f"{name}.onnx", tmp_path / f"{name}.xml", "fp32")
    for model in (name, str(tmp_path / f"{name}.xml")):
        engine = engines.load(model, "openvino")
        assert engine.inputs == reference.inputs
        assert [(o.name, o.shape, o.dtype) for o in engine.outputs] == [
            (o.name, o.shape, o.dtype) for o in reference.outputs
        ]
        assert engine.info.metadata.items() >= reference.info.metadata.items()
        assert (engine.info.name, engine.info.precision, engine.info.device) == (name, "fp32", "cpu")
        for seed in range(3):
            given = arrays(engine.inputs, seed)
            wanted = reference.infer(given)
            for key, have in engine.infer(given).items():
                np.testing.assert_allclose(have, wanted[key], atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_contract_is_kept(check: Check, tmp_path: Path) -> None:
    write(engines.MODELS / "policy.onnx", tmp_path / "policy.xml", "fp16")
    for model in (str(tmp_path / "policy.xml"), str(flexible(tmp_path / "m.onnx"))):
        check(Subject(lambda model=model: engines.load(model, "openvino")))  # type: ignore[misc]


def test_fp32_is_fp32_where_openvino_would_choose_bf16() -> None:
    engine = engines.load("policy", "openvino")
    compiled = engine._request.get_compiled_model()  # type: ignore[attr-defined]
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
    assert compiled.get_property("ENABLE_CPU_PINNING") is False


def test_threads_are_as_many_as_asked() -> None:
    engine = engines.load("policy", "openvino", Options(threads=1))
    compiled = engine._request.get_compiled_model()  # type: ignore[attr-defined]
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1


@pytest.mark.parametrize(
    ("stored", "wanted", "capabilities", "result"),
    [
        ("fp32", "auto", CPU, ("fp32", "f32")),
        ("fp32", "bf16", CPU, ("bf16", "bf16")),
        ("fp32", "auto", ("FP16", "INT8"), ("fp16", "f16")),  # an NPU has no fp32, and it is said
        ("fp32", "int8", CPU, ("fp32", "f32")),  # the caller refuses it
        ("fp16", "auto", CPU, ("fp16", "f32")),  # rounded weights, computed in what there is
        ("fp16", "fp16", ("FP32", "FP16"), ("fp16", "f16")),
        ("int8", "auto", CPU, ("int8", "f32")),
    ],
)
def test_what_is_told_and_what_is_computed_in(
    stored: str, wanted: str, capabilities: tuple[str, ...], result: tuple[str, str]
) -> None:
    assert precision_for(stored, wanted, capabilities, "'m.onnx' on device CPU") == result


def test_a_precision_that_the_device_lacks_is_refused_with_what_would_work() -> None:
    with pytest.raises(ConfigError, match=r"cannot be computed in fp16, only in fp32, bf16; .* --precision fp16"):
        precision_for("fp32", "fp16", CPU, "'m.onnx' on device CPU")
    with pytest.raises(ConfigError, match=r"is fp32, but precision 'int8' was asked for; build it first"):
        engines.load("policy", "openvino", Options(precision="int8"))


def test_devices_have_their_names_here() -> None:
    assert device_for(["CPU"], "auto") == "CPU"
    assert device_for(["CPU", "GPU.0", "GPU.1", "NPU"], "auto") == "GPU.0"
    assert device_for(["CPU", "GPU"], "gpu:0") == device_for(["CPU", "GPU"], "gpu") == "GPU"
    assert device_for(["CPU", "GPU.0", "GPU.1"], "gpu:1") == "GPU.1"
    assert device_for(["CPU", "NPU"], "npu") == "NPU"
    for device in ("gpu:1", "npu", "cuda:0", "tpu"):
        with pytest.raises(ConfigError, match=rf"device '{device}' is not one .* \(it finds cpu, gpu\)"):
            device_for(["CPU", "GPU"], device)


class Random(CalibrationDataReader):
    """Three random images for an input."""

    def __init__(self, spec: ArraySpec) -> None:
        self._left = [arrays((spec,), seed) for seed in range(3)]

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return self._left.pop() if self._left else None


@pytest.mark.slow
def test_what_is_built_is_smaller_and_says_its_precision(tmp_path: Path) -> None:
    source = engines.MODELS / "detector.onnx"
    reference = engines.load(str(source))
    given = arrays(reference.inputs)
    wanted = reference.infer(given)["output0"]
    quantised = tmp_path / "quantised.onnx"
    quantize_static(source, quantised, Random(reference.inputs[0]), quant_format=QuantFormat.QDQ)
    sizes = {}
    for precision, origin, tolerance in (("fp32", source, 1e-3), ("fp16", source, 0.1), ("int8", quantised, 8.0)):
        target = tmp_path / f"{precision}.xml"
        write(origin, target, precision)
        engine = engines.load(str(target), "openvino", Options(precision=precision))
        assert engine.info.metadata["names"] == reference.info.metadata["names"]
        assert np.abs(engine.infer(given)["output0"] - wanted).max() < tolerance
        sizes[precision] = target.with_suffix(".bin").stat().st_size
    assert sizes["fp16"] < 0.51 * sizes["fp32"]
    assert sizes["int8"] < 0.3 * sizes["fp32"]
    assert engines.load(str(quantised), "openvino").info.precision == "int8"
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix in (".xml", ".bin")) == [
        f"{precision}{suffix}" for precision in ("fp16", "fp32", "int8") for suffix in (".bin", ".xml")
    ]
    with pytest.raises(ConfigError, match="is int8, which fp16 cannot be made from; take the fp32 model"):
        write(quantised, tmp_path / "no.xml", "fp16")


def test_dynamically_quantised_weights_are_int8(tmp_path: Path) -> None:
    quantize_dynamic(engines.MODELS / "policy.onnx", tmp_path / "q.onnx")
    assert engines.load(str(tmp_path / "q.onnx"), "openvino").info.precision == "int8"


def test_a_command_that_is_proposed_can_be_pasted(tmp_path: Path) -> None:
    source = tmp_path / "my model; $(reboot).onnx"
    shutil.copy(engines.MODELS / "policy.onnx", source)
    with pytest.raises(ConfigError) as told:
        write(source, tmp_path / "m.xml", "int8")
    command = shlex.split(str(told.value).partition("first ")[2])
    assert command[:4] == ["perf-inference", "build", str(source), "--runtime"]


def test_what_cannot_be_built_says_what_would_work(tmp_path: Path) -> None:
    source = engines.MODELS / "policy.onnx"
    with pytest.raises(
        ConfigError, match=r"first perf-inference build .*policy.onnx'? --runtime onnx --precision int8"
    ):
        write(source, tmp_path / "m.xml", "int8")
    with pytest.raises(ConfigError, match=r"no files in bf16; build fp32, and run it with precision: bf16"):
        write(source, tmp_path / "m.xml", "bf16")
    (tmp_path / "broken.onnx").write_bytes(source.read_bytes()[:5000])
    with pytest.raises(ConfigError, match=r"broken.onnx' is no ONNX model: field 7 .* does not end in the file"):
        write(tmp_path / "broken.onnx", tmp_path / "m.xml", "fp32")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.onnx"]


def flexible(path: Path) -> Path:
    """Write a model with a free length, three dtypes, and two outputs from one value."""
    inputs = [
        helper.make_tensor_value_info("b", TensorProto.FLOAT, ["batch", 3]),
        helper.make_tensor_value_info("a", TensorProto.INT64, [1]),
    ]
    outputs = [
        helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 3]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3]),
        helper.make_tensor_value_info("x", TensorProto.BOOL, [1]),
    ]
    nodes = [
        helper.make_node("Mul", ["b", "two"], ["doubled"]),
        helper.make_node("Identity", ["doubled"], ["z"]),
        helper.make_node("Identity", ["doubled"], ["y"]),
        helper.make_node("Greater", ["a", "zero"], ["x"]),
    ]
    return save(path, nodes, inputs, outputs, {"two": np.float32(2), "zero": np.int64(0)}, {"what": "flexible"})


def test_names_dtypes_and_free_lengths_are_kept(tmp_path: Path) -> None:
    source = flexible(tmp_path / "m.onnx")
    write(source, tmp_path / "m.xml", "fp32")
    write(source, tmp_path / "fixed.xml", "fp32", {"b": (4, 3)})
    for model in (source, tmp_path / "m.xml"):
        engine = engines.load(str(model), "openvino")
        assert [(s.name, s.shape, s.dtype.name) for s in engine.inputs + engine.outputs] == [
            ("b", (None, 3), "float32"), ("a", (1,), "int64"),
            ("z", (None, 3), "float32"), ("y", (None, 3), "float32"), ("x", (1,), "bool"),
        ]  # fmt: skip
        for rows in (1, 5, 2):
            b = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
            found = engine.infer({"a": np.array([1]), "b": b})
            assert (found["z"] == 2 * b).all()
            assert (found["y"] == 2 * b).all()
            assert found["x"].tolist() == [True]
        every_other = np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2]  # not contiguous
        assert (engine.infer({"a": np.array([1]), "b": every_other})["z"] == 2 * every_other).all()
        with pytest.raises(InputError, match=r"input 'b' must be float32 \[None, 3\], got float32 \[2, 4\]"):
            engine.infer({"a": np.array([1]), "b": np.zeros((2, 4), np.float32)})
        engine.close()
        engine.close()
        with pytest.raises(EngineError, match="'m' is closed"):
            engine.infer({"a": np.array([1]), "b": b})
    assert engines.load(str(tmp_path / "fixed.xml")).inputs[0].shape == (4, 3)


def test_the_metadata_of_an_onnx_file_are_read_without_its_weights(tmp_path: Path) -> None:
    for path in (*engines.MODELS.glob("*.onnx"), flexible(tmp_path / "m.onnx")):
        model = onnx.load(path)
        assert read_metadata(path) == {entry.key: entry.value for entry in model.metadata_props}
    whole = (tmp_path / "m.onnx").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut.onnx").write_bytes(whole[:length])
        try:
            assert read_metadata(tmp_path / "cut.onnx") in ({}, {"what": "flexible"})
        except ConfigError as error:
            assert "is no ONNX model" in str(error)  # noqa: PT017, most lengths end within a field


@pytest.mark.slow
def test_damaged_files_are_refused_and_end_no_process(tmp_path: Path) -> None:
    write(engines.MODELS / "policy.onnx", tmp_path / "whole.xml", "fp32")
    whole, weights = (tmp_path / "whole.xml").read_bytes(), (tmp_path / "whole.bin").read_bytes()
    choice = random.Random(0)
    for number in range(40):
        damaged, rest = bytearray(whole), weights
        if number % 4 == 0:
            damaged = damaged[: choice.randrange(len(whole))]
        elif number % 4 == 1:
            rest = weights[: choice.randrange(len(weights))]
        else:
            for _ in range(4):
                damaged[choice.randrange(len(whole))] = choice.randrange(256)
        (tmp_path / f"{number}.xml").write_bytes(damaged)
        (tmp_path / f"{number}.bin").write_bytes(rest)
    (tmp_path / "no_weights.xml").write_bytes(whole)
    (tmp_path / "text.xml").write_text("no model")
    (tmp_path / "empty.onnx").touch()
    program = (
        "import sys\nfrom perf_inference import engines\nfrom perf_inference.errors import ConfigError\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n        engines.load(path, 'openvino')\n        print('loaded', path)\n"
        "    except ConfigError as error:\n        print('refused', error)\n"
    )
    paths = sorted(str(path) for path in tmp_path.iterdir() if path.suffix in (".xml", ".onnx"))
    ran = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    said = ran.stdout.splitlines()
    assert len(said) == len(paths)
    assert f"loaded {tmp_path / 'whole.xml'}" in said
    for name in ("0.xml", "1.xml", "no_weights.xml", "text.xml", "empty.onnx"):
        assert any(line.startswith("refused") and f"/{name}'" in line for line in said), name


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_nothing_is_written_or_told_of_its_use(runtime: str, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom perf_inference import engines\n"
        f"engines.load('policy', '{runtime}').close()\n"
        "assert not any(name.startswith('openvino_telemetry.') for name in sys.modules)\n"
    )
    ours = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment = {**ours, "HOME": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert list(tmp_path.iterdir()) == []
