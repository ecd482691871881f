"""The engines of PyTorch: checkpoints, TorchScript and exported programs behind one contract."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import threading
import warnings
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from numpy.typing import NDArray  # noqa: E402
from support import torch_models  # noqa: E402

from perf_inference.devices.device import CpuDevice  # noqa: E402
from perf_inference.engines import AS_IT_IS, Engine, Options, load  # noqa: E402
from perf_inference.engines.architectures import Architecture, register  # noqa: E402
from perf_inference.engines.engine import ArraySpec  # noqa: E402
from perf_inference.engines.pytorch import engine as torch_engine  # noqa: E402
from perf_inference.engines.pytorch.call import StagedCall  # noqa: E402
from perf_inference.engines.pytorch.checkpoint import save_checkpoint  # noqa: E402
from perf_inference.errors import ConfigError, EngineError, InputError  # noqa: E402
from perf_inference.testing.engine_contract import CHECKS, Check, Subject  # noqa: E402

pytestmark = pytest.mark.torch

Arrays = Mapping[str, NDArray[Any]]
FORMATS = (".safetensors", ".pt", ".torchscript", ".pt2")
JOINTS = ArraySpec("joints", (None, 4), np.dtype(np.float32))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("models")
    return {suffix: torch_models.write(directory / f"reacher{suffix}") for suffix in FORMATS}


def arrays(batch: int = 1, seed: int = 0) -> dict[str, NDArray[Any]]:
    chance = np.random.default_rng(seed)
    return {
        "image": chance.integers(0, 256, (batch, 8, 8, 3)).astype(np.uint8),
        "joints": chance.standard_normal((batch, 4)).astype(np.float32),
    }


def expected(inputs: Arrays) -> dict[str, NDArray[Any]]:
    with torch.no_grad():
        results = torch_models.network()(torch.from_numpy(inputs["image"]), torch.from_numpy(inputs["joints"]))
    return {name: result.numpy() for name, result in zip(torch_models.OUTPUTS, results, strict=True)}


@pytest.fixture
def engine_of(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Return an engine for a network of the test's own: `engine_of(forward, spec, ..., outputs=("y",))`."""
    opened: list[Engine] = []

    def make(
        forward: Callable[..., Any],
        *inputs: ArraySpec,
        outputs: tuple[str, ...] = ("y",),
        options: Options = AS_IT_IS,
    ) -> Engine:
        class Own(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = torch.nn.Parameter(torch.full((4,), 2.0))

            def forward(self, *tensors: Any) -> Any:
                return forward(self, *tensors)

        register("own", lambda weights, metadata: Architecture(Own().eval(), inputs or (JOINTS,), outputs))
        save_checkpoint(tmp_path / "own.pt", "own", Own().state_dict())
        opened.append(load(str(tmp_path / "own.pt"), options=options))
        return opened[-1]

    yield make
    for engine in opened:
        engine.close()


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines go the way of a GPU, as far as a CPU can: buffers, copies, events, no pinning and no graph."""
    monkeypatch.setattr(
        torch_engine, "_call", lambda function, *_, **__: StagedCall(function, CpuDevice(), cuda_graph=True)
    )


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("suffix", [".safetensors", ".torchscript", ".pt2"])
def test_they_keep_the_contract(suffix: str, check: Check, files: dict[str, Path]) -> None:
    check(Subject(lambda: load(str(files[suffix])), settle_s=0.01))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_each_precision_keeps_the_contract(precision: str, check: Check, files: dict[str, Path]) -> None:
    check(Subject(lambda: load(str(files[".pt"]), options=Options(precision=precision)), settle_s=0.01))


TF32 = """
import sys, warnings
import torch
from perf_inference.engines.pytorch.engine import find_device

before = sys.argv[1]
if before == "flags":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
if before == "words" and hasattr(torch.backends, "fp32_precision"):
    torch.backends.fp32_precision = "tf32"
torch.cuda.is_available, torch.cuda.device_count = (lambda: True), (lambda: 1)
warnings.simplefilter("error")
assert find_device("cuda:0") == "cuda:0"
warnings.simplefilter("ignore")
cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
print(cudnn.allow_tf32, matmul.allow_tf32, torch.get_float32_matmul_precision())
print(*(kind.fp32_precision for kind in (matmul, cudnn.conv, cudnn.rnn) if hasattr(kind, "fp32_precision")))
"""


@pytest.mark.parametrize("before", ["as it starts", "flags", "words"])
def test_fp32_is_fp32_on_a_gpu_too(before: str) -> None:
    done = subprocess.run([sys.executable, "-c", TF32, before], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    flags, words = done.stdout.splitlines()
    assert flags == "False False highest"
    assert set(words.split()) <= {"ieee"}


@pytest.mark.usefixtures("staged")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_way_of_a_gpu_keeps_the_contract(check: Check, files: dict[str, Path]) -> None:
    check(Subject(lambda: load(str(files[".pt"])), settle_s=0.01))


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_networks_own_outputs(suffix: str, files: dict[str, Path]) -> None:
    engine = load(str(files[suffix]))
    for batch in (1, 3):
        outputs = engine.infer(arrays(batch))
        for name, wanted in expected(arrays(batch)).items():
            np.testing.assert_allclose(outputs[name], wanted, atol=1e-4)
    assert engine.inputs == torch_models.INPUTS
    assert engine.outputs == tuple(
        ArraySpec(spec.name, spec.shape, spec.dtype, owned=True) for spec in torch_models.card().outputs
    )
    assert engine.info.name == "reacher"
    assert engine.info.device == "cpu"
    assert torch_models.WORDS.items() <= engine.info.metadata.items()
    engine.close()


@pytest.mark.parametrize(("precision", "near"), [("fp16", 2e-3), ("bf16", 2e-2), ("int8", 3e-2)])
def test_precisions_are_near_fp32_and_not_fp32(precision: str, near: float, files: dict[str, Path]) -> None:
    engine = load(str(files[".safetensors"]), options=Options(precision=precision))
    outputs, wanted = engine.infer(arrays(5)), expected(arrays(5))
    assert engine.info.precision == precision
    for name, array in outputs.items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, wanted[name], atol=near)
        assert not np.array_equal(array, wanted[name])
    engine.close()


def test_a_checkpoint_in_half_is_run_in_half(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_checkpoint(path, "reacher", {name: w.half() for name, w in torch_models.network().state_dict().items()})
    for precision, runs_in in (("auto", "fp16"), ("fp32", "fp32")):
        engine = load(str(path), options=Options(precision=precision))
        assert engine.info.precision == runs_in
        engine.close()


def test_a_checkpoint_loads_with_the_sizes_of_its_weights(tmp_path: Path) -> None:
    small = torch_models.Reacher(channels=2, hidden=3)
    save_checkpoint(tmp_path / "pruned.safetensors", "reacher", small.state_dict())
    engine = load(str(tmp_path / "pruned.safetensors"))
    assert engine.infer(arrays())["action"].shape == (1, 2)
    engine.close()


def test_int8_needs_layers_that_can_be_quantised(engine_of: Callable[..., Engine]) -> None:
    with pytest.raises(ConfigError, match="Linear and LSTM layers, and this network has none; set precision"):
        engine_of(lambda own, x: x * own.weight, options=Options(precision="int8"))


def test_quantising_leaves_the_process_as_it_was(files: dict[str, Path]) -> None:
    before = torch.backends.quantized.engine
    load(str(files[".pt"]), options=Options(precision="int8")).close()
    assert torch.backends.quantized.engine == before


def test_a_precision_that_the_device_cannot_run_is_named_with_what_works(engine_of: Callable[..., Engine]) -> None:
    square = ArraySpec("m", (4, 4), np.dtype(np.float32))

    def forward(own: Any, m: Any) -> Any:
        return torch.linalg.inv(m + torch.eye(4, dtype=m.dtype)) * own.weight

    assert engine_of(forward, square).infer({"m": np.eye(4, dtype=np.float32)})["y"][0, 0] == 1.0
    with pytest.raises(ConfigError, match=r"does not run on cpu in fp16 \(.*\); set precision: fp32 or bf16, or a GPU"):
        engine_of(forward, square, options=Options(precision="fp16"))


@pytest.mark.parametrize("suffix", [".torchscript", ".pt2"])
def test_an_exported_file_is_run_in_its_own_precision_alone(suffix: str, files: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"is fp32, but precision 'fp16' .* perf-inference build .* --precision fp16"):
        load(str(files[suffix]), options=Options(precision="fp16"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_gpu_that_is_not_there_is_refused(suffix: str, files: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"device 'cuda:1' is not here.*set device: cpu or auto"):
        load(str(files[suffix]), options=Options(device="cuda:1"))
    with pytest.raises(
        ConfigError, match=r"device must be one of auto, cpu, cuda\[:N\] for runtime 'torch.*', got 'npu'"
    ):
        load(str(files[suffix]), options=Options(device="npu"))


def test_what_a_network_returns_is_made_flat_and_named(engine_of: Callable[..., Engine]) -> None:
    def forward(own: Any, x: Any) -> Any:
        return {"b": (x.sum(1), [x.sum(1, keepdim=True)]), "a": (x * own.weight).bfloat16()}

    engine = engine_of(forward, outputs=())
    assert [(spec.name, spec.shape, spec.dtype.name) for spec in engine.outputs] == [
        ("output0", (None,), "float32"),
        ("output1", (None, 1), "float32"),
        ("output2", (None, 4), "float32"),
    ]
    with pytest.raises(ConfigError, match="2 outputs are named"):
        engine_of(lambda own, x: x, outputs=("one", "two"))
    with pytest.raises(ConfigError, match="returns a int"):
        engine_of(lambda own, x: 7)


def test_free_axes_are_tried_until_lengths_fit(engine_of: Callable[..., Engine]) -> None:
    image = ArraySpec("image", (None, 3, None, None), np.dtype(np.float32))
    engine = engine_of(lambda own, x: torch.nn.functional.avg_pool2d(x, 32).flatten(2), image)
    assert engine.outputs[0].shape == (None, 3, None)
    assert engine.infer({"image": np.ones((1, 3, 96, 64), np.float32)})["y"].shape == (1, 3, 6)


def test_outputs_that_lie_in_inputs_or_weights_are_copies(engine_of: Callable[..., Engine]) -> None:
    engine = engine_of(lambda own, x: (x[:, 1:], own.weight.expand(2, 4)[0]), outputs=("tail", "weight"))
    joints = np.ones((2, 4), np.float32)
    outputs = engine.infer({"joints": joints})
    joints[:] = 9
    outputs["weight"][:] = 5
    assert outputs["tail"].tolist() == [[1, 1, 1]] * 2
    assert engine.infer({"joints": joints})["weight"].tolist() == [2, 2, 2, 2]


def test_a_network_that_writes_to_its_inputs_writes_to_copies(engine_of: Callable[..., Engine]) -> None:
    engine = engine_of(lambda own, x: x.mul_(3) + own.weight)
    joints = np.ones((1, 4), np.float32)
    for _ in range(2):
        assert engine.infer({"joints": joints})["y"].tolist() == [[5, 5, 5, 5]]
        assert joints.tolist() == [[1, 1, 1, 1]]


@pytest.mark.usefixtures("staged")
def test_the_way_of_a_gpu_says_where_the_time_went(files: dict[str, Path]) -> None:
    engine = load(str(files[".pt"]))
    for batch in (1, 2, 3, 4, 5, 6, 1):  # more shapes than are kept
        outputs = engine.infer(arrays(batch))
        np.testing.assert_allclose(outputs["action"], expected(arrays(batch))["action"], atol=1e-5)
    assert [*engine.parts_ns] == ["host_to_device", "compute", "device_to_host"]
    assert all(spec.owned is False for spec in engine.outputs)
    first = engine.infer(arrays(1))["action"]
    assert np.shares_memory(first, engine.infer(arrays(1, seed=1))["action"])
    engine.close()


def out_of_memory_over(most: int) -> Callable[[Any, Any], Any]:
    def forward(own: Any, x: Any) -> Any:
        if len(x) > most or bool((x == -1).any()):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return x * own.weight

    return forward


def test_a_batch_without_room_is_run_in_parts(engine_of: Callable[..., Engine]) -> None:
    engine = engine_of(out_of_memory_over(2))
    joints = np.arange(28, dtype=np.float32).reshape(7, 4)
    for batch in (7, 7, 1, 5):
        np.testing.assert_array_equal(engine.infer({"joints": joints[:batch]})["y"], joints[:batch] * 2)


@pytest.mark.usefixtures("staged")
def test_a_batch_in_parts_keeps_all_of_them(engine_of: Callable[..., Engine]) -> None:
    engine = engine_of(out_of_memory_over(2))
    joints = np.arange(28, dtype=np.float32).reshape(7, 4)
    np.testing.assert_array_equal(engine.infer({"joints": joints})["y"], joints * 2)
    assert [*engine.parts_ns] == ["host_to_device", "compute", "device_to_host"]


def test_no_room_for_one_is_an_error_and_the_engine_goes_on(engine_of: Callable[..., Engine]) -> None:
    engine = engine_of(out_of_memory_over(2))
    with pytest.raises(EngineError, match="'own' does not fit into cpu; set precision: fp16, a smaller batch"):
        engine.infer({"joints": np.full((1, 4), -1, np.float32)})
    assert engine.infer({"joints": np.ones((1, 4), np.float32)})["y"].tolist() == [[2, 2, 2, 2]]
    with pytest.raises(ConfigError, match="'own' does not fit into cpu"):
        engine_of(out_of_memory_over(0))


def test_a_model_without_room_runs_on_the_cpu_where_the_device_is_left_open(
    engine_of: Callable[..., Engine], caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def full_at_first(own: Any, x: Any) -> Any:
        calls.append(x)
        if len(calls) == 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return x * own.weight

    engine = engine_of(full_at_first, ArraySpec("joints", (1, 4), np.dtype(np.float32)))
    assert engine.infer({"joints": np.ones((1, 4), np.float32)})["y"].tolist() == [[2, 2, 2, 2]]
    assert engine.info.device == "cpu"
    assert "'own' does not fit into cpu" in caplog.text
    assert caplog.text.rstrip().endswith("running it on the CPU")


def test_a_failure_is_an_engine_error_in_one_line_and_the_engine_goes_on(engine_of: Callable[..., Engine]) -> None:
    engine = engine_of(lambda own, x: x[:, 0] if x[0, 0] >= 0 else torch.cholesky_inverse(x) @ own.weight)
    with pytest.raises(EngineError, match="PyTorch failed on 'own': ") as caught:
        engine.infer({"joints": np.full((1, 4), -7, np.float32)})
    assert "\n" not in str(caught.value)
    assert engine.infer({"joints": np.zeros((1, 4), np.float32)})["y"].tolist() == [0]
    with pytest.raises(InputError, match="must be float32"):
        engine.infer({"joints": np.zeros((1, 5), np.float32)})


def test_each_engine_has_its_own_number_of_threads(engine_of: Callable[..., Engine]) -> None:
    seen: list[int] = []

    def forward(own: Any, x: Any) -> Any:
        seen.append(torch.get_num_threads())
        return x * own.weight

    usual = torch.get_num_threads()
    engines = [engine_of(forward, options=Options(threads=threads)) for threads in (1, 2, 0)]
    seen.clear()

    def infer() -> None:
        for engine in engines:
            engine.infer({"joints": np.ones((1, 4), np.float32)})

    infer()
    worker = threading.Thread(target=infer)
    worker.start()
    worker.join()
    assert seen == [1, 2, usual] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP tells what it goes by")
@pytest.mark.parametrize("wanted", [None, "ACTIVE"])
def test_threads_that_wait_leave_the_cores_to_others(wanted: str | None, files: dict[str, Path]) -> None:
    env = {**os.environ, "OMP_DISPLAY_ENV": "VERBOSE", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    env.pop("OMP_WAIT_POLICY", None)
    env |= {"OMP_WAIT_POLICY": wanted} if wanted else {}
    code = f"from perf_inference.engines import load; load({str(files['.torchscript'])!r}).close()"
    done = subprocess.run([sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True, check=True)
    assert ("GOMP_SPINCOUNT = '0'" in done.stderr) == (wanted is None), done.stderr  # the user's own word holds


def test_a_closed_engine_frees_its_network(monkeypatch: pytest.MonkeyPatch, files: dict[str, Path]) -> None:
    made: list[weakref.ref[Any]] = []
    build = torch_models.reacher

    def remembering(weights: Any, metadata: Any) -> Architecture:
        built = build(weights, metadata)
        made.append(weakref.ref(built.module))
        return built

    register("reacher", remembering)
    try:
        engine = load(str(files[".pt"]))
    finally:
        register("reacher", build)
    assert made[0]() is not None
    engine.close()
    gc.collect()
    assert made[0]() is None


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".safetensors", ".pt2"])
def test_a_compiled_engine_keeps_the_contract(suffix: str, files: dict[str, Path]) -> None:
    engine = load(str(files[suffix]), options=Options(compile=True))
    assert engine.info.metadata["compile"] == "yes"
    compiled: list[Any] = []
    torch._dynamo.callback_handler.register_start_callback(compiled.append)
    try:
        for batch in (1, 2, 7):  # no compilation is left for these
            np.testing.assert_allclose(
                engine.infer(arrays(batch))["action"], expected(arrays(batch))["action"], atol=1e-4
            )
    finally:
        torch._dynamo.callback_handler.remove_start_callback(compiled.append)
    assert not compiled
    engine.close()


@pytest.mark.long
def test_the_benchmark_runs_a_network_of_the_size_of_resnet_50(capsys: pytest.CaptureFixture[str]) -> None:
    from perf_inference.cli import main

    assert main(["bench", "torch", "--times", "1", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "25.6 M parameters" in printed
    assert all(row in printed for row in ("plain fp32 eager", "engine fp32", "engine bf16", "1 samples a row"))


# On a GPU

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU here")


@on_a_gpu
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("graph", [False, True])
def test_a_gpu_keeps_the_contract(graph: bool, check: Check, files: dict[str, Path]) -> None:
    options = Options(device="cuda:0", cuda_graph=graph)
    check(Subject(lambda: load(str(files[".pt"]), options=options), tolerance=1e-3))


@on_a_gpu
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_gpu_gives_the_networks_own_outputs_from_a_graph(suffix: str, files: dict[str, Path]) -> None:
    engine = load(str(files[suffix]), options=Options(device="cuda:0"))
    assert (engine.info.device, engine.info.metadata["cuda_graph"]) == ("cuda:0", "yes")
    for batch in (1, 3, 1, 2):
        outputs = engine.infer(arrays(batch))
        np.testing.assert_allclose(outputs["action"], expected(arrays(batch))["action"], atol=1e-2)
        assert [*engine.parts_ns] == ["host_to_device", "compute", "device_to_host"]
    engine.close()


@on_a_gpu
def test_what_cannot_be_captured_is_run_without_a_graph(engine_of: Callable[..., Engine]) -> None:
    engine = engine_of(lambda own, x: x * own.weight * float(x.sum() * 0 + 1), options=Options(device="cuda:0"))
    assert engine.info.metadata["cuda_graph"].startswith("no: ")
    assert engine.infer({"joints": np.ones((1, 4), np.float32)})["y"].tolist() == [[2, 2, 2, 2]]


@on_a_gpu
def test_int8_on_a_gpu_is_refused(files: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="int8 runs on a CPU; set device: cpu"):
        load(str(files[".pt"]), options=Options(device="cuda:0", precision="int8"))


# TorchScript


@pytest.mark.parametrize("dynamic", [False, True])
def test_ultralytics_exports_say_what_they_take(dynamic: bool, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(torch.nn.Conv2d(3, 6, 3, stride=32).eval(), torch.zeros(1, 3, 64, 96))
        config = {"imgsz": [64, 96], "batch": 1, "stride": 32, "names": {"0": "cup", "1": "ball"}, "task": "detect",
                  "args": {"dynamic": dynamic}}  # fmt: skip
        path = tmp_path / "yolo.torchscript"
        torch.jit.save(traced, path, _extra_files={"config.txt": json.dumps(config)})
    engine = load(str(path))
    assert engine.inputs == (ArraySpec("images", (None if dynamic else 1, 3, 64, 96), np.dtype(np.float32)),)
    assert engine.outputs[0].shape == (None if dynamic else 1, 6, 2, 3)
    assert engine.info.metadata["names"] == "{0: 'cup', 1: 'ball'}"
    assert engine.info.metadata["stride"] == "32"
    engine.close()


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({}, "does not say what its inputs are .* perf-inference build --runtime torchscript"),
        ({"metadata.json": "{}"}, "metadata.json of '.*' has no 'metadata'"),
        ({"config.txt": "7"}, "is not what Ultralytics writes"),
        ({"config.txt": '{"imgsz": [-1, 2], "names": {}}'}, "is not what Ultralytics writes"),
        ({"config.txt": '{"imgsz": 64, "names": {"0": "cup"}}'}, "does not run on cpu"),
    ],
)
def test_torchscript_without_a_word_on_its_inputs_is_refused(extra: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        load(str(torch_models.write(tmp_path / "a.torchscript", extra)))


def test_torchscript_that_would_touch_files_is_refused(tmp_path: Path) -> None:
    source = "def forward(self, joints: Tensor) -> Tensor:\n  torch.save(joints, '{}')\n  return joints * 2\n"
    card = torch_models.ModelCard("writes", "fp32", (JOINTS,), (JOINTS,), {})
    written = tmp_path / "written"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.ScriptModule()
        module.define(source.format(written))
        torch.jit.save(module, tmp_path / "writes.ts", _extra_files={"metadata.json": card.to_json()})
    with pytest.raises(ConfigError, match=r"the code in '\S+' calls save, .* allow_pickle: true if you trust"):
        load(str(tmp_path / "writes.ts"))
    assert not written.exists()
    load(str(tmp_path / "writes.ts"), options=Options(allow_pickle=True)).close()
    assert written.exists()  # the trial ran it: it really would have


def test_a_pt_file_is_taken_for_what_is_in_it(tmp_path: Path, files: dict[str, Path]) -> None:
    script, checkpoint = tmp_path / "script.pt", tmp_path / "checkpoint.ts"
    script.write_bytes(files[".torchscript"].read_bytes())
    checkpoint.write_bytes(files[".pt"].read_bytes())
    engine = load(str(script))
    assert engine.info.runtime == "torchscript"
    engine.close()
    with pytest.raises(ConfigError, match="is TorchScript, not a checkpoint; set runtime: torchscript"):
        load(str(script), "torch")
    with pytest.raises(ConfigError, match="no TorchScript; set runtime: torch for a checkpoint"):
        load(str(checkpoint))


# torch.export


def test_an_exported_program_without_a_card_tells_by_its_graph(tmp_path: Path) -> None:
    engine = load(str(torch_models.write(tmp_path / "bare.pt2", {})))
    assert engine.inputs == torch_models.INPUTS
    assert [spec.shape for spec in engine.outputs] == [(None, 2), (None,)]
    assert engine.info.name == "bare"
    wanted = expected(arrays(2))["action"]
    np.testing.assert_allclose(engine.infer(arrays(2))[engine.outputs[0].name], wanted, atol=1e-4)
    engine.close()


def test_an_exported_program_may_nest_and_name_what_it_takes(tmp_path: Path) -> None:
    class Nests(torch.nn.Module):
        def forward(self, pair: Any, *, scale: torch.Tensor) -> Any:
            return {"sum": (pair["a"] + pair["b"]) * scale, "rest": (pair["a"],)}

    tensors = [torch.ones(2, 3), torch.ones(2, 3), torch.ones(1)]
    program = torch.export.export(Nests(), ({"a": tensors[0], "b": tensors[1]},), {"scale": tensors[2]})
    torch.export.save(program, tmp_path / "nests.pt2")
    engine = load(str(tmp_path / "nests.pt2"))
    values = [np.full(spec.shape, value, spec.dtype) for spec, value in zip(engine.inputs, (1, 2, 5), strict=True)]
    outputs = engine.infer({spec.name: value for spec, value in zip(engine.inputs, values, strict=True)})
    assert [output[0, 0] for output in outputs.values()] == [15, 1]
    engine.close()


def rewritten(path: Path, to: Path, change: Callable[[str, bytes], bytes | None], add: dict[str, bytes]) -> Path:
    """Write the archive again with its files changed; a file for which `change` returns None is left out."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(to, "w") as copy:
        root = archive.namelist()[0].partition("/")[0]
        for name in archive.namelist():
            if (data := change(name.partition("/")[2], archive.read(name))) is not None:
                copy.writestr(name, data)
        for name, data in add.items():
            copy.writestr(f"{root}/{name}", data)
    return to


def in_file(wanted: str, pattern: bytes, replacement: bytes) -> Callable[[str, bytes], bytes]:
    def change(name: str, data: bytes) -> bytes:
        return re.sub(pattern, replacement, data, count=1) if name == wanted else data

    return change


def unchanged(name: str, data: bytes) -> bytes:
    return data


RELU = rb"torch\.ops\.aten\.relu\.default"
PROGRAM, WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"


@pytest.mark.parametrize(
    ("change", "add", "says"),
    [
        (in_file(PROGRAM, RELU, b"torch.os.system"), {}, "a call of torch.os.system"),
        (in_file(PROGRAM, RELU, b"torch.ops.aten.save"), {}, "a call of torch.ops.aten.save"),
        (in_file(PROGRAM, RELU, b"#own:thing"), {}, "a call of #own:thing"),
        (in_file(PROGRAM, rb'"expr_str": "[^"]*"', b'"expr_str": "open(chr(97),chr(119))"'), {}, "the expression open"),
        (in_file(PROGRAM, rb'"expr_str": "[^"]*"', b'"expr_str": "().__class__.__base__"'), {}, "the expression ()."),
        (in_file(PROGRAM, rb"Symbol\('\w+'", b"Symbol('s0'.format('x')"), {}, "the expression Symbol"),
        (in_file(PROGRAM, rb'"range_constraints": \{"\w+"', b'"range_constraints": {"exit()"'), {}, "a length that is"),
        (in_file(WEIGHTS, rb'"use_pickle": false', b'"use_pickle": true'), {}, "a pickle as '"),
        (in_file(WEIGHTS, rb'"path_name": "weight_0"', b'"path_name": "opaque_obj_0"'), {}, "a pickle as '"),
        (in_file("data/sample_inputs/model.pt", rb"(?s).*", b"cos\nabort\n(tR."), {}, "a pickle as its sample"),
        (unchanged, {"data/constants/model.pt": b"x"}, "'data/constants/model.pt'"),
        (unchanged, {"data/aotinductor/model/model.so": b"x"}, "'data/aotinductor/model/model.so'"),
    ],
)  # fmt: skip
def test_a_program_that_would_do_more_than_compute_is_refused(
    change: Callable[[str, bytes], bytes], add: dict[str, bytes], says: str, tmp_path: Path, files: dict[str, Path]
) -> None:
    path = rewritten(files[".pt2"], tmp_path / "hostile.pt2", change, add)
    with pytest.raises(ConfigError, match=f"holds {re.escape(says)}.*allow_pickle: true if you trust"):
        load(str(path))


def test_a_program_that_is_none_is_refused(tmp_path: Path, files: dict[str, Path]) -> None:
    def without(name: str, data: bytes) -> bytes | None:
        return None if name == PROGRAM else data

    for number, change in enumerate((without, in_file(PROGRAM, rb"(?s).*", b"[" * 100_000))):
        path = rewritten(files[".pt2"], tmp_path / f"{number}.pt2", change, {})
        with pytest.raises(ConfigError, match="is no exported program"):
            load(str(path))


def test_inside_the_package_torch_is_pytorch() -> None:
    from perf_inference.engines.pytorch import torch as runtime

    assert runtime.torch is torch
    assert runtime.__name__ == "perf_inference.engines.pytorch.torch"
