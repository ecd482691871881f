"""wav2vec2 from a folder against transformers: texts and classes, one by one, batched, and exported to ONNX."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from support import hf_sound  # noqa: E402

from perf_inference import model_build  # noqa: E402
from perf_inference.engines import Options  # noqa: E402
from perf_inference.errors import ConfigError  # noqa: E402
from perf_inference.tasks.audio.sound_file import read_sound  # noqa: E402
from perf_inference.tasks.audio.task import AudioTask, Heard, chunks_of  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sound")
    return {kind: hf_sound.wav2vec2(root / kind, kind) for kind in ("ctc", "classification")}


@pytest.fixture(scope="module")
def chunks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[float]]:
    file = hf_sound.wav(tmp_path_factory.mktemp("wav") / "ten.wav", hf_sound.tone(10))
    return chunks_of(read_sound(file), 1.0, 1.0)


def _heard(folder: Path, chunks: Any, batch: int = 1, runtime: str = "auto", precision: str = "auto") -> list[Heard]:
    engine = model_build.load(str(folder), runtime, Options(precision=precision))
    try:
        return AudioTask(engine).heard(*chunks, batch)
    finally:
        engine.close()


def test_texts_are_those_of_transformers(folders: dict[str, Path], chunks: Any) -> None:
    found = _heard(folders["ctc"], chunks)
    model = transformers.AutoModelForCTC.from_pretrained(folders["ctc"])
    processor = transformers.AutoProcessor.from_pretrained(folders["ctc"])
    wanted = []
    for chunk in chunks[0]:
        values = processor(chunk, sampling_rate=16_000, return_tensors="pt").input_values
        with torch.no_grad():
            logits = model(values).logits
        wanted.append(re.sub("</?s>|<unk>", "", processor.batch_decode(logits.argmax(-1))[0]).strip())
    assert [one.text for one in found] == wanted
    assert len(set(wanted)) > 3  # they follow the sound
    assert [one.start_s for one in found] == [float(n) for n in range(10)]


def test_classes_are_those_of_transformers(folders: dict[str, Path], chunks: Any) -> None:
    found = _heard(folders["classification"], chunks)
    model = transformers.AutoModelForAudioClassification.from_pretrained(folders["classification"])
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folders["classification"])
    for chunk, one in zip(chunks[0], found, strict=True):
        values = extractor(chunk, sampling_rate=16_000, return_tensors="pt").input_values
        with torch.no_grad():
            odds = model(values).logits[0].softmax(0)
        assert one.class_name == model.config.id2label[int(odds.argmax())]
        assert one.score == pytest.approx(float(odds.max()), abs=1e-4)


@pytest.mark.parametrize("kind", ["ctc", "classification"])
def test_batched_and_exported_hear_the_same(folders: dict[str, Path], chunks: Any, kind: str) -> None:
    one_by_one = _heard(folders[kind], chunks)
    said = [(one.text, one.class_name) for one in one_by_one]
    for runtime in ("auto", "onnx"):
        for batch in (1, 10, 4):
            found = _heard(folders[kind], chunks, batch, runtime)
            assert [(one.text, one.class_name) for one in found] == said, (runtime, batch)
            for a, b in zip(found, one_by_one, strict=True):
                np.testing.assert_allclose(a.logits, b.logits, atol=2e-3)


@pytest.mark.parametrize(
    ("runtime", "precision"), [("auto", "int8"), ("auto", "bf16"), ("onnx", "fp16"), ("onnx", "int8")]
)
def test_other_precisions_run(folders: dict[str, Path], chunks: Any, runtime: str, precision: str) -> None:
    assert len(_heard(folders["ctc"], chunks, 10, runtime, precision)) == 10


def test_the_ratio_of_batched_to_one_by_one_is_printed(folders: dict[str, Path], chunks: Any) -> None:
    engine = model_build.load(str(folders["ctc"]))
    task, took = AudioTask(engine), {1: [], 10: []}  # type: ignore[var-annotated]
    for _ in range(5):
        for batch, times in took.items():
            begin = time.monotonic_ns()
            task.heard(*chunks, batch)
            times.append(time.monotonic_ns() - begin)
    engine.close()
    one, ten = (float(np.median(times)) / 1e6 for times in took.values())
    print(f"\n10 chunks of 1 s: one by one {one:.1f} ms, batched {ten:.1f} ms, {one / ten:.2f} times faster")


def test_a_captioner_is_not_taken_for_sound(folders: dict[str, Path], tmp_path: Path) -> None:
    (folders["ctc"] / "vocab.json").read_text()
    copy = tmp_path / "ctc"
    copy.mkdir()
    for file in folders["ctc"].iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "vocab.json").unlink()
    with pytest.raises(ConfigError, match=r"vocab\.json"):
        model_build.load(str(copy))
