"""A runtime is one row: a node, a build and a check know all about it from there."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from perf_inference import model_build
from perf_inference.engines import RUNTIMES, Options, load, runtimes
from perf_inference.engines.engine import ArraySpec, EngineInfo
from perf_inference.engines.runtimes import AS_STORED, BUILT, Runtime, register, runtime_of
from perf_inference.errors import ConfigError
from perf_inference.model_build.converters.job import Job

ROW = Runtime(
    name="gains",
    module=__name__,
    suffixes=(".gain",),
    library="numpy",
    install="pip install numpy",
    precisions={"fp32": AS_STORED, "fp16": BUILT},
    devices=("cpu",),
    made_from=("onnx",),
    made_suffix=".gain",
    converter=__name__,
    versions=("numpy",),
)


class Gain:
    """Multiplies by what stands in its file."""

    def __init__(self, path: Path) -> None:
        self._gain, _, precision = path.read_text().partition(" ")
        self.info = EngineInfo(path.stem, "gains", precision or "fp32", "cpu", {})
        self.inputs = (ArraySpec("x", (None, 2), np.float32),)
        self.outputs = (ArraySpec("y", (None, 2), np.float32),)

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        return {"y": inputs["x"] * np.float32(self._gain)}

    def close(self) -> None:
        pass


def open_engine(model: str, options: Options) -> Gain:
    return Gain(Path(model))


def in_file(precision: str) -> bool:
    return False


def convert(source: Path, target: Path, job: Job) -> None:
    target.write_text(f"3 {job.precision}")


@pytest.fixture(autouse=True)
def _row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PERF_INFERENCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    register(ROW)
    yield
    del RUNTIMES["gains"]


def test_its_files_are_its_own_and_run(tmp_path: Path) -> None:
    (tmp_path / "m.gain").write_text("2")
    model = str(tmp_path / "m.gain")
    assert runtime_of(model) is ROW
    model_build.check(model)
    engine = load(model)
    assert engine.infer({"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[2.0, 2.0]]


def test_it_is_made_of_what_its_row_says() -> None:
    engine = model_build.load("policy", "gains", Options(precision="fp16"))
    assert (engine.info.runtime, engine.info.precision) == ("gains", "fp16")
    assert engine.infer({"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[3.0, 3.0]]


def test_what_its_row_does_not_say_is_refused() -> None:
    with pytest.raises(ConfigError, match="runtime 'gains' cannot run in int8: it can do fp32, fp16"):
        model_build.check("policy", "gains", Options(precision="int8"))
    with pytest.raises(ConfigError, match="device must be one of auto, cpu for runtime 'gains', got 'cuda:0'"):
        model_build.check("policy", "gains", Options(device="cuda:0"))


def test_another_one_of_its_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="runtime 'onnx' is registered twice"):
        register(Runtime("onnx", __name__, (), "numpy", "", {}))


def test_another_package_registers_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "theirs-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: theirs\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[perf_inference.runtimes]\nnuts = theirs:ROW\nbad = no_such_module:ROW\n")
    (tmp_path / "theirs.py").write_text(
        "from perf_inference.engines.runtimes import Runtime\n"
        "ROW = Runtime('nuts', 'theirs', ('.nut',), 'numpy', 'pip install theirs', {})\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    runtimes.load_others.cache_clear()
    assert runtime_of("m.nut").name == "nuts"
    with pytest.raises(ConfigError, match="runtime 'bad' cannot be imported: No module named 'no_such_module'"):
        runtime_of("m.nut", "bad")
    del RUNTIMES["nuts"]
    runtimes._broken.clear()
    runtimes.load_others.cache_clear()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No module named 'of_mine'"),
        ("import no_library_of_it", "No module named 'no_library_of_it'"),
        ("raise RuntimeError('needs\\ntwo lines')", "needs"),
        ("raise SystemExit(3)", "3"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, why: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    if content is not None:
        (tmp_path / "of_mine.py").write_text(content)
    (tmp_path / "m.lost").write_text("2")
    register(replace(ROW, name="lost", module="of_mine", suffixes=(".lost",)))
    try:
        with pytest.raises(ConfigError) as raised:
            load(str(tmp_path / "m.lost"))
    finally:
        del RUNTIMES["lost"]
    said = str(raised.value)
    assert said.startswith("runtime 'lost' needs its module 'of_mine', which cannot be imported: ")
    assert why in said
    assert "\n" not in said
