"""From one file to another: precision, cache, check and trial, with ONNX models; test_building_torch has the rest."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper
from support import fake_cuda
from support.cases import sampled
from support.onnx_models import save
from support.processes import wait_until

from perf_inference import cli, engines, model_build
from perf_inference.demo.model_score import inputs_of, score_of
from perf_inference.devices import cuda_runtime, jetson
from perf_inference.devices.jetson import tpc_mask
from perf_inference.engines import MODELS, ArraySpec, Options
from perf_inference.engines.runtimes import ASYMMETRIC, SYMMETRIC
from perf_inference.errors import ConfigError, EngineError, InputError
from perf_inference.model_build import cache, content, file_check, machine
from perf_inference.model_build.converters import onnx_precision
from perf_inference.model_build.converters.calibration import Calibration, read_folder
from perf_inference.model_build.converters.job import PlanOptions, Range
from perf_inference.model_build.plan import resolve
from perf_inference.model_build.preparation import key_of, prepare
from perf_inference.model_build.recipe import Recipe
from perf_inference.model_build.trial.difference import Difference, difference
from perf_inference.model_build.trial.trial import try_out

INT8, FP16 = Options(precision="int8", threads=1), Options(precision="fp16", threads=1)
POLICY = MODELS / "policy.onnx"


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERF_INFERENCE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def entries(folder: Path) -> list[Path]:
    return sorted((folder / "built").glob("*/what.json"))


def spin(path: Path, rounds: int = 2**62) -> Path:
    """Write a model that counts to `rounds` before it answers."""
    count = helper.make_tensor_value_info("count", TensorProto.INT64, [])
    going, go_on = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("going", "go_on"))
    total, sum_ = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("total", "sum"))
    nodes = [helper.make_node("Identity", ["going"], ["go_on"]), helper.make_node("Add", ["total", "x"], ["sum"])]
    body = helper.make_graph(nodes, "body", [count, going, total], [go_on, sum_])
    loop = helper.make_node("Loop", ["rounds", "true", "x"], ["y"], body=body)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y"))
    return save(path, [loop], [x], [y], {"rounds": np.array(rounds), "true": np.array(True)}, {})


# Precision


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(["policy", "detector", "captioner"]))
def test_each_precision_keeps_the_embedded_models_scores(name: str) -> None:
    original = model_build.load(name, options=Options(threads=1))
    inputs = inputs_of(original, 16)
    calibration = Calibration.of(inputs)
    score = score_of(original, 10)
    assert score is not None
    wanted = {key: array.copy() for key, array in original.infer(inputs[0]).items()}
    sizes = {"fp32": (MODELS / f"{name}.onnx").stat().st_size}
    for label, options, recipe in (
        ("fp16", FP16, Recipe()), ("int8", INT8, Recipe()), ("calibrated", INT8, Recipe(calibration)),
    ):  # fmt: skip
        made = prepare(name, "auto", options, recipe)
        engine = engines.load(made.model, made.runtime, made.options)
        assert (engine.info.name, engine.info.precision) == (name, options.precision)
        assert engine.info.metadata.items() >= original.info.metadata.items()
        assert (engine.inputs, engine.outputs) == (original.inputs, original.outputs)
        found = difference(engine.infer(inputs[0]), wanted)
        assert 0 < found.relative < 0.05, (label, found)
        got = score_of(engine, 10)
        assert got is not None
        assert got.value > score.value - 0.15, (label, got)
        sizes[label] = Path(made.model).stat().st_size
        engine.close()
    print({label: f"{100 * size / sizes['fp32']:.0f} %" for label, size in sizes.items()})
    assert sizes["int8"] < 0.42 * sizes["fp32"] < sizes["fp16"] < 0.6 * sizes["fp32"]
    assert sizes["calibrated"] < 0.45 * sizes["fp32"]


def test_a_node_takes_the_calibrated_model_where_one_was_built() -> None:
    plain = model_build.prepare("policy", options=INT8)
    engine = model_build.load("policy")
    recipe = Recipe(Calibration.of(inputs_of(engine, 8)))
    calibrated = prepare("policy", "auto", INT8, recipe)
    assert calibrated.model != plain.model
    assert model_build.prepare("policy", options=INT8) == calibrated
    assert prepare("policy", "auto", INT8, Recipe()) == plain


def test_int8_keeps_to_seven_bits_where_sums_would_saturate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def largest_weight() -> int:
        onnx_precision.convert(POLICY, tmp_path / "policy.onnx", "int8")
        stored = onnx.load(tmp_path / "policy.onnx").graph.initializer
        arrays = [onnx.numpy_helper.to_array(tensor) for tensor in stored if tensor.name.endswith("_quantized")]
        return max(int(np.abs(array.astype(int)).max()) for array in arrays)

    monkeypatch.setattr(machine, "processor_flags", lambda: frozenset({"avx2"}))
    assert largest_weight() <= 64
    monkeypatch.setattr(machine, "processor_flags", lambda: frozenset({"avx2", "avx512_vnni"}))
    assert largest_weight() > 64


@pytest.mark.slow
@pytest.mark.parametrize("name", ["policy", "detector", pytest.param("captioner", marks=pytest.mark.thorough)])
def test_int8_for_tensorrt_has_neither_zero_points_nor_quantised_biases(name: str, tmp_path: Path) -> None:
    original = model_build.load(name, options=Options(threads=1))
    inputs = inputs_of(original, 8)
    wanted = {key: array.copy() for key, array in original.infer(inputs[0]).items()}
    path = tmp_path / "m.onnx"
    onnx_precision.convert(MODELS / f"{name}.onnx", path, "int8", inputs, SYMMETRIC)
    graph = onnx.load(path).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    quantised = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    unpacked = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    zeros = [stored[node.input[2]] for node in (*quantised, *unpacked)]
    assert zeros
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    made = {node.output[0] for node in quantised}
    assert all(node.input[0] in made for node in unpacked), "each is one of a pair, weights too, and no bias is"
    assert {"fp32" if array.dtype == np.float32 else str(array.dtype) for array in stored.values()} >= {"fp32", "int8"}
    found = difference(engines.load(str(path), options=Options(threads=1)).infer(inputs[0]), wanted)
    assert 0 < found.relative < 0.05


def test_int8_for_tensorrt_is_refused_without_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "identity", lambda device: f"Orin, {device}")  # a plan's key names the GPU
    wanted = r"build policy --runtime tensorrt --precision int8 --calibration FOLDER$"
    with pytest.raises(ConfigError, match=wanted):
        model_build.prepare("policy", "tensorrt", INT8)
    with pytest.raises(ConfigError, match=wanted):
        prepare("policy", "tensorrt", INT8, Recipe(patient=True))


def test_how_int8_is_quantised_is_part_of_what_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "identity", lambda device: f"Orin, {device}")
    found = {name: key_of(resolve("policy", name, INT8)).quantisation for name in ("onnx", "tensorrt")}
    assert found == {"onnx": ASYMMETRIC, "tensorrt": SYMMETRIC}
    key = key_of(resolve("policy", "tensorrt", INT8))
    assert key.digest != replace(key, quantisation=ASYMMETRIC).digest
    assert key_of(resolve("policy", "tensorrt", FP16)).quantisation == ""


@pytest.mark.parametrize(
    ("runtime", "precision", "instead"),
    [
        ("onnx", "bf16", "runtime torch or openvino"),
        ("torch_export", "int8", "runtime torchscript"),
        ("onnx", "fp8", "must be one of auto, fp32, fp16, bf16, int8"),
        ("grpc", "fp32", "runtime must be one of"),
    ],
)
def test_what_cannot_be_says_what_would_work(runtime: str, precision: str, instead: str) -> None:
    for ask in (model_build.check, model_build.prepare):
        with pytest.raises(ConfigError, match=instead):
            ask("policy", runtime, Options(precision=precision))


def test_a_remote_model_has_its_servers_precision() -> None:
    with pytest.raises(ConfigError, match="set precision: auto"):
        model_build.prepare("grpc://localhost:1/policy", options=FP16)
    assert model_build.prepare("grpc://localhost:1/policy").model == "grpc://localhost:1/policy"


def test_a_file_in_half_precision_is_no_source_for_another(tmp_path: Path) -> None:
    half = tmp_path / "half.onnx"
    onnx_precision.convert(POLICY, half, "fp16")
    assert model_build.prepare(str(half), options=FP16).model == str(half)
    with pytest.raises(ConfigError, match="is fp16, and onnx in int8 is made from fp32"):
        model_build.prepare(str(half), options=INT8)
    with pytest.raises(ConfigError, match="cannot be made into one for 'torchscript'"):
        model_build.prepare(str(half), "torchscript")


def test_free_axes_can_be_fixed(tmp_path: Path) -> None:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])]
    path = save(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], inputs, outputs, {}, {})
    made = prepare(str(path), "onnx", Options(), Recipe(shapes={"x": (4, 3)}))
    assert engines.load(made.model).inputs[0].shape == (4, 3)
    with pytest.raises(ConfigError, match=r"x=4,2 does not fit .* x \[None, 3\]"):
        prepare(str(path), "onnx", Options(), Recipe(shapes={"x": (4, 2)}))


def test_ranges_and_plan_options_are_for_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="free axes stay free: leave --shape x out"):
        prepare("policy", "onnx", FP16, Recipe(shapes={"x": Range((1,), (2,), (4,))}))
    with pytest.raises(ConfigError, match="are for runtime tensorrt, not for 'onnx'"):
        prepare("policy", "onnx", FP16, Recipe(plan=PlanOptions(1 << 20)))
    monkeypatch.setattr(machine, "identity", lambda device: f"Orin, {device}")
    with pytest.raises(ConfigError, match="add --allow-pickle"):
        prepare("policy", "tensorrt", FP16, Recipe(patient=True, plan=PlanOptions(version_compatible=True)))
    made = resolve("policy", "tensorrt", FP16)
    recipes = (Recipe(), Recipe(plan=PlanOptions(optimization_level=5)), Recipe(shapes={"x": (2,)}),
               Recipe(shapes={"x": Range((1,), (2,), (4,))}))  # fmt: skip
    assert len({key_of(made, recipe).digest for recipe in recipes}) == 4


def test_a_plan_is_bound_to_its_gpus_multiprocessors_and_power_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_cuda.in_force(fake_cuda.compiled(tmp_path), monkeypatch):
        runtime = cuda_runtime.CudaRuntime(str(tmp_path / "libcudart.so.0"))
        monkeypatch.setattr(machine, "load_runtime", lambda: runtime)
        whole, half = (machine.identity(f"cuda:{index}") for index in (0, 1))
        assert "16 multiprocessors, driver" in whole
        assert "8 multiprocessors, driver" in half
        assert machine.identity("dla:1") == f"{whole}, DLA"
        mask = tmp_path / "17000000.gpu" / "device" / "tpc_pg_mask"
        mask.parent.mkdir(parents=True)
        mask.write_text("252\n")
        monkeypatch.setattr(jetson, "tpc_mask", lambda: tpc_mask(tmp_path))
        assert "16 multiprocessors (TPC mask 252)" in machine.identity("cuda:0")


def test_the_worst_of_all_outputs_is_the_difference() -> None:
    reference = {"a": np.array([1.0, -4.0]), "b": np.array([10.0]), "n": np.array([1, 2, 3, 4])}
    outputs = {"a": np.array([1.0, -3.0]), "b": np.array([8.0]), "n": np.array([1, 2, 3, 5])}
    assert difference(outputs, reference) == Difference(2.0, 0.25, 0.25)
    assert difference({**outputs, "b": np.array([np.nan])}, reference).largest == np.inf
    assert difference({**outputs, "b": np.array([[10.0]])}, reference).relative == np.inf


# Calibration


def test_calibration_is_read_from_arrays_and_images(tmp_path: Path) -> None:
    specs = (ArraySpec("x", (1, 2, 2, 3), np.dtype(np.uint8)),)
    for index in range(3):
        np.savez(tmp_path / f"{index}.npz", x=np.full((1, 2, 2, 3), index, np.uint8), other=np.zeros(1))
    made = read_folder(tmp_path, specs)
    assert [int(inputs["x"].max()) for inputs in made.inputs] == [0, 1, 2]
    assert all(set(inputs) == {"x"} for inputs in made.inputs)
    images = tmp_path / "images"
    images.mkdir()
    blue = np.zeros((4, 6, 3), np.uint8)
    blue[..., 0] = 255
    cv2.imwrite(str(images / "blue.png"), blue)
    assert read_folder(images, specs).inputs[0]["x"][0, 0, 0].tolist() == [255, 0, 0]
    planes = (ArraySpec("x", (1, 3, None, None), np.dtype(np.float32)),)
    assert read_folder(images, planes).inputs[0]["x"][0, :, 0, 0].tolist() == [0, 0, 1]
    assert made.sha256 != read_folder(images, specs).sha256


def test_calibration_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    specs = (ArraySpec("x", (1, 2), np.dtype(np.float32)),)
    with pytest.raises(ConfigError, match="it has none"):
        read_folder(tmp_path, specs)
    np.savez(tmp_path / "0.npz", x=np.zeros((1, 3), np.float32))
    with pytest.raises(ConfigError, match=r"does not fit the model: input 'x' must be float32 \[1, 2\]"):
        read_folder(tmp_path, specs)
    (tmp_path / "0.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(ConfigError, match=r"is no \.npz file"):
        read_folder(tmp_path, specs)
    (tmp_path / "0.npz").rename(tmp_path / "0.png")
    with pytest.raises(ConfigError, match=r"this takes x \[1, 2\]: give \.npz"):
        read_folder(tmp_path, specs)


# The cache


def test_what_was_built_is_taken_again(cache_folder: Path) -> None:
    made = model_build.prepare("policy", options=FP16)
    before = Path(made.model).stat()
    assert model_build.prepare("policy", options=FP16) == made
    assert model_build.prepare(str(POLICY), options=FP16) == made
    assert Path(made.model).stat() == before
    (what,) = entries(cache_folder)
    key = json.loads(what.read_text())["key"]
    assert (key["name"], key["runtime"], key["precision"]) == ("policy", "onnx", "fp16")
    assert key["source_sha256"] == content.content_hash([POLICY], cache_folder)
    assert key["versions"]["onnxruntime"]
    model_build.prepare("policy", options=INT8)
    assert len(entries(cache_folder)) == 2


def test_another_content_is_another_entry(cache_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(POLICY.read_bytes())
    first = model_build.prepare(str(path), options=FP16)
    model = onnx.load(path)
    model.graph.initializer[0].raw_data = bytes(len(model.graph.initializer[0].raw_data))
    onnx.save(model, path)
    assert model_build.prepare(str(path), options=FP16).model != first.model


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "torn note"])
def test_a_damaged_entry_is_built_again(harm: str) -> None:
    path = Path(model_build.prepare("policy", options=FP16).model)
    whole = path.read_bytes()
    if harm == "flip":
        path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    elif harm == "cut":
        path.write_bytes(whole[:-1])
    elif harm == "remove":
        path.unlink()
    else:
        (path.parent / cache.WHAT).write_text('{"files": {"policy.onnx"')
    assert model_build.prepare("policy", options=FP16).model == str(path)
    assert path.read_bytes() == whole


def test_a_model_too_big_for_one_file_is_built_with_its_weights_beside_it(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx.checker, "MAXIMUM_PROTOBUF", 10_000)
    path = Path(model_build.prepare("policy", options=FP16).model)
    files = json.loads((path.parent / cache.WHAT).read_text())["files"]
    assert sorted(files) == ["policy.onnx", "policy.onnx.data"]
    weights = path.with_name("policy.onnx.data")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    engine = model_build.load("policy", options=FP16)
    assert weights.read_bytes() == whole
    assert engine.info.precision == "fp16"
    engine.close()


def key(name: str = "model") -> cache.Key:
    return cache.Key(name, "00", "onnx", "fp16", "cpu", {}, {})


def test_of_two_builders_one_builds(cache_folder: Path) -> None:
    begun, go_on, builds = threading.Event(), threading.Event(), []

    def build(target: Path) -> None:
        builds.append(target)
        begun.set()
        assert go_on.wait(10)
        target.write_bytes(b"built")

    results: list[tuple[Path, bool]] = []
    threads = [
        threading.Thread(target=lambda: results.append(cache.get(key(), ".onnx", build, timeout_s=10))) for _ in "ab"
    ]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    assert cache.find(key(), ".onnx") is None  # half of it is not seen
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert sorted(built for _, built in results) == [False, True]
    assert len(builds) == 1
    assert all(path.read_bytes() == b"built" for path, _ in results)


def test_a_builder_that_takes_too_long_is_not_waited_for_forever() -> None:
    def build(target: Path) -> None:
        with pytest.raises(ConfigError, match="another process has been building"):
            cache.get(key(), ".onnx", build, timeout_s=0.0)
        target.write_bytes(b"")

    assert cache.get(key(), ".onnx", build)[1]


@pytest.mark.slow
def test_what_a_killed_build_left_goes(cache_folder: Path) -> None:
    script = (
        "import os, signal; from pathlib import Path; from perf_inference.model_build import cache\n"
        "def build(target):\n"
        "    target.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "cache.get(cache.Key('model', '00', 'onnx', 'fp16', 'cpu', {}, {}), '.onnx', build)\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    assert list(cache_folder.glob("built/*.part"))
    path, built = cache.get(key(), ".onnx", lambda target: target.write_bytes(b"whole") and None, timeout_s=5)
    assert (path.read_bytes(), built) == (b"whole", True)
    assert not list(cache_folder.glob("built/*.part"))


def test_a_build_that_fails_leaves_nothing(cache_folder: Path) -> None:
    def build(target: Path) -> None:
        target.write_bytes(b"half")
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        cache.get(key(), ".onnx", build)
    assert cache.find(key(), ".onnx") is None
    assert not list(cache_folder.glob("built/*.part"))


def test_a_cache_that_cannot_be_written_is_one_warning(
    cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "other"))
    cache_folder.write_text("a file")
    engine = model_build.load("policy", options=FP16)
    assert engine.info.precision == "fp16"
    (warning,) = caplog.records
    assert "cannot be written" in warning.getMessage()
    assert "set PERF_INFERENCE_CACHE to a folder that can" in warning.getMessage()
    assert not list((tmp_path / "other").iterdir())
    model_build.prove("policy", options=FP16)  # nor does it end a trial
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="set PERF_INFERENCE_CACHE to a folder that can"):
        model_build.load("policy", options=FP16)


def test_a_big_file_is_hashed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []
    sha256 = content._sha256
    monkeypatch.setattr(content, "_sha256", lambda file: hashed.append(file) or sha256(file))
    monkeypatch.setattr(content, "SMALL_BYTES", 0)
    path = tmp_path / "big.onnx"
    path.write_bytes(b"first")

    def digest() -> str:
        return content.content_hash([path], tmp_path / "hashes")

    first = digest()
    assert digest() == first
    assert len(hashed) == 2  # it changed just now, and might change again within a tick of the clock
    monkeypatch.setattr(content, "_SETTLED_NS", -1)
    assert {digest() for _ in range(3)} == {first}
    assert len(hashed) == 3
    stat = path.stat()
    path.write_bytes(b"other")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the same size and time, but not the time of change
    assert digest() != first
    for note in (tmp_path / "hashes").iterdir():
        note.write_text('{"state"')
    assert digest() != first


# The check


def test_a_model_that_can_run_passes_without_any_library() -> None:
    script = (
        "import sys; from perf_inference import model_build; from perf_inference.engines import Options\n"
        "for name in ('detector', 'captioner', 'policy'):\n"
        "    model_build.check(name, 'auto', Options(precision='int8'))\n"
        "print([name for name in ('onnx', 'onnxruntime', 'torch', 'openvino') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def _safetensors(path: Path, cut: int = 0) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16 - cut))


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("m.onnx", lambda path: path.write_bytes(POLICY.read_bytes()[:-1]), "is no ONNX model"),
        ("m.onnx", lambda path: path.write_text("<html>404</html>"), "is no ONNX model"),
        ("m.onnx", lambda path: path.write_bytes(bytes(100)), "does not begin with a version"),
        ("m.onnx", lambda path: path.write_bytes(b""), "is empty"),
        ("m.safetensors", lambda path: path.write_bytes(b"\xff" * 100), "header would be longer than the file"),
        ("m.safetensors", lambda path: path.write_bytes(struct.pack("<Q", 6) + b"[1, 2]"), "no list of tensors"),
        ("m.safetensors", lambda path: _safetensors(path, cut=4), "was cut: 4 bytes of its weights are missing"),
        ("m.pt", lambda path: path.write_bytes(b"\x00" * 100), "they are zip archives"),
        ("m.pt2", lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)), "is a damaged archive"),
        ("m.torchscript", lambda path: path.write_bytes(b"\x80\x02" + bytes(100)), "they are zip archives"),
        ("m.xml", lambda path: path.write_text("{}"), "is not XML"),
        ("m.xml", lambda path: path.write_text("<?xml version='1.0'?><net/>"), r"no weights beside it: 'm\.bin'"),
        ("m.h5", lambda path: path.write_bytes(b"\x89HDF"), r"must end in one of \.onnx"),
        ("none.onnx", lambda path: None, "is neither a file nor an embedded model"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, name: str, write: Callable[[Path], None], message: str) -> None:
    write(tmp_path / name)
    with pytest.raises(ConfigError, match=message):
        model_build.check(str(tmp_path / name))


def test_a_whole_checkpoint_passes(tmp_path: Path) -> None:
    _safetensors(tmp_path / "m.safetensors")
    file_check.check_format(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("tpu", r"device must be one of auto, cpu, cuda\[:N\]"),
        ("gpu:0", "for runtime 'onnx'"),
        ("cuda", "no NVIDIA driver"),
    ],
)
def test_a_device_that_is_not_there_is_refused(wanted: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda path: False)
    with pytest.raises(ConfigError, match=message):
        model_build.check("policy", options=Options(device=wanted))


def test_memory_for_a_second_model_must_be_free(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        available = 1_000_000

    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory)
    with pytest.raises(ConfigError, match=r"needs about 69 MB beside .* but 1 MB are free"):
        model_build.check("detector")


# The trial


@pytest.mark.slow
def test_a_trial_tells_what_the_model_does() -> None:
    engine = model_build.load("detector")
    image = {"image": np.random.default_rng(1).integers(0, 256, (1, 192, 256, 3), np.uint8)}
    trial = try_out("detector", options=FP16, inputs=image, runs=12)
    assert (trial.inputs, trial.outputs) == (engine.inputs, engine.outputs)
    assert (trial.info.name, trial.info.precision, trial.info.runtime) == ("detector", "fp16", "onnx")
    assert trial.info.metadata["task"] == "detect"
    assert trial.file_bytes == Path(trial.model).stat().st_size
    assert trial.peak_bytes >= trial.memory_bytes > trial.file_bytes
    assert trial.infer.n == 12
    assert min(trial.infer_ns) > 0 < trial.load_ns
    half = model_build.load("detector", options=FP16)
    assert trial.difference == difference(half.infer(image), engine.infer(image))


@pytest.mark.slow
def test_a_trial_of_the_original_has_nothing_to_compare_with() -> None:
    trial = try_out("policy", options=Options(precision="fp32", threads=1))
    assert (trial.difference, trial.no_difference) == (None, "it is fp32")
    other = try_out(str(MODELS / "policy.onnx"), options=Options(threads=1), reference=str(POLICY.with_suffix(".x")))
    assert other.difference is None
    assert "is neither a file nor an embedded model" in other.no_difference


@pytest.mark.slow
def test_a_trial_passes_on_what_was_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="input 'force' is missing"):
        try_out("policy", inputs={"image": np.zeros((1, 96, 128, 3), np.uint8)})
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08" + b"\x00" * 40)
    with pytest.raises(ConfigError, match="is no model that ONNX Runtime takes"):
        try_out(str(tmp_path / "m.onnx"))


@pytest.mark.slow
def test_a_model_that_takes_all_memory_is_an_error_of_the_trial(tmp_path: Path) -> None:
    fill = helper.make_node("ConstantOfShape", ["shape"], ["big"])
    total = helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", [1]), ("y", [1])))
    nodes = [helper.make_node("Cast", ["x"], ["n"], to=TensorProto.INT64),
             helper.make_node("Max", ["n", "huge"], ["shape"]), fill, total,
             helper.make_node("Add", ["x", "sum"], ["y"])]  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, [x], [y], {"huge": np.array([2**50])}, {})
    with pytest.raises((ConfigError, EngineError), match=r"ONNX Runtime failed on 'm'|killed|crashed"):
        try_out(str(path))


@pytest.mark.slow
def test_a_model_that_never_answers_is_ended(tmp_path: Path) -> None:
    began_s = time.monotonic()
    with pytest.raises(ConfigError, match="took longer than 2 s and was ended"):
        try_out(str(spin(tmp_path / "m.onnx")), timeout_s=2.0)
    assert time.monotonic() - began_s < 60
    assert not psutil.Process().children()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (signal.SIGSEGV, r"crashed its runtime in its trial \(SIGSEGV\)"),
        (signal.SIGKILL, "was killed in its trial, as the kernel does where memory runs out"),
    ],
)
def test_a_model_that_ends_its_process_is_an_error(tmp_path: Path, how: signal.Signals, message: str) -> None:
    path = spin(tmp_path / "m.onnx")

    def strike() -> None:
        assert wait_until(lambda: [child.send_signal(how) for child in psutil.Process().children()])

    striker = threading.Thread(target=strike)
    striker.start()
    with pytest.raises(ConfigError, match=message):
        try_out(str(path), timeout_s=60)
    striker.join()


@pytest.mark.slow
def test_the_trial_ends_with_its_parent(tmp_path: Path) -> None:
    path = spin(tmp_path / "m.onnx")
    script = f"from perf_inference.model_build.trial.trial import try_out; try_out({str(path)!r}, timeout_s=60)"
    parent = subprocess.Popen([sys.executable, "-c", script])
    found: list[psutil.Process] = []
    assert wait_until(lambda: found.extend(psutil.Process(parent.pid).children()) or found)
    (child,) = found
    assert wait_until(lambda: any("onnxruntime" in mapped.path for mapped in child.memory_maps()), 30)  # it runs
    assert child.nice() == 10
    parent.kill()
    parent.wait(10)
    assert wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


# The command


@pytest.mark.slow
def test_the_command_builds_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small.onnx"
    assert cli.main(["build", "policy", "--precision", "int8", "--calibration", "scenes", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"-p model:={out} -p runtime:=onnx -p precision:=int8" in said
    assert "difference from fp32" in said
    assert engines.load(str(out)).info.precision == "int8"
    assert cli.main(["build", "policy", "--precision", "int8", "--out", str(tmp_path / "m.pt")]) != 0
    assert "must end in .onnx" in capsys.readouterr().err


@pytest.mark.thorough
@pytest.mark.slow
def test_the_command_compares_precisions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = tmp_path / "figures.json"
    arguments = ["build", "policy", "--compare", "--scenes", "10", "--threads", "1", "--json", str(figures)]
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    rows = json.loads(figures.read_text())
    assert [row["precision"] for row in rows] == ["fp32", "fp16", "bf16", "int8"]
    by_name = {row["precision"]: row for row in rows}
    assert by_name["fp32"]["file_bytes"] == POLICY.stat().st_size
    assert by_name["fp16"]["infer_ms"]["n"] == len(by_name["fp16"]["infer_ns"])
    assert by_name["int8"]["score"] == {"name": "targets reached", "value": 1.0, "samples": 1}
    assert 0 < by_name["fp16"]["difference"]["relative"] < by_name["int8"]["difference"]["relative"] < 0.05
    assert "no bf16" in by_name["bf16"]["reason"]
    assert "policy in bf16: runtime 'onnx' cannot run in bf16" in said
    assert "52 %" in said
