"""ONNX Runtime as an engine: what it says of itself, where it runs, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import onnx_models

from perf_inference.engines import MODELS, ArraySpec, Engine, Options, load
from perf_inference.engines.onnx.binding import Binding
from perf_inference.engines.onnx.engine import OnnxEngine
from perf_inference.engines.onnx.file import OnnxFile, read_onnx_file
from perf_inference.engines.onnx.providers import CPU, CUDA, OPENVINO, TENSORRT, attempts, providers
from perf_inference.errors import ConfigError, EngineError
from perf_inference.testing.engine_contract import CHECKS, Check, Subject

_ALL = (CPU, "AzureExecutionProvider", OPENVINO, CUDA, TENSORRT)
_FLOAT = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])


def scaled(path: Path, weights: Any, metadata: dict[str, str] | None = None) -> Path:
    """Write y = x + weights, whatever the weights' type is."""
    nodes = [helper.make_node("Cast", ["w"], ["f"], to=TensorProto.FLOAT), helper.make_node("Add", ["x", "f"], ["y"])]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    return onnx_models.save(path, nodes, [_FLOAT], [y], {"w": weights}, metadata or {})


def with_external_data(path: Path, location: str) -> Path:
    """Write y = x followed by four bytes that are in another file."""
    weights = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "4")):
        weights.external_data.add(key=key, value=value)
    x, y = (helper.make_tensor_value_info(n, TensorProto.UINT8, [length]) for n, length in (("x", 4), ("y", 8)))
    graph = helper.make_graph([helper.make_node("Concat", ["x", "w"], ["y"], axis=0)], "g", [x], [y], [weights])
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )
    return path


@pytest.mark.parametrize(("dtype", "precision"), [(np.float32, "fp32"), (np.float16, "fp16"), (np.int8, "int8")])
def test_the_precision_is_that_of_most_weights(dtype: Any, precision: str, tmp_path: Path) -> None:
    engine = load(str(scaled(tmp_path / "m.onnx", np.arange(4, dtype=dtype))))
    assert engine.info.precision == precision
    assert engine.infer({"x": np.ones(4, np.float32)})["y"].tolist() == [1, 2, 3, 4]


def test_what_the_metadata_say_of_the_precision_counts_first(tmp_path: Path) -> None:
    path = scaled(tmp_path / "m.onnx", np.zeros(4, np.float32), {"precision": "int8", "classes": "a,b"})
    assert load(str(path)).info.precision == "int8"
    assert load(str(path)).info.metadata["classes"] == "a,b"
    assert load(str(scaled(path, np.zeros(4, np.float32), {"precision": "high"}))).info.precision == "fp32"


def test_weights_are_counted_by_their_elements(tmp_path: Path) -> None:
    few = [numpy_helper.from_array(np.zeros(2, np.float32), f"scale_{i}") for i in range(3)]
    many = numpy_helper.from_array(np.zeros((5, 7), np.int8), "weights")
    packed = many.SerializeToString().replace(b"\x08\x05\x08\x07", b"\x0a\x02\x05\x07")  # dims as proto3 writes them
    graph = onnx.GraphProto(initializer=few).SerializeToString()
    graph += b"\x2a" + bytes([len(packed)]) + packed
    path = tmp_path / "m.onnx"
    assert 128 <= len(graph) < 1 << 14
    path.write_bytes(b"\x3a" + bytes([len(graph) & 127 | 128, len(graph) >> 7]) + graph)
    assert read_onnx_file(path).precision == "int8"


def test_weights_of_inner_graphs_and_of_constants_count(tmp_path: Path) -> None:
    def branch(name: str) -> Any:
        value = helper.make_tensor(f"{name}_w", TensorProto.FLOAT16, [4], [0.0] * 4)
        node = helper.make_node("Constant", [], [name], value=value)
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT16, [4])])

    nodes = [
        helper.make_node("If", ["c"], ["h"], then_branch=branch("a"), else_branch=branch("b")),
        helper.make_node("Cast", ["h"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "f"], ["y"]),
    ]
    path = onnx_models.save(
        tmp_path / "m.onnx", nodes, [_FLOAT, helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])], {"one": np.ones(1, np.float32)}, {},
    )  # fmt: skip
    assert load(str(path)).info.precision == "fp16"


def test_without_weights_the_arrays_tell_the_precision(tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT16, [4]) for name in "xy")
    path = onnx_models.save(tmp_path / "m.onnx", [helper.make_node("Neg", ["x"], ["y"])], [x], [y], {}, {})
    assert read_onnx_file(path).precision is None
    assert load(str(path)).info.precision == "fp16"


def test_arrays_that_numpy_has_no_type_for_are_refused(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.BFLOAT16, [4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    path = onnx_models.save(tmp_path / "m.onnx", [node], [x], [y], {}, {})
    with pytest.raises(
        ConfigError, match=r"'x' is a tensor\(bfloat16\), but an array may be .*; export the model with"
    ):
        load(str(path))


def test_a_failing_run_is_an_engine_error_and_the_engine_goes_on(tmp_path: Path) -> None:
    index = helper.make_tensor_value_info("i", TensorProto.INT64, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    node = helper.make_node("Gather", ["table", "i"], ["y"])
    table = {"table": np.array([5, 6], np.float32)}
    engine = load(
        str(onnx_models.save(tmp_path / "m.onnx", [node], [index], [y], table, {})), options=Options(device="cpu")
    )
    with pytest.raises(EngineError, match=r"ONNX Runtime failed on 'm': .*Gather"):
        engine.infer({"i": np.array([1000], np.int64)})
    assert engine.infer({"i": np.array([1], np.int64)})["y"].tolist() == [6]


def file() -> OnnxFile:
    return read_onnx_file(MODELS / "policy.onnx")


@pytest.mark.parametrize(
    ("options", "names", "devices"),
    [
        (Options(), (CUDA, OPENVINO, CPU), ("cuda:0", "cpu", "cpu")),
        (Options(device="cpu"), (CPU,), ("cpu",)),
        (Options(device="cuda:2"), (CUDA, CPU), ("cuda:2", "cpu")),
        (Options(providers=("tensorrt",)), (TENSORRT, CPU), ("cuda:0", "cpu")),
        (Options(device="gpu:1"), (OPENVINO, CPU), ("gpu:1", "cpu")),
        (Options(device="npu"), (OPENVINO, CPU), ("npu", "cpu")),
        (Options(providers=("cuda", "TensorrtExecutionProvider")), (CUDA, TENSORRT, CPU), ("cuda:0", "cuda:0", "cpu")),
        (Options(providers=("openvino", "cpu"), device="cpu"), (OPENVINO, CPU), ("cpu", "cpu")),
        (Options(providers=("azure",)), ("AzureExecutionProvider", CPU), ("azure", "cpu")),
    ],
)
def test_the_providers_come_in_their_order(
    options: Options, names: tuple[str, ...], devices: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = providers(file(), options, _ALL)
    assert tuple(one.name for one in found) == names
    assert tuple(one.device for one in found) == devices


@pytest.mark.parametrize(
    ("options", "present", "message"),
    [
        (
            Options(device="cuda:0"),
            (CPU,),
            "among CPUExecutionProvider; install onnxruntime-gpu in place of onnxruntime, or set device: cpu",
        ),
        (
            Options(device="npu"),
            (CUDA, CPU),
            "no execution provider for device 'npu' among CUDA.*, CPU.*; set device: auto",
        ),
        (Options(device="tpu"), _ALL, "device must be auto, cpu, cuda:N, gpu:N or npu, got 'tpu'"),
        (Options(device="cuda:0; reboot"), _ALL, "device must be"),
        (Options(providers=("cuda",)), (CPU,), "provider 'cuda' is not in this ONNX Runtime, which has CPUExecution"),
        (
            Options(providers=("cpu",), device="cuda"),
            _ALL,
            "no execution provider for device 'cuda' among CPUExecutionProvider",
        ),
    ],
)
def test_what_is_not_here_is_refused(options: Options, present: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        providers(file(), options, present)


def test_only_what_was_left_open_is_done_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def tried(options: Options) -> list[list[str]]:
        return [[one.name for one in given] for given in attempts(providers(file(), options, _ALL), options)]

    assert tried(Options(providers=("cuda",))) == [[CUDA, CPU]]
    assert tried(Options(device="cuda:1")) == [[CUDA, CPU]]
    assert tried(Options(device="npu")) == [[OPENVINO, CPU]]
    assert [one[0] for one in tried(Options())] == [CUDA, OPENVINO, CPU]


@pytest.mark.parametrize("name", onnxruntime.get_available_providers())
def test_a_provider_that_is_named_runs_or_ends_the_start(name: str) -> None:
    try:
        engine = load("policy", options=Options(providers=(name,), threads=1))
    except ConfigError as error:
        assert f"cannot be run by {name} on device 'auto'" in str(error)  # noqa: PT017
    else:
        short = name.removesuffix("ExecutionProvider").lower()
        assert engine.info.runtime == ("onnx" if name == CPU else f"onnx/{short}")


def test_tensorrt_keeps_its_engines_apart_by_the_models_content(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def cache(path: Path) -> dict[str, str]:
        return providers(read_onnx_file(path), Options(providers=("tensorrt",)), (TENSORRT, CPU))[0].options

    first = cache(scaled(tmp_path / "m.onnx", np.zeros(4, np.float32)))
    assert Path(first["trt_engine_cache_path"]).is_dir()
    assert first["trt_engine_cache_path"].startswith(str(tmp_path / "cache" / "perf_inference"))
    assert "trt_fp16_enable" not in first
    assert cache(scaled(tmp_path / "m.onnx", np.ones(4, np.float32))) != first  # the same network, trained on
    assert cache(scaled(tmp_path / "m.onnx", np.zeros(4, np.float32))) == first
    assert cache(scaled(tmp_path / "m.onnx", np.zeros(4, np.float16)))["trt_fp16_enable"] == "True"

    (tmp_path / "weights.bin").write_bytes(b"1234")
    outside = with_external_data(tmp_path / "e.onnx", "weights.bin")
    before = cache(outside)
    (tmp_path / "weights.bin").write_bytes(b"4321")  # as long as before
    assert cache(outside) != before


def test_tensorrt_goes_without_a_cache_that_cannot_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert providers(file(), Options(providers=("tensorrt",)), (TENSORRT, CPU))[0].options == {"device_id": "0"}


def test_fp32_is_fp32_on_a_gpu_too() -> None:
    (cuda, _) = providers(file(), Options(device="cuda:0"), (CUDA, CPU))
    assert cuda.options == {"device_id": "0", "use_tf32": "0"}  # left alone, it multiplies and convolves in TF32


def test_tensorrt_says_that_it_builds_at_the_first_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for built in (False, True):
        caplog.clear()
        (tensorrt, _) = providers(file(), Options(providers=("tensorrt",)), (TENSORRT, CPU))
        said = f"takes minutes. A plan is built beforehand: perf-inference build {file().path} --runtime tensorrt"
        assert (said in caplog.text) is not built
        (Path(tensorrt.options["trt_engine_cache_path"]) / "engine").touch()


def bound(model: Path) -> Engine:
    """Return an engine that goes the way of a GPU's, its device being the host's own memory."""
    engine = OnnxEngine(model, Options(threads=1, device="cpu"))
    engine._binding = Binding(engine._session, engine.inputs, engine.outputs, "cpu", 0)
    return engine


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_bound_arrays_keep_the_contract(check: Check) -> None:
    check(Subject(lambda: bound(MODELS / "policy.onnx"), settle_s=0.02))


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_bound_arrays_with_free_axes_keep_the_contract(check: Check, tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "xy")
    path = onnx_models.save(tmp_path / "m.onnx", [helper.make_node("Neg", ["x"], ["y"])], [x], [y], {}, {})
    inputs = ({"x": np.ones((3, 2), np.float32)}, {"x": np.ones((5, 2), np.float32)})
    check(Subject(lambda: bound(path), inputs, settle_s=0.02))


def test_a_binding_says_where_the_time_went() -> None:
    engine = bound(MODELS / "policy.onnx")
    engine.infer({spec.name: np.zeros(spec.shape, spec.dtype) for spec in engine.inputs})  # type: ignore[arg-type]
    assert {*engine.parts_ns} == {"host_to_device", "compute", "device_to_host"}
    assert engine.parts_ns["compute"] > 0


def test_weights_beside_the_model_are_taken(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"abcd")
    engine = load(str(with_external_data(tmp_path / "m.onnx", "weights.bin")))
    assert engine.infer({"x": np.zeros(4, np.uint8)})["y"].tobytes() == b"\0\0\0\0abcd"
    assert engine.outputs == (ArraySpec("y", (8,), np.dtype(np.uint8), owned=True),)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "link", "folder/../../secret"])
def test_weights_from_elsewhere_are_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"abcd")
    folder = tmp_path / "models"
    (folder / "folder").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigError, match=f"takes weights from '{location}', which is not in its own folder"):
        load(str(with_external_data(folder / "m.onnx", location)))


def test_a_linked_model_takes_the_weights_beside_what_it_links_to(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "use").mkdir()
    (tmp_path / "store" / "weights.bin").write_bytes(b"abcd")
    (tmp_path / "use" / "weights.bin").symlink_to(tmp_path / "store" / "weights.bin")
    (tmp_path / "use" / "m.onnx").symlink_to(with_external_data(tmp_path / "store" / "m.onnx", "weights.bin"))
    assert read_onnx_file(tmp_path / "use" / "m.onnx").external == {"weights.bin"}


@pytest.mark.parametrize(
    "content", [b"", b"\0", bytes(range(256)) * 40, b"not a model", b"\x08\x09\x3a\xff\xff\xff\x7f"]
)
def test_what_is_no_model_is_a_configuration_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"m\.onnx' is no"):
        load(str(path))


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no ONNX model: .*directory"):
        OnnxEngine(tmp_path, Options())


_MUTATE = """
import random, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))  # a shape gone wild must not take the machine's memory
from perf_inference.engines import Options, load
from perf_inference.errors import PerfInferenceError
from perf_inference.testing.samples import sample

good, path, count = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), int(sys.argv[3])
ran = refused = 0
for number in range(count):
    draw, data = random.Random(number), bytearray(good)
    if number % 4 == 0:
        del data[draw.randrange(len(data)):]
    elif number % 4 == 1:
        for _ in range(draw.choice((1, 3, 20))):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif number % 4 == 2:  # the ends hold structure, the middle weights
        for _ in range(draw.choice((1, 2, 5))):
            data[draw.choice((1, -1)) * draw.randrange(2000)] = draw.randrange(256)
    else:
        start, target = draw.randrange(len(data)), draw.randrange(len(data))
        data[target:target] = data[start:start + draw.randrange(200)]
    path.write_bytes(data)
    print(number, file=sys.stderr, flush=True)
    try:
        engine = load(str(path), options=Options(threads=1, device="cpu"))
        engine.infer(sample(engine.inputs, number))
        ran += 1
    except PerfInferenceError:
        refused += 1
print(f"{ran} ran, {refused} refused")
"""


def mutate(model: str, count: int, tmp_path: Path) -> str:
    command = [sys.executable, "-c", _MUTATE, str(MODELS / f"{model}.onnx"), str(tmp_path / "m.onnx"), str(count)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=1200, errors="replace")
    assert told.returncode == 0, f"ended with {told.returncode}: {told.stderr[-2000:]}"
    return told.stdout.strip().splitlines()[-1]


@pytest.mark.slow
def test_a_damaged_model_is_an_error_and_never_a_crash(tmp_path: Path) -> None:
    told = mutate("policy", 300, tmp_path)
    assert sum(int(part.split()[0]) for part in told.split(", ")) == 300
    assert int(told.split(" refused")[0].split()[-1]) >= 100  # so many were really damaged


@pytest.mark.long
@pytest.mark.parametrize("model", ["policy", "detector", "captioner"])
def test_thousands_of_damaged_models_are_errors_and_never_a_crash(model: str, tmp_path: Path) -> None:
    print(f"{model}: {mutate(model, 3000, tmp_path)}")


def test_the_reader_finds_what_the_package_onnx_finds(shared_data: Path) -> None:
    kinds = {
        TensorProto.FLOAT: "fp32",
        TensorProto.FLOAT16: "fp16",
        TensorProto.INT8: "int8",
        TensorProto.UINT8: "int8",
    }
    for path in [*MODELS.glob("*.onnx"), *shared_data.rglob("*.onnx")]:
        counts: dict[str, int] = {}
        for tensor in onnx.load(str(path)).graph.initializer:
            if tensor.data_type in kinds:
                kind = kinds[tensor.data_type]
                counts[kind] = counts.get(kind, 0) + int(np.prod(tensor.dims))
        assert read_onnx_file(path).precision == max(counts, key=lambda kind: counts[kind]), path
