"""What each exporter writes is told apart, says the same object, or is refused with what decides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from perf_inference import engines
from perf_inference.bench.vision import made_outputs
from perf_inference.engines import ArraySpec, EngineInfo
from perf_inference.errors import ConfigError, EngineError
from perf_inference.tasks.vision.found import Found, Mask, corners
from perf_inference.tasks.vision.outputs.masks import images_of, pixels_of, run_lengths
from perf_inference.tasks.vision.outputs.scores import class_numbers
from perf_inference.tasks.vision.outputs.suppression import probabilistic_iou, suppress, suppress_rotated
from perf_inference.tasks.vision.task import Limits, YoloTask

F32 = np.dtype(np.float32)
NAMES = "{0: 'bolt', 1: 'nut'}"
# a nut at 320, 240 of a 640x480 image, 100x60 px: letterboxed into 640x640 at 320, 320; stretched the same, 100x80
SCORE = 0.9


class Engine:
    """The specs of a model, and the outputs that it is given."""

    def __init__(self, outputs: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None,
                 image: tuple[int | None, ...] = (1, 3, 640, 640), dtype: Any = np.float32) -> None:  # fmt: skip
        self.given = dict(outputs)
        self.inputs: tuple[ArraySpec, ...] = (ArraySpec("images", image, np.dtype(dtype)),)
        self.outputs = tuple(ArraySpec(name, array.shape, array.dtype) for name, array in outputs.items())
        self.info = EngineInfo("m", "fake", "fp32", "cpu", dict(metadata or {}))

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        return self.given

    def close(self) -> None: ...


def seen(engine: Any, image: tuple[int, int] = (480, 640), **options: Any) -> tuple[YoloTask, Found]:
    task = YoloTask(engine, limits=options.pop("limits", Limits()), **options)
    inputs, view = task.preprocess(np.zeros((*image, 3), np.uint8))
    return task, task.postprocess(engine.infer(inputs), view)


def rows(count: int, width: int, first: list[float]) -> NDArray[np.float32]:
    made = np.zeros((1, count, width), np.float32)
    made[0, 3, : len(first)] = first
    return made


def raw(extra: list[float], classes: int = 2) -> NDArray[np.float32]:
    """Return [1, 4 + classes + extra, 8400] with the one nut at anchor 5."""
    made = np.zeros((1, 4 + classes + len(extra), 8400), np.float32)
    made[0, :, 5] = [320, 320, 100, 60, *([0.0] * (classes - 1)), SCORE, *extra]
    return made


LOGIT = float(np.log(SCORE / (1 - SCORE)))
CENTRED = [0.5, 0.5, 100 / 640, 80 / 640]  # of a stretched image
CORNERS = [270.0, 290.0, 370.0, 350.0]
ULTRALYTICS = {"names": NAMES, "task": "detect", "stride": "32", "description": "Ultralytics m"}
DETECTORS: dict[str, tuple[dict[str, NDArray[Any]], dict[str, str], str]] = {
    "ultralytics": ({"output0": raw([])}, ULTRALYTICS, "ultralytics"),
    "names alone": ({"output0": raw([])}, {"names": NAMES}, "ultralytics"),
    "transposed": ({"output0": raw([]).transpose(0, 2, 1)}, {"names": NAMES}, "ultralytics"),
    "half": ({"output0": raw([]).astype(np.float16)}, ULTRALYTICS, "ultralytics"),
    "end to end": ({"output0": rows(300, 6, [*CORNERS, SCORE, 1])}, {**ULTRALYTICS, "end2end": "True"}, "end2end"),
    "nms inside": ({"output0": rows(300, 6, [*CORNERS, SCORE, 1])}, {**ULTRALYTICS, "args": "{'nms': True}"},
                   "end2end"),
    "yolov5": ({"output0": rows(25200, 7, [320, 320, 100, 60, 1.0, 0.0, SCORE])}, {"names": NAMES}, "yolov5"),
    "yolo_nas": ({"a": rows(8400, 4, CORNERS), "b": rows(8400, 2, [0, SCORE])}, {"names": NAMES}, "yolo_nas"),
    "yolo_nas nms": (
        {"num_predictions": np.array([[4]]), "pred_boxes": rows(100, 4, CORNERS),
         "pred_scores": np.eye(100, dtype=np.float32)[3:4] * SCORE,
         "pred_classes": np.ones((1, 100), np.int64)},
        {"names": NAMES}, "nms"),
    "yolo_nas flat": ({"graph2_flat_predictions": np.array([[0, *CORNERS, SCORE, 1]], np.float32)}, {"names": NAMES},
                      "nms"),
    "rt-detr of ultralytics": ({"output0": rows(300, 6, [*CENTRED, 0, SCORE])}, {**ULTRALYTICS, "end2end": "False"},
                               "rtdetr"),
    "rt-detr of transformers": ({"logits": rows(300, 2, [-9, LOGIT]), "pred_boxes": rows(300, 4, CENTRED)},
                                {"names": NAMES}, "rtdetr"),
    "rf-detr": ({"dets": rows(300, 4, CENTRED), "labels": rows(300, 2, [-9, LOGIT])}, {"names": NAMES}, "rfdetr"),
}  # fmt: skip


@pytest.mark.parametrize("name", DETECTORS)
def test_each_layout_says_the_same_box(name: str) -> None:
    outputs, metadata, layout = DETECTORS[name]
    if layout in ("rfdetr",) or "transformers" in name:
        key = "labels" if layout == "rfdetr" else "logits"
        outputs = {**outputs, key: np.where(outputs[key] == 0, np.float32(-9), outputs[key])}
    task, found = seen(Engine(outputs, metadata))
    assert (task.layout, task.kind) == (layout, "detect")
    (one,) = found
    assert (one.class_id, one.class_name) == (1, "nut")
    assert one.score == pytest.approx(SCORE, abs=1e-3)
    assert one.xyxy == pytest.approx((270, 210, 370, 270), abs=0.2)


def test_rt_detr_gets_the_size_of_the_image_that_it_sees() -> None:
    outputs = {"labels": np.ones((1, 300), np.int64), "boxes": rows(300, 4, [270, 280, 370, 360]),
               "scores": np.eye(300, dtype=np.float32)[3:4] * SCORE}  # fmt: skip
    engine = Engine(outputs, {"names": NAMES})
    engine.inputs += (ArraySpec("orig_target_sizes", (1, 2), np.dtype(np.int64)),)
    task = YoloTask(engine)
    inputs, view = task.preprocess(np.zeros((480, 640, 3), np.uint8))
    assert inputs["orig_target_sizes"].tolist() == [[640, 640]]
    (one,) = task.postprocess(outputs, view)
    assert one.xyxy == pytest.approx((270, 210, 370, 270))


@pytest.mark.parametrize("metadata", [{"task": "obb", "names": NAMES}, {"names": NAMES}])
def test_an_oriented_box(metadata: dict[str, str]) -> None:
    task, found = seen(Engine({"output0": raw([0.25])}, metadata))
    (one,) = found
    assert (task.kind, one.class_name) == ("obb", "nut")
    assert one.xywhr == pytest.approx((320, 240, 100, 60, 0.25))
    rotated = rows(300, 7, [320, 320, 100, 60, SCORE, 1, 0.25])
    _, found = seen(Engine({"output0": rotated}, {"task": "obb", "names": NAMES, "end2end": "True"}))
    assert next(iter(found)).xywhr == pytest.approx((320, 240, 100, 60, 0.25))


def test_corners_of_an_oriented_box_turn_from_x_towards_y() -> None:
    (four,) = corners(np.array([[100, 100, 40, 20, np.pi / 2]], np.float32))
    assert np.abs(four - [[90, 120], [110, 120], [110, 80], [90, 80]]).max() < 1e-4


@pytest.mark.parametrize(("shape", "depth"), [("[2, 3]", 3), ("[3, 2]", 2)])
def test_keypoints_come_in_the_cameras_pixels(shape: str, depth: int) -> None:
    extra = [320.0, 330.0, 0.8, 10.0, 20.0, 0.4] if depth == 3 else [320.0, 330.0, 10.0, 20.0, 640.0, 640.0]
    metadata = {"task": "pose", "names": NAMES, "kpt_shape": shape}
    for outputs in (raw(extra), rows(300, 12, [*CORNERS, SCORE, 1, *extra])):
        end2end = {"end2end": str(outputs.shape[2] == 12)}
        _, found = seen(Engine({"output0": outputs}, {**metadata, **end2end}))
        (one,) = found
        assert one.keypoints is not None
        assert one.keypoints[:2, :2].tolist() == [[320, 250], [10, 0]]  # cut at the edge of the image
        assert one.keypoints[:, 2].tolist() == pytest.approx([0.8, 0.4] if depth == 3 else [1, 1, 1])


def test_a_mask_is_drawn_in_the_cameras_pixels() -> None:
    prototypes = np.full((1, 32, 160, 160), -1.0, np.float32)
    prototypes[0, :, 75:85, 70:100] = 1.0  # model px 280..400 x 300..340: camera 280..400 x 220..260
    outputs = {"output0": raw([1.0] + [0.0] * 31), "output1": prototypes}
    _, found = seen(Engine(outputs, {"task": "segment", "names": NAMES}))
    (one,) = found
    assert one.mask is not None
    whole = pixels_of(run_lengths(one.mask, 640, 480))
    ys, xs = np.nonzero(whole)
    assert whole.shape == (480, 640)
    assert (xs.min(), ys.min(), xs.max(), ys.max()) == pytest.approx((280, 220, 369, 259), abs=1)  # box ends at 370
    kinds, which = images_of(found.masks, found.class_ids, 640, 480)
    assert (kinds[240, 320], which[240, 320], kinds[0, 0], which[0, 0]) == (1, 1, 255, 0)
    empty = {**outputs, "output1": np.full_like(prototypes, -1.0)}
    assert len(seen(Engine(empty, {"task": "segment", "names": NAMES}))[1]) == 0


def test_run_lengths_are_those_of_coco() -> None:
    # 5 high, 4 wide, a 2x2 block at column 1, row 1: down the columns 6 not, 2, 3 not, 2, 7 not; the 4th less the 2nd
    block = np.ones((2, 2), np.bool_)
    assert run_lengths(Mask(1, 1, block), 4, 5) == {"size": [5, 4], "counts": "62304"}
    assert (
        run_lengths(Mask(0, 0, np.ones((40, 40), np.bool_)), 40, 40)["counts"] == "0Pb1"
    )  # 0, then 1600 = 0 + 18 * 32 + 1 * 1024
    rng = np.random.default_rng(0)
    for _ in range(100):
        height, width = rng.integers(1, 40, 2)
        pixels = rng.random((height, width)) < rng.random()
        runs = run_lengths(Mask(0, 0, pixels), int(width), int(height))
        assert np.array_equal(pixels_of(runs), pixels)


def test_a_classifier_tells_its_best_classes_whatever_their_score() -> None:
    scores = np.array([[0.1, 0.6, 0.05, 0.25]], np.float32)
    metadata = {"task": "classify", "names": "{0: 'a', 1: 'b', 2: 'c', 3: 'd'}", "stride": "1"}
    engine = Engine({"output0": scores}, metadata, (1, 3, 224, 224))
    task, found = seen(engine, limits=Limits(confidence=0.9, top=3))
    assert task.block.fit == "crop"
    assert [(one.class_name, round(one.score, 3)) for one in found] == [("b", 0.6), ("d", 0.25), ("a", 0.1)]
    logits = Engine({"output0": np.log(scores) + 2}, metadata, (1, 3, 224, 224))
    assert [round(one.score, 3) for one in seen(logits, limits=Limits(top=2))[1]] == [0.6, 0.25]


@pytest.mark.parametrize(
    ("outputs", "metadata", "said"),
    [
        (
            {"o": raw([0.25])},
            {},
            r"o \[1, 7, 8400\] has neither a task nor names .* boxes of 3 classes, oriented boxes of 2",
        ),
        ({"o": raw([])}, {"task": "depth"}, "its task is 'depth'"),
        ({"o": raw([])}, {"names": "{0: 'a', 1: 'b', 2: 'c'}", "task": "detect"}, "class_names must have 2 names"),
        ({"o": raw([1.0] * 6)}, {"names": NAMES}, "6 numbers of keypoints in a row, of two or of three each"),
        ({"o": np.zeros((1, 300, 6), np.float32)}, {"names": NAMES}, "found objects .end2end. or a DETR's queries"),
        ({"o": np.zeros((1, 1000), np.float32)}, {}, "nothing tells how 'm' wants its images"),
        (
            {"logits": np.zeros((1, 100, 92), np.float32), "pred_boxes": np.zeros((1, 100, 4), np.float32)},
            {},
            "softmax",
        ),
        ({"o": np.zeros((1, 4, 5, 5), np.float32)}, {}, "no outputs of a classifier or detector"),
    ],
    ids=range(8),
)
def test_what_may_be_several_things_is_refused(outputs: Any, metadata: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        YoloTask(Engine(outputs, metadata))


def test_what_the_user_says_decides() -> None:
    assert seen(Engine({"o": raw([0.25])}), kind="obb")[0].kind == "obb"
    end2end = {"o": rows(300, 6, [*CORNERS, SCORE, 1])}
    assert len(seen(Engine(end2end, {"names": NAMES}), layout="end2end")[1]) == 1
    classifier = Engine({"o": np.ones((1, 10), np.float32)}, {}, (1, 3, 32, 32))
    assert YoloTask(classifier, image={"fit": "stretch", "scale": 1.0}).block.scale == 1.0


def test_candidates_that_are_not_finite_are_counted() -> None:
    outputs = raw([])
    outputs[0, 2, 7], outputs[0, 5, 7] = np.inf, 0.5
    outputs[0, 5, 8] = np.nan
    _, found = seen(Engine({"o": outputs}, {"names": NAMES}))
    assert (len(found), found.not_finite) == (1, 2)
    outputs[0, 4:] = np.nan
    with pytest.raises(EngineError, match="no score that is finite"):
        seen(Engine({"o": outputs}, {"names": NAMES}))
    with pytest.raises(EngineError, match=r"a score of 1\.63, and scores are from 0 to 1"):
        seen(Engine({"o": np.where(raw([]) == np.float32(SCORE), np.float32(1.63), raw([]))}, {"names": NAMES}))


@pytest.mark.parametrize(("image", "batch"), [((None, 3, None, None), 1), ((4, 3, 640, 640), 4), ((1, 3, 480, 640), 1)])
def test_free_sizes_and_batches(image: tuple[int | None, ...], batch: int) -> None:
    cells = 8400 if image[2] == 640 else 6300  # of 640x480, the least rectangle
    outputs = np.zeros((batch, 6, cells), np.float32)
    outputs[0, :, 5] = [320, 320 if image[2] == 640 else 240, 100, 60, 0, SCORE]
    engine = Engine({"o": outputs}, {"names": NAMES, "task": "detect"}, image)
    task = YoloTask(engine)
    inputs, view = task.preprocess(np.zeros((480, 640, 3), np.uint8))
    assert inputs["images"].shape == (batch, 3, *((640, 640) if image[2] == 640 else (480, 640)))
    (one,) = task.found(engine.infer(inputs), view, Limits())
    assert one.xyxy == pytest.approx((270, 210, 370, 270))


def test_the_limits_hold_between_two_images() -> None:
    outputs = raw([])
    outputs[0, :, 9] = [100, 150, 10, 30, 0.5, 0]
    engine = Engine({"o": outputs}, {"names": NAMES})
    task, found = seen(engine)
    assert [one.class_name for one in found] == ["nut", "bolt"]
    for limits, left in (
        (Limits(classes=task.class_numbers(["bolt"])), ["bolt"]),
        (Limits(min_size_px=20), ["nut"]),
        (Limits(max_detections=1), ["nut"]),
        (Limits(confidence=0.5), ["nut"]),  # scores are strictly above it
    ):
        assert [one.class_name for one in seen(engine, limits=limits)[1]] == left
    part = seen(engine, limits=Limits(roi=(100, 50, 320, 240)))[1]  # at twice the size: 320, 320 is its middle
    assert next(iter(part)).xyxy == pytest.approx((260 - 25, 170 - 15, 260 + 25, 170 + 15))
    with pytest.raises(ConfigError, match="classes must be names or numbers of the model's classes, got 'screw'"):
        task.class_numbers(["screw"])


@pytest.mark.slow
def test_many_boxes_are_suppressed_as_few_are() -> None:
    rng = np.random.default_rng(0)
    low = rng.random((600, 2)) * 300
    boxes = np.concatenate([low, low + rng.random((600, 2)) * 90 - 2], axis=1).astype(np.float32)
    scores, classes = rng.random(600).astype(np.float32), rng.integers(0, 3, 600)
    order = np.argsort(-scores)
    kept: list[int] = []
    for i in order:  # the definition, one by one
        for j in kept:
            if classes[i] == classes[j]:
                a, b = boxes[i].astype(float), boxes[j].astype(float)
                common = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
                solid = (a[2:] > a[:2]).all() and (b[2:] > b[:2]).all()
                if solid and common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common) > 0.45:
                    break
        else:
            kept.append(int(i))
    assert suppress(boxes, scores, classes, 0.45).tolist() == kept


def _naive(boxes: NDArray[np.float64], scores: NDArray[np.float32], iou: float) -> list[int]:
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        chosen = boxes[kept]
        high = np.minimum(boxes[i, 2:], chosen[:, 2:]) - np.maximum(boxes[i, :2], chosen[:, :2])
        common = np.prod(np.maximum(high, 0), axis=1)
        areas = np.prod(chosen[:, 2:] - chosen[:, :2], axis=1) + np.prod(boxes[i, 2:] - boxes[i, :2]) - common
        if not (common > iou * areas).any():
            kept.append(int(i))
    return kept


@pytest.mark.parametrize("spread_px", [4, 40, 4000])  # from all in one heap to all apart
@pytest.mark.parametrize("count", [301, 513, 1100])  # less than a block, a block and one, several
@pytest.mark.parametrize("along", ["both", "y"])
def test_the_same_boxes_stay_however_many_are_compared_at_once(spread_px: int, count: int, along: str) -> None:
    rng = np.random.default_rng(count + spread_px)
    corner = rng.integers(0, spread_px, (count, 2)).astype(np.float64)  # whole px: sides that touch, boxes twice
    corner[:, 0] *= along != "y"
    corner[:, 1] *= along != "x"
    boxes = np.concatenate([corner, corner + rng.integers(1, 30, (count, 2))], axis=1)
    scores = (rng.integers(1, 50, count) / 50).astype(np.float32)  # many equal ones
    for iou in (0.451234, 0.701234):  # no share of whole px
        got = suppress(boxes.astype(np.float32), scores, np.zeros(count, np.int64), iou, agnostic=True)
        assert got.tolist() == _naive(boxes, scores, iou), iou


def test_oriented_boxes_are_suppressed_by_their_probabilistic_iou() -> None:
    # two boxes of one shape, 3 px apart across their 12 px: (d^2 / 12) / (2 * 12^2 / 12) / 4 ... by hand
    boxes = np.array([[100, 100, 60, 12, 0.5], [100, 100, 60, 12, 0.5], [400, 100, 60, 12, 0.5]], np.float32)
    boxes[1, :2] += 3 * np.array([-np.sin(0.5), np.cos(0.5)], np.float32)
    distance = 9 / (2 * 144 / 12) / 4
    wanted = 1 - np.sqrt(1 - np.exp(-distance))
    assert probabilistic_iou(boxes[:1], boxes[1:2])[0] == pytest.approx(wanted, abs=1e-3)
    scores, one_class = np.array([0.5, 0.9, 0.3], np.float32), np.zeros(3, np.int64)
    assert suppress_rotated(boxes, scores, one_class, wanted - 0.02).tolist() == [1, 2]
    assert suppress_rotated(boxes, scores, one_class, wanted + 0.02).tolist() == [1, 0, 2]
    assert suppress_rotated(boxes, scores, np.array([0, 1, 0]), 0.01).tolist() == [1, 0, 2]


@pytest.mark.slow
def test_2000_mutated_outputs_are_read_or_refused() -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for turn in range(2000):
        kind = ("detect", "pose", "obb", "segment")[turn % 4]
        outputs = _small(kind, rng)
        for array in outputs.values():
            where = rng.integers(0, array.size, 20)
            array.reshape(-1)[where] = rng.choice([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.7, 1e4], 20)
        task = TASKS[kind]
        view = VIEWS[kind]
        try:
            found = task.postprocess(outputs, view)
        except EngineError:
            refused += 1
            continue
        assert np.isfinite(found.boxes).all()
        assert np.isfinite(found.scores).all()
        assert ((found.scores > 0.25) & (found.scores <= 1.01)).all()
    assert 0 < refused < 2000


def _small(kind: str, rng: Any) -> dict[str, NDArray[np.float32]]:
    extra = {"detect": 0, "pose": 6, "obb": 1, "segment": 8}[kind]
    raw_ = rng.random((1, 6 + extra, 84)) * np.array([64] * 4 + [0.6] * 2 + [30] * extra)[None, :, None]
    made = {"o": raw_.astype(np.float32)}
    if kind == "segment":
        made["p"] = rng.normal(0, 1, (1, 8, 16, 16)).astype(np.float32)
    return made


TASKS, VIEWS = {}, {}
for _kind in ("detect", "pose", "obb", "segment"):
    _engine = Engine(_small(_kind, np.random.default_rng(1)),
                     {"names": NAMES, "task": _kind, "kpt_shape": "[2, 3]"}, (1, 3, 64, 64))  # fmt: skip
    TASKS[_kind] = YoloTask(_engine, limits=Limits())
    VIEWS[_kind] = TASKS[_kind].preprocess(np.zeros((48, 64, 3), np.uint8))[1]


@pytest.mark.parametrize("name", ["end2end_300x6", "names_json", "one_inf_anchor", "rtdetr"])
def test_public_reports_give_the_box(shared_data: Path, name: str) -> None:
    engine = engines.load(str(shared_data / "faults" / "models" / f"{name}.onnx"))
    (one,) = seen(engine)[1]
    assert one.score == pytest.approx(0.9, abs=1e-3)
    assert one.xyxy is not None
    x0, y0, x1, y1 = one.xyxy
    assert ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0) == pytest.approx((320, 240, 100), abs=0.5)
    if name != "rtdetr":
        assert (one.class_name, y1 - y0) == ("nut", pytest.approx(60, abs=0.5))


def test_an_oriented_box_without_metadata_asks_for_the_kind(shared_data: Path) -> None:
    engine = engines.load(str(shared_data / "faults" / "models" / "obb_without_metadata.onnx"))
    with pytest.raises(ConfigError, match="set class_names, or kind: detect, pose, segment, obb"):
        YoloTask(engine)
    _, found = seen(engine, kind="obb", class_names=("bolt", "nut"))
    assert next(iter(found)).xywhr[:4] == pytest.approx((320, 240, 100, 60))  # type: ignore[index]


def test_the_benchmarks_objects_are_found() -> None:
    for kind, count in (("detect", 20), ("segment", 3), ("obb", 20), ("pose", 5)):
        outputs = made_outputs(kind, count)
        names = str({i: str(i) for i in range(80)})
        engine = Engine(outputs, {"task": kind, "names": names, "kpt_shape": "[17, 3]"})
        assert len(seen(engine)[1]) == count


@pytest.mark.parametrize("number", [-1.0, 0.4, 1e7, np.nan, np.inf])
def test_what_is_no_number_of_a_class_fails_the_frame(number: float) -> None:
    with pytest.raises(EngineError, match="classes that are no numbers of classes"):
        class_numbers(np.array([0.0, number], np.float32))
    assert class_numbers(np.array([0.0, 2.0], np.float16)).tolist() == [0, 2]


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_channels_last_changes_nothing_of_what_ultralytics_trained(dtype: Any) -> None:
    said = {**ULTRALYTICS, "task": "classify"}
    scores = {"output0": np.array([[0.1, 0.9]], np.float32)}
    classify = YoloTask(Engine(scores, said, (1, 64, 64, 3), dtype)).block
    assert (classify.fit, classify.colour, classify.layout) == ("crop", "rgb", "nhwc")
    detect = YoloTask(Engine({"output0": raw([])}, ULTRALYTICS, (1, 640, 640, 3), dtype)).block
    assert (detect.fit, detect.colour, detect.interpolation) == ("letterbox", "rgb", "bilinear")
    assert detect.scale == classify.scale == (1.0 if dtype is np.uint8 else 1 / 255)


def test_two_classes_of_yolov10_are_no_queries_of_a_detr() -> None:
    objects = {"output0": rows(300, 6, [*CORNERS, SCORE, 0])}
    older = {**ULTRALYTICS, "description": "Ultralytics YOLOv10n model", "version": "8.3.40"}
    task, found = seen(Engine(objects, older))
    assert task.layout == "end2end"
    assert found.class_ids.tolist() == [0]
    assert found.boxes[0].tolist() == pytest.approx([270, 210, 370, 270])
    assert YoloTask(Engine(objects, {**older, "description": "Ultralytics rtdetr-l model"})).layout == "rtdetr"
    assert YoloTask(Engine(objects, {**older, "end2end": "False"})).layout == "rtdetr"
    with pytest.raises(ConfigError, match="set layout"):
        YoloTask(Engine(objects, {**older, "description": "Ultralytics best model"}))
