"""Detectors that other tools made: the right box and name, or a refusal; never another box."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from perf_inference import engines
from perf_inference.engines import ArraySpec, Engine, EngineInfo
from perf_inference.engines.engine import NO_PARTS
from perf_inference.errors import ConfigError, EngineError
from perf_inference.tasks.vision.found import Found
from perf_inference.tasks.vision.task import YoloTask

IMAGE = np.zeros((480, 640, 3), np.uint8)
F32 = np.dtype(np.float32)
NUT = ("nut", 0.9, 270, 210, 370, 270)  # 100x60 px round (320, 240)


def detected(engine: Engine, **options: Any) -> Found:
    task = YoloTask(engine, **options)
    inputs, placement = task.preprocess(IMAGE)
    return task.postprocess(engine.infer(inputs), placement)


def rounded(found: Found) -> list[tuple[Any, ...]]:
    return [(d.class_name, round(d.score, 2), *map(round, d.xyxy or ())) for d in found]


@pytest.fixture
def models(shared_data: Path) -> Path:
    return shared_data / "faults" / "models"


def test_names_as_json(models: Path) -> None:
    assert rounded(detected(engines.load(str(models / "names_json.onnx")))) == [NUT]


def test_an_infinite_anchor_is_left_out_and_counted(models: Path) -> None:
    engine = engines.load(str(models / "one_inf_anchor.onnx"))
    found = detected(engine)
    assert rounded(found) == [NUT]
    assert found.not_finite == 1
    task = YoloTask(engine)
    assert task.extra(found, task.preprocess(IMAGE)[1]) == {"detections": 1, "anchors_not_finite": 1}


def test_rows_that_may_be_oriented_boxes_are_not_guessed(models: Path) -> None:
    with pytest.raises(ConfigError, match=r"output0 \[1, 7, 8400\].* of 3 classes, oriented boxes of 2"):
        YoloTask(engines.load(str(models / "obb_without_metadata.onnx")))


def test_an_angle_is_no_score(models: Path) -> None:
    engine = engines.load(str(models / "obb_without_metadata.onnx"))
    with pytest.raises(EngineError, match=r"gave a score of 1\.63, and scores are from 0 to 1"):
        detected(engine, class_names=("a", "b", "c"))


@pytest.mark.parametrize("layout", ["auto", "ultralytics", "yolov5", "yolox"])
def test_found_objects_are_read_as_such_or_refused_whatever_the_layout(models: Path, layout: str) -> None:
    engine = engines.load(str(models / "end2end_300x6.onnx"))
    if layout == "auto":
        assert rounded(detected(engine)) == [NUT]
        return
    with pytest.raises(ConfigError, match=r"output0 \[1, 300, 6\]"):
        YoloTask(engine, layout)


def test_a_detr_that_is_fed_a_stretched_image(models: Path) -> None:
    # Its box is 60 px high in the 640 x 640 px that it sees, which are 45 px of an image of 640 x 480.
    (found,) = detected(engines.load(str(models / "rtdetr.onnx")))
    assert found.class_id == 0
    assert found.xyxy == pytest.approx((270, 217.5, 370, 262.5), abs=0.5)
    letterboxed = detected(engines.load(str(models / "rtdetr.onnx")), image={"fit": "letterbox"})
    assert [tuple(map(round, one.xyxy or ())) for one in letterboxed] == [(270, 210, 370, 270)]


# names in: rt_info's framework, rt_info's model_info, metadata.yaml
@pytest.mark.parametrize("kept", [(True, True, True), (True, False, False), (False, True, False), (False, False, True)])
def test_names_of_an_openvino_model(models: Path, tmp_path: Path, kept: Sequence[bool]) -> None:
    pytest.importorskip("openvino")
    folder = tmp_path / "best_openvino_model"
    shutil.copytree(models / "best_openvino_model", folder)
    (folder / "best.xml").chmod(0o644)
    framework, labels, beside = kept
    text = (folder / "best.xml").read_text()
    if not framework:
        text = text.replace("<names value", "<nothing value")
    if not labels:
        text = text.replace("<labels value", "<nothing value")
    (folder / "best.xml").write_text(text)
    if not beside:
        folder.chmod(0o755)
        (folder / "metadata.yaml").unlink()
    assert rounded(detected(engines.load(str(folder / "best.xml")))) == [NUT]


def test_a_broken_file_beside_an_openvino_model_is_said(models: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    for name in ("best.xml", "best.bin"):
        (tmp_path / name).write_bytes((models / "best_openvino_model" / name).read_bytes())
    (tmp_path / "metadata.yaml").write_text("names: {0: a\n")
    with pytest.raises(ConfigError, match=r"metadata\.yaml.* is no YAML"):
        engines.load(str(tmp_path / "best.xml"))


def test_one_based_names(models: Path, tmp_path: Path) -> None:
    model = onnx.load(str(models / "names_json.onnx"))
    onnx.helper.set_model_props(model, {"names": '{"1": "bolt", "2": "nut"}'})
    onnx.save(model, str(tmp_path / "one.onnx"))
    assert rounded(detected(engines.load(str(tmp_path / "one.onnx")))) == [NUT]


class Fake:
    """A detector that answers what it is given."""

    parts_ns = NO_PARTS

    def __init__(self, raw: np.ndarray[Any, Any], metadata: dict[str, str]) -> None:
        self._raw = raw.astype(np.float32)
        self.inputs = (ArraySpec("images", (1, 3, 64, 64), F32),)
        self.outputs = (ArraySpec("output0", raw.shape, F32),)
        self.info = EngineInfo("d", "fake", "fp32", "cpu", metadata)

    def infer(self, inputs: Any) -> Any:
        return {"output0": self._raw}

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("shape", "metadata", "what"),
    [
        ((1, 84, 84), {"task": "pose"}, "does not say how many; set keypoint_shape"),
        ((1, 38, 84), {"names": "{0: 'a', 1: 'b'}"}, "the masks' coefficients, without the output of the prototypes"),
        ((1, 6, 84), {}, "may give boxes of 2 classes, oriented boxes of 1"),
        ((1, 6, 84), {"task": "sonar"}, "says that its task is 'sonar'"),
        ((1, 6, 84), {"names": "{0: 'a', 3: 'b'}"}, "cannot be read"),
        ((1, 5, 84), {"names": "{0: 'a', 1: 'b', 2: 'c'}"}, "class_names must have"),
    ],
)
def test_what_is_ambiguous_or_of_another_kind_is_refused(
    shape: tuple[int, ...], metadata: dict[str, str], what: str
) -> None:
    with pytest.raises(ConfigError, match=what):
        YoloTask(Fake(np.zeros(shape), metadata))


@pytest.mark.parametrize(
    ("shape", "metadata", "kind", "layout"),
    [
        ((1, 6, 84), {"task": "obb", "names": "{0: 'a'}"}, "obb", "ultralytics"),
        ((1, 7, 84), {"names": "{0: 'a', 1: 'b'}"}, "obb", "ultralytics"),
        ((1, 56, 84), {"names": "{0: 'person'}"}, "pose", "ultralytics"),
        ((1, 300, 6), {"names": "{0: 'a', 1: 'b'}", "args": "{'nms': True}"}, "detect", "end2end"),
        ((1, 300, 6), {"names": "{0: 'a'}"}, "detect", "end2end"),
    ],
)
def test_kind_and_layout(shape: tuple[int, ...], metadata: dict[str, str], kind: str, layout: str) -> None:
    task = YoloTask(Fake(np.zeros(shape), metadata))
    assert (task.kind, task.layout) == (kind, layout)


def test_the_user_says_what_rows_without_names_are() -> None:
    task = YoloTask(Fake(np.zeros((1, 6, 84)), {}), layout="ultralytics")
    assert task.names == ("class_0", "class_1")
    assert "does not name its 2 classes" in task.note
    assert YoloTask(Fake(np.zeros((1, 6, 84)), {}), class_names=("a", "b")).note == ""


@pytest.mark.parametrize("score", [1.63, 255.0, -3.2])
def test_what_is_no_score_fails_the_frame(score: float) -> None:
    raw = np.zeros((1, 6, 84))
    raw[0, :, 5] = (32, 32, 16, 8, score, score)
    with pytest.raises(EngineError, match="scores are from 0 to 1"):
        detected(Fake(raw, {"names": "['a', 'b']"}))


def test_boxes_that_are_in_pixels_already_are_no_yolox() -> None:
    raw = np.zeros((1, 84, 7))
    raw[0, 5] = (32, 32, 16, 18, 0.9, 0.9, 0.1)
    with pytest.raises(EngineError, match="no logarithms, as layout yolox has them; set layout"):
        detected(Fake(raw, {"names": "['a', 'b']"}))
    assert [d.class_name for d in detected(Fake(raw, {"names": "['a', 'b']"}), layout="yolov5")] == ["a"]


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_any_number_of_an_anchor_may_not_be_finite(at: int, value: float) -> None:
    raw = np.zeros((1, 6, 84))
    raw[0, :, 5] = (32, 32, 16, 8, 0.1, 0.8)
    raw[0, :, 6] = (10, 10, 4, 4, 0.7, 0.7)
    raw[0, at, 6] = value
    found = detected(Fake(raw, {"names": "['a', 'b']"}))
    if value == -np.inf and at > 3:  # a class that it is not
        assert [d.class_name for d in found] == ["b", "b" if at == 4 else "a"]
        return
    assert [d.class_name for d in found] == ["b"]
    assert found.not_finite == 1
