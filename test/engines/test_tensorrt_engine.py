"""TensorRT without a GPU: plan files and their headers, what fits, what is refused, and the real bindings' names.

Running and building need a GPU; nothing here stands in for TensorRT itself.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from support.onnx_models import save

from perf_inference import engines
from perf_inference.commands import build as build_command
from perf_inference.demo.model_score import inputs_of
from perf_inference.devices import cuda_runtime, jetson
from perf_inference.devices.cuda_runtime import NoCudaError
from perf_inference.engines import Options
from perf_inference.engines.runtimes import ASYMMETRIC, SYMMETRIC
from perf_inference.engines.tensorrt import engine, library
from perf_inference.engines.tensorrt.log import Errors, logger
from perf_inference.engines.tensorrt.plan_file import Built, Machine, read_plan, write_plan
from perf_inference.errors import ConfigError
from perf_inference.model_build.converters import onnx_precision
from perf_inference.model_build.converters import tensorrt as builder
from perf_inference.model_build.converters import tensorrt_config as configure
from perf_inference.model_build.converters.job import PlanOptions, Range
from perf_inference.model_build.converters.tensorrt import require_source
from perf_inference.model_build.converters.tensorrt_config import is_typed

PLAN = b"ftrt" + bytes(range(200))
HERE = Machine("10.3.0.30", "Orin", "8.7")
BUILT = Built("fp16", "10.3.0.26", "Orin", "8.7", "yolo.onnx", {"images": (1, 3, 640, 640)})


def test_a_plan_keeps_what_is_said_of_it(tmp_path: Path) -> None:
    path = tmp_path / "yolo.engine"
    write_plan(path, PLAN, {"names": "{0: 'cup'}"}, BUILT)
    file = read_plan(path)
    assert bytes(file.plan) == PLAN
    assert file.metadata == {"names": "{0: 'cup'}"}
    assert file.built == Built(**{**vars(BUILT), "shapes": {"images": [1, 3, 640, 640]}})
    assert [entry.name for entry in tmp_path.iterdir()] == ["yolo.engine"]


def test_a_plan_of_ultralytics_tells_names_and_precision(tmp_path: Path) -> None:
    said = {
        "task": "detect",
        "names": {"0": "cup", "1": "it's"},
        "imgsz": [640, 640],
        "args": {"half": True, "int8": False},
    }
    header = json.dumps(said).encode()
    (tmp_path / "m.engine").write_bytes(len(header).to_bytes(4, "little") + header + PLAN)
    file = read_plan(tmp_path / "m.engine")
    assert bytes(file.plan) == PLAN
    assert file.built == Built("fp16")
    assert ast.literal_eval(file.metadata["names"]) == {0: "cup", 1: "it's"}
    assert file.metadata["task"] == "detect"


def test_a_bare_plan_may_have_its_card_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "m.plan"
    path.write_bytes(PLAN)
    assert (bytes(read_plan(path).plan), read_plan(path).built, read_plan(path).metadata) == (PLAN, None, {})
    (tmp_path / "m.plan.json").write_text(json.dumps({"metadata": {"task": "detect"}, "built": {"precision": "int8"}}))
    assert (read_plan(path).built, read_plan(path).metadata) == (Built("int8"), {"task": "detect"})


@pytest.mark.parametrize(
    ("content", "card", "said"),
    [
        (b"", None, "holds no TensorRT engine"),
        (b"\x02\0\0\0{}", None, "holds no TensorRT engine"),
        (b"\x09\0\0\0{damaged}" + PLAN, None, "the header of .* is damaged"),
        (PLAN, "no JSON", r"'m.engine.json' cannot be read"),
        (PLAN, "[]", "is damaged"),
        (PLAN, '{"built": 3}', "is damaged"),
        (PLAN, '{"built": {"precision": "fp12"}}', "precision must be one of fp32, fp16, bf16, int8, got 'fp12'"),
        (PLAN, '{"built": {"precision": "fp16", "gpu": 3}}', "must be words"),
        (PLAN, '{"built": {"precision": "fp16", "shapes": {"a": ["1"]}}}', "shapes whole numbers"),
        (PLAN, '{"built": {"precision": "fp16", "more": 1}}', "more"),
        (PLAN, '{"names": {"zero": "cup"}}', "zero"),
        (PLAN, "[" * 100_000, "cannot be read"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, card: str | None, said: str) -> None:
    (tmp_path / "m.engine").write_bytes(content)
    if card is not None:
        (tmp_path / "m.engine.json").write_text(card)
    with pytest.raises(ConfigError, match=said):
        read_plan(tmp_path / "m.engine")


def test_every_cut_is_refused_or_is_left_to_tensorrt(tmp_path: Path) -> None:
    write_plan(tmp_path / "whole.engine", PLAN, {"task": "detect"}, BUILT)
    whole, path = (tmp_path / "whole.engine").read_bytes(), tmp_path / "cut.engine"
    read = 0
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            assert PLAN.startswith(bytes(read_plan(path).plan)) or length <= 4
            read += 1
        except ConfigError as error:
            assert "build it again" in str(error)  # noqa: PT017, the shorter ones
    assert read < len(PLAN) + 5


@pytest.mark.parametrize(
    ("here", "said"),
    [
        (Machine("10.4.0", "Orin", "8.7"), "was built for TensorRT 10.3.0, but here is 10.4.0"),
        (Machine("10.3.0.30", "Orin", "8.9"), "was built for a GPU of compute capability 8.7, but here is 8.9"),
        (Machine("10.3.0.30", "RTX", "8.7"), "was built for GPU Orin, but here is RTX"),
    ],
)
def test_a_plan_of_another_machine_is_refused_with_the_command_that_builds_it(here: Machine, said: str) -> None:
    BUILT.require_fit(HERE, Path("m.engine"))
    Built("fp16").require_fit(here, Path("m.engine"))  # what is not known is left to TensorRT
    command = "perf-inference build yolo.onnx --runtime tensorrt --precision fp16 --shape images=1,3,640,640"
    with pytest.raises(ConfigError, match=rf"'m.engine' {said}; build it for this machine: {command}$"):
        BUILT.require_fit(here, Path("m.engine"))


def test_a_plan_that_does_not_say_its_precision_must_be_told_it(tmp_path: Path) -> None:
    (tmp_path / "m.engine").write_bytes(PLAN)
    with pytest.raises(ConfigError, match=r"does not say in which precision it was built; set precision to it, or"):
        engine.open_engine(str(tmp_path / "m.engine"), Options())


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CUDA runtime be missing, whatever this machine has."""

    def none() -> Any:
        raise NoCudaError("no libcudart.so was found")

    monkeypatch.setattr(library, "load_runtime", none)


def test_without_a_gpu_nothing_of_tensorrt_is_touched(
    tmp_path: Path, no_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched() -> Any:
        raise AssertionError("TensorRT ends the process where there is no GPU")

    monkeypatch.setattr(library, "running", touched)
    monkeypatch.setattr(library, "building", touched)
    write_plan(tmp_path / "m.engine", PLAN, {}, BUILT)
    with pytest.raises(
        ConfigError, match=r"needs an NVIDIA GPU with its driver, and there is none: no libcudart.so was "
    ):
        engine.open_engine(str(tmp_path / "m.engine"), Options())
    with pytest.raises(
        ConfigError, match=r"needs an NVIDIA GPU .*; take runtime onnx or openvino with the model's .onnx"
    ):
        builder.build(engines.MODELS / "policy.onnx", tmp_path / "m.engine", Options())
    for device in ("cpu", "cuda:x", "gpu:0"):
        with pytest.raises(
            ConfigError, match=rf"runs on a GPU: device must be auto, cuda, cuda:N or dla:N, got '{device}'"
        ):
            engine.open_engine(str(tmp_path / "m.engine"), Options(device=device))


def test_missing_bindings_are_named_with_what_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "BINDINGS", ("no_tensorrt", "no_tensorrt_lean"))
    with pytest.raises(
        ConfigError, match=r"needs no_tensorrt or no_tensorrt_lean \(No module .*\): pip install tensorrt"
    ):
        library.running()
    if not engines.RUNTIMES["tensorrt"].installed:
        with pytest.raises(ConfigError, match="building for TensorRT needs all of it"):
            library.building()
        with pytest.raises(
            ConfigError, match="runtime 'tensorrt' needs tensorrt or tensorrt_lean, which is not installed"
        ):
            engines.load("policy", "tensorrt")


def test_a_jetson_is_told_of_jetpack_and_not_of_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "BINDINGS", ("no_tensorrt",))
    monkeypatch.setattr(jetson, "_RELEASE", tmp_path / "none")
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson AGX Orin Developer Kit\0")
    for release, model, said in (
        ("none", "none", r": pip install tensorrt$"),
        ("none", "model", r"JetPack has it .* made with --system-site-packages$"),
        ("model", "none", r"JetPack has it"),
    ):
        monkeypatch.setattr(jetson, "_RELEASE", tmp_path / release)
        monkeypatch.setattr(jetson, "_MODEL", tmp_path / model)
        with pytest.raises(ConfigError, match=said):
            library.running()


@pytest.mark.parametrize(
    ("stored", "precision", "typed", "said"),
    [
        ("fp32", "fp32", True, None),
        ("fp16", "fp16", True, None),
        ("fp32", "fp16", False, None),
        ("fp32", "bf16", False, None),
        ("int8", "int8", False, None),
        (
            "fp32",
            "fp16",
            True,
            "from a file in fp16, 'm.onnx' is fp32: first perf-inference build m.onnx --runtime onnx",
        ),
        ("fp32", "int8", False, r"from a file in int8, 'm.onnx' is fp32: .* --precision int8 --calibration FOLDER$"),
        ("fp32", "bf16", True, "builds bf16 only from a file in bf16"),
        ("int8", "fp16", False, "is int8, which fp16 cannot be built from; take the fp32 model"),
    ],
)
def test_what_a_source_must_be_to_be_built(stored: str, precision: str, typed: bool, said: str | None) -> None:
    if said is None:
        require_source(Path("m.onnx"), stored, precision, typed)
        return
    with pytest.raises(ConfigError, match=said):
        require_source(Path("m.onnx"), stored, precision, typed)


# NVIDIA's own bindings, where they import: every name that is used of them is there


def bindings() -> Any:
    try:
        return library.running()
    except ConfigError as error:
        pytest.skip(str(error))


def used(module: Any) -> dict[str, set[str]]:
    """Return the attributes that a module takes of its variables `trt`, `engine`, `context` and `runtime`."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        if isinstance(node, ast.Attribute):
            chain = ast.unparse(node).removeprefix("self._")
            if chain.count(".") >= 1 and chain.replace(".", "").isidentifier():
                variable, _, rest = chain.partition(".")
                found.setdefault(variable, set()).add(rest)
    return found


def test_the_real_bindings_have_every_name_that_running_uses() -> None:
    trt, names = bindings(), used(engine)
    loading = used(library)["trt"]
    assert {"TensorIOMode.INPUT", "TensorLocation.DEVICE", "Runtime"} <= names["trt"]
    assert {"execute_async_v3", "set_input_shape", "set_tensor_address", "get_tensor_shape"} == names["context"]
    checked = 0
    for where, attributes in (
        (trt, (names["trt"] | loading) - {"get_tensor_shape"}),
        (trt.ICudaEngine, names["engine"]),
        (trt.IExecutionContext, names["context"]),
        (trt.Runtime, names["runtime"]),
    ):
        for attribute in attributes:
            have = where
            for part in attribute.split("."):
                assert hasattr(have, part), f"{where} of TensorRT {trt.__version__} has no {attribute}"
                have = getattr(have, part)
            checked += 1
    assert checked > 15
    kinds = set(trt.DataType.__members__)
    assert set(engine._DTYPES) <= kinds | {"INT64", "UINT8"}, "8.5 has not all of them"


def test_the_real_logger_keeps_errors() -> None:
    trt = bindings()
    log = logger(trt)
    assert logger(trt) is log, "TensorRT keeps a pointer to the first"
    since = log.errors.mark()
    assert log.errors.take(since) == "TensorRT does not say why"
    for severity, message in (
        (trt.ILogger.WARNING, "slow"),
        (trt.ILogger.ERROR, "wrong"),
        (trt.ILogger.ERROR, "worse"),
    ):
        log.log(severity, message)
    assert log.errors.take(since) == "wrong; worse"
    assert log.errors.take(since) == "TensorRT does not say why", "what was told is forgotten"


def test_an_error_is_told_by_the_call_that_it_is_of() -> None:
    # engine a, this thread     fails ---- says "a" ------- asks        a call that went well says something, too
    # engine b, another thread       fails ---- says "b" ---------- asks
    errors, said = Errors(), list[str]()
    errors.add("of a call before")
    since_a = errors.mark()
    told, asked = threading.Event(), threading.Event()

    def other() -> None:
        since_b = errors.mark()
        errors.add("b")
        told.set()
        assert asked.wait(10)
        said.append(errors.take(since_b))

    thread = threading.Thread(target=other)
    thread.start()
    assert told.wait(10)
    errors.add("a")
    said.append(errors.take(since_a))
    asked.set()
    thread.join()
    assert said == ["a", "b"]
    since = errors.mark()
    worker = threading.Thread(target=errors.add, args=("from a thread of its own",))  # as its builder has
    worker.start()
    worker.join()
    assert errors.take(since) == "from a thread of its own"


def test_errors_that_nobody_asks_for_are_bounded_and_do_not_hide_new_ones() -> None:
    errors = Errors()
    for number in range(1000):
        errors.add(str(number))
    since = errors.mark()
    errors.add("new")
    assert errors.take(since) == "new"
    assert len(errors._kept) < 200


# The whole of TensorRT, where it builds


def whole() -> Any:
    try:
        library.gpu("auto")
        return library.building()
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("model", ["policy", "detector", "captioner"])
def test_the_real_builder_takes_calibrated_int8(model: str, tmp_path: Path) -> None:
    whole()
    original = engines.load(model, "onnx", Options(device="cpu"))
    inputs = inputs_of(original, 8)
    for quantisation in (SYMMETRIC, ASYMMETRIC):
        source, target = tmp_path / f"{quantisation}.onnx", tmp_path / f"{quantisation}.engine"
        onnx_precision.convert(engines.MODELS / f"{model}.onnx", source, "int8", inputs, quantisation)
        if quantisation == SYMMETRIC:
            builder.build(source, target, Options(precision="int8"))
            assert read_plan(target).metadata["precision"] == "int8"
        else:
            with pytest.raises(ConfigError, match=r"(?s)takes what has no zero points.*--calibration FOLDER"):
                builder.build(source, target, Options(precision="int8"))
    original.close()


def free_model(path: Path) -> Path:
    """Write y = Relu(x W) with a free batch."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 8]) for name in "xy")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    return save(path, nodes, [x], [y], {"w": np.eye(8, dtype=np.float32)}, {})


def test_the_real_builder_takes_ranges_and_options(tmp_path: Path) -> None:
    whole()
    source, target = free_model(tmp_path / "m.onnx"), tmp_path / "m.engine"
    plan = PlanOptions(32 << 20, 1, hardware_compatible=True)
    builder.build(source, target, Options(), {"x": Range((1, 8), (2, 8), (4, 8))}, tmp_path / "timings", plan)
    built = read_plan(target).built
    assert built is not None
    assert (built.shapes, built.multiprocessors) == ({"x": [2, 8]}, library.gpu("auto").multiprocessors)
    assert built.command.endswith(" --shape x=2,8 --hardware-compatible")
    if "rtx" in library.building().__name__:  # it has no lean runtime to put into the plan
        with pytest.raises(ConfigError, match="libnvinfer_lean"):
            builder.build(source, target, Options(), {"x": (2, 8)}, plan=replace(plan, version_compatible=True))
    for shape in (Range((1, 9), (2, 9), (4, 9)), Range((1,), (2,), (4,)), Range((1, 8), (2, 9), (4, 10))):
        with pytest.raises(ConfigError, match=r"does not fit input 'x' \[None, 8\]"):
            builder.build(source, target, Options(), {"x": shape})
    with pytest.raises(ConfigError, match=r"finds 0 DLA core\(s\)"):
        builder.build(source, target, Options(device="dla:0", precision="fp32"), {"x": (2, 8)})


def test_the_real_builder_writes_the_plan_before_the_timings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(config: Any, path: Path | None) -> None:
        raise KeyboardInterrupt

    whole()
    monkeypatch.setattr(configure, "write_timings", ends)
    with pytest.raises(KeyboardInterrupt):
        builder.build(free_model(tmp_path / "m.onnx"), tmp_path / "m.engine", Options(), {"x": (2, 8)}, tmp_path)
    assert read_plan(tmp_path / "m.engine").plan


# What the builder is told, by stand-ins that keep it: a DLA and a cache that is refused are not to be had here


class Kept:
    """A builder's configuration that keeps what it is told; a cache with content is refused as `how` says."""

    def __init__(self, how: str = "") -> None:
        self.how, self.flags, self.cache = how, list[str](), None
        self.set_flag = self.flags.append

    def create_timing_cache(self, content: bytes) -> Any:
        return None if content and self.how == "none" else SimpleNamespace(content=content, serialize=lambda: b"new")

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        if cache is None:
            raise TypeError("incompatible function arguments")
        if cache.content and self.how == "mismatch":
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self.cache

    def can_run_on_DLA(self, layer: Any) -> bool:  # noqa: N802, TensorRT's name
        return layer.name != "softmax"


@pytest.mark.parametrize(("how", "left"), [("", b"old"), ("none", b""), ("mismatch", b"")])
def test_a_refused_timing_cache_is_begun_again(how: str, left: bytes, tmp_path: Path) -> None:
    path, config = tmp_path / "folder" / "t.timings", Kept(how)
    path.parent.mkdir()
    path.write_bytes(b"old")
    configure.read_timings(config, path)
    assert config.cache is not None
    assert config.cache.content == left
    configure.write_timings(config, path)
    assert path.read_bytes() == b"new"


def test_timings_that_cannot_be_kept_do_not_cost_the_plan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    config = Kept()
    configure.read_timings(config, tmp_path / "file" / "t.timings")
    configure.write_timings(config, tmp_path / "file" / "t.timings")
    assert "cannot be kept" in caplog.text


def test_a_dla_takes_what_it_can_and_the_rest_is_told(caplog: pytest.LogCaptureFixture) -> None:
    trt = SimpleNamespace(__version__="10.3.0", DeviceType=SimpleNamespace(DLA="a DLA"),
                          BuilderFlag=SimpleNamespace(GPU_FALLBACK="GPU_FALLBACK"))  # fmt: skip
    layers = [SimpleNamespace(name=name) for name in ("conv", "softmax", "fc")]
    network = SimpleNamespace(num_layers=3, get_layer=layers.__getitem__)
    orin, config = SimpleNamespace(num_DLA_cores=2), Kept()
    configure.set_device(trt, orin, config, network, "dla:1", "fp16")
    assert (vars(config)["default_device_type"], vars(config)["DLA_core"]) == ("a DLA", 1)
    assert config.flags == ["GPU_FALLBACK"]
    assert "1 of 3 layers run on the GPU, dla:1 cannot take them: softmax" in caplog.text
    with pytest.raises(ConfigError, match=r"'dla:2' is not here: TensorRT 10.3.0 finds 2 DLA core"):
        configure.set_device(trt, orin, config, network, "dla:2", "fp16")
    with pytest.raises(ConfigError, match="computes in fp16 or int8, and not in fp32"):
        configure.set_device(trt, orin, config, network, "dla", "fp32")
    untouched = Kept()
    configure.set_device(trt, orin, untouched, network, "cuda:0", "fp32")
    assert "DLA_core" not in vars(untouched)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("x=1,3", (1, 3)),
        ("x=1..4,3", Range((1, 3), (4, 3), (4, 3))),
        ("x=1..2..4,3", Range((1, 3), (2, 3), (4, 3))),
        ("x=2..2,3", (2, 3)),
        ("x=1..2..4,1..8", Range((1, 1), (2, 8), (4, 8))),
    ],
)
def test_a_shape_on_the_command_line_may_have_a_range(text: str, shape: Any) -> None:
    found = arguments_of("build", "m.onnx", "--shape", text).shape
    assert found == [("x", shape)]
    assert type(found[0][1]) is type(shape)


@pytest.mark.parametrize(
    "text", ["x", "x=", "=1", "x=0,3", "x=4..1", "x=1..3..2", "x=1..2..3..4", "x=a", "x=-1", "x=1.."]
)
def test_a_shape_that_cannot_be_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments_of("build", "m.onnx", "--shape", text)
    assert "--shape" in capsys.readouterr().err


def arguments_of(*words: str) -> Any:
    parser = argparse.ArgumentParser()
    build_command.add_arguments(parser)
    return parser.parse_args(words[1:])


def test_a_compatible_plan_fits_where_others_do_not(tmp_path: Path) -> None:
    newer, other = Machine("10.9.0", "Orin", "8.7"), Machine("10.3.0", "RTX", "8.9", 46)
    version = replace(BUILT, version_compatible=True)
    hardware = replace(BUILT, hardware_compatible=True, multiprocessors=16)
    version.require_fit(newer, Path("m.engine"))
    hardware.require_fit(other, Path("m.engine"))
    for built, here in ((version, other), (hardware, newer)):
        with pytest.raises(ConfigError, match="was built for"):
            built.require_fit(here, Path("m.engine"))
    smaller = Machine("10.3.0", "Orin", "8.7", 8)  # another Orin, or a power mode that switches some off
    with pytest.raises(ConfigError, match=r"multiprocessors \(of its power mode\) are 16, but here is 8"):
        replace(BUILT, multiprocessors=16).require_fit(smaller, Path("m.engine"))


def test_networks_are_typed_from_11_on() -> None:
    trt = bindings()
    assert is_typed(trt) == (int(trt.__version__.split(".")[0]) >= 11 or "rtx" in trt.__name__)


def test_the_bits_of_a_network_are_those_of_the_version() -> None:
    old = SimpleNamespace(
        BuilderFlag=SimpleNamespace(FP16=0), NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0)
    )
    new = SimpleNamespace(
        BuilderFlag=SimpleNamespace(), NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1)
    )
    assert (builder._network_flags(old), builder._network_flags(new)) == (1, 2)


def test_the_real_cuda_runtime_says_why_there_is_no_gpu() -> None:
    try:
        runtime = cuda_runtime.load_runtime()
    except NoCudaError:
        with pytest.raises(ConfigError, match="needs an NVIDIA GPU with its driver"):
            library.gpu("auto")
    else:
        assert library.gpu("auto").name == "cuda:0"
        with pytest.raises(ConfigError, match=rf"finds {runtime.devices} device"):
            library.gpu(f"cuda:{runtime.devices}")


@pytest.mark.long
@pytest.mark.parametrize("version", ["10.16.1.11", "11.4.0.106"])
def test_running_names_only_what_the_lean_bindings_have(version: str, tmp_path: Path) -> None:
    """Installs NVIDIA's lean bindings beside, not into, the environment, and runs this file's tests on them."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(tmp_path), f"tensorrt_lean=={version}"]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *(entry for entry in sys.path if entry)])}
    tests = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not real_builder", __file__]
    done = subprocess.run(tests, env=env, capture_output=True, text=True, check=False)
    print(f"tensorrt_lean {version}: {done.stdout.splitlines()[-1]}")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "skipped" not in done.stdout
