"""`perf-inference predict`: JSON in the order of the inputs, drawn images, and a status that says what was not read."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper
from support.onnx_models import save

from perf_inference import cli
from perf_inference.demo.scenes import Item, Scene, render
from perf_inference.errors import InputError
from perf_inference.recording.image_message import IMAGE, read_recorded_image

SCENE = Scene((Item("circle", "red", 200, 240, 48.0), Item("square", "blue", 460, 250, 37.0)), seed=5)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    cv2.imwrite(str(folder / "10.png"), render(SCENE))
    cv2.imwrite(str(folder / "2.jpg"), np.full((60, 80, 3), 90, np.uint8))
    return folder


def predicted(tmp_path: Path, *arguments: Any, model: str = "detector") -> tuple[int, Any]:
    out = tmp_path / "out.json"
    status = cli.main(["predict", model, *map(str, arguments), "--json", str(out), "--threads", "1"])
    return status, json.loads(out.read_text()) if out.exists() else None


def test_a_folder_in_the_order_of_its_names(tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = predicted(tmp_path, images, "--agnostic", "--save", tmp_path / "drawn")
    assert status == 0
    assert [Path(one["image"]).name for one in said] == ["2.jpg", "10.png"]
    assert (said[1]["kind"], said[1]["width"], said[1]["height"]) == ("detect", 640, 480)
    found = {one["class_name"]: one for one in said[1]["instances"]}
    assert set(found) == {"red circle", "blue square"}
    assert found["red circle"]["xyxy"] == pytest.approx(SCENE.items[0].box(), abs=8)
    assert [one["score"] for one in said[1]["instances"]] == sorted((d["score"] for d in found.values()), reverse=True)
    drawn = cv2.imread(str(tmp_path / "drawn" / "10.png"))
    assert drawn.shape == (480, 640, 3)
    assert np.abs(drawn.astype(int) - render(SCENE)).max() > 50
    printed = capsys.readouterr().out
    assert "10.png: 640x480 detect: " in printed
    assert "postprocess" in printed


def test_what_cannot_be_read_is_said_and_the_others_go_on(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "notes.txt").write_text("no image")
    status, said = predicted(tmp_path, images / "notes.txt", images / "10.png", tmp_path / "nowhere.png")
    assert status == 3
    assert [Path(one["image"]).name for one in said] == ["10.png"]
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "notes.txt must be JPEG, PNG or BMP" in errors[0]
    assert "there is nothing at" in errors[1]
    assert predicted(tmp_path, tmp_path / "nowhere.png") == (1, [])


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--classes", "42"], 78, "classes must be names or numbers of the model's classes, got '42'"),
        (["--image", "fit"], 78, "--image must be KEY=VALUE"),
        (["--image", "colour=pink"], 78, "image.colour must be one of rgb, bgr"),
        (["--names", "nowhere.yaml"], 78, "the file of class names 'nowhere.yaml' cannot be read"),
        (["--kind", "obb"], 78, "class_names must have 23 names"),
        (["--confidence", "2"], 2, "must be a number from 0 to 1, got '2'"),
        (["--top", "0"], 2, "must be a whole number above 0"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_wrong_options_are_named(
    images: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str
) -> None:
    with pytest.raises(SystemExit) if status == 2 else nullcontext():
        assert cli.main(["predict", "detector", str(images / "10.png"), *arguments]) == status
    assert said in capsys.readouterr().err


def test_names_thresholds_and_classes(tmp_path: Path, images: Path) -> None:
    names = tmp_path / "names.yaml"
    names.write_text("names:\n" + "".join(f"  {i}: thing {i}\n" for i in range(24)))
    _, said = predicted(tmp_path, images / "10.png", "--names", names, "--confidence", "0.5")
    numbers = {one["class_id"] for one in said[0]["instances"]}
    assert {one["class_name"] for one in said[0]["instances"]} == {f"thing {number}" for number in numbers}
    _, said = predicted(tmp_path, images / "10.png", "--classes", "red circle", "--max-detections", "1")
    assert [one["class_name"] for one in said[0]["instances"]] == ["red circle"]


def test_the_standard_output_has_the_json_alone(images: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert cli.main(["predict", "captioner", str(images / "10.png"), "--json", "-"]) == 0
    (said,) = json.loads(capfdbinary.readouterr().out)
    assert (said["kind"], said["caption"]) == ("caption", "a red circle left of a blue square")
    assert len(said["tokens"]) == len(said["scores"]) == 8


def test_a_classifier_of_no_known_origin_runs_once_its_images_are_described(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)]
    model = save(tmp_path / "means.onnx", nodes, [value("x", TensorProto.FLOAT, [1, 3, 8, 8])],
                 [value("y", TensorProto.FLOAT, [1, 3])], {}, {})  # fmt: skip
    assert cli.main(["predict", str(model), str(images / "2.jpg")]) == 78
    assert "nothing tells how 'means' wants its images" in capsys.readouterr().err
    status, said = predicted(tmp_path, images / "2.jpg", "--image", "fit=crop", "--image", "scale=0.00392157",
                             "--names", "red,green,blue", "--top", "2", model=str(model))  # fmt: skip
    assert status == 0
    assert len(said[0]["instances"]) == 2
    assert said[0]["instances"][0]["score"] == pytest.approx(90 / 255, abs=0.01)


def test_a_video_is_read_frame_by_frame(tmp_path: Path) -> None:
    file = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (320, 240))
    if not writer.isOpened():
        pytest.skip("OpenCV writes no AVI here")
    for _ in range(3):
        writer.write(cv2.resize(render(SCENE), (320, 240)))
    writer.release()
    status, said = predicted(tmp_path, file, "--save", tmp_path / "drawn", "--agnostic")
    assert status == 0
    assert [one["frame"] for one in said] == [0, 1, 2]
    assert {d["class_name"] for d in said[2]["instances"]} == {"red circle", "blue square"}
    assert (tmp_path / "drawn" / "clip.avi").stat().st_size > 1000
    file.write_bytes(b"RIFF")
    assert predicted(tmp_path, file)[0] == 1


def test_an_image_of_a_recording_is_read_without_ros() -> None:
    cdr = b"\0\1\0\0" + (7).to_bytes(4, "little") + (8).to_bytes(4, "little")
    cdr += (4).to_bytes(4, "little") + b"cam\0" + (1).to_bytes(4, "little") + (2).to_bytes(4, "little")
    cdr += (5).to_bytes(4, "little") + b"bgr8\0" + b"\0\0\0"[:0] + b"\0" + b"\0\0" + (6).to_bytes(4, "little")
    cdr += (6).to_bytes(4, "little") + bytes(range(6))
    read = read_recorded_image(cdr, IMAGE)
    assert (read.stamp_ns, read.frame_id, read.height, read.width, read.encoding, read.step) == (
        7_000_000_008, "cam", 1, 2, "bgr8", 6
    )  # fmt: skip
    assert bytes(read.data) == bytes(range(6))
    for end in range(len(cdr)):
        with pytest.raises(InputError, match="ends within its fields"):
            read_recorded_image(cdr[:end], IMAGE)
