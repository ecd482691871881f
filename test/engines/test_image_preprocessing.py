"""Images prepared in the model's graph: the same pixels as on the host, and boxes in the camera's."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from support.cases import sampled
from support.onnx_models import save

from perf_inference import cli, engines
from perf_inference.demo.scenes import random_scene, render
from perf_inference.engines.image_preprocessing import PICTURE, ImageFit, fit_in_graph
from perf_inference.errors import ConfigError, InputError
from perf_inference.model_build.converters.image_input import area_means, fuse
from perf_inference.model_build.converters.openvino import write
from perf_inference.tasks.front import front_of
from perf_inference.tasks.language.caption import CaptionTask
from perf_inference.tasks.policy.policy_task import Observation, PolicyTask
from perf_inference.tasks.vision.image import ImageInput, front_of_block
from perf_inference.tasks.vision.image_block import ImageBlock
from perf_inference.tasks.vision.placement import Placement
from perf_inference.tasks.vision.task import YoloTask

STRETCHED = ImageBlock(colour="bgr", interpolation="area")
ULTRALYTICS = ImageBlock(fit="letterbox", scale=1 / 255)
YOLOX = ImageBlock(fit="letterbox_top_left", colour="bgr")
IMAGENET = ImageBlock(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="area")
STRETCH = front_of_block(STRETCHED)


def scene(width_px: int, height_px: int, shift_px: int = 0) -> NDArray[np.uint8]:
    """Return soft shapes of all colours with some noise, as a camera gives them."""
    y, x = np.mgrid[0:height_px, 0:width_px] / height_px * 20 + shift_px
    soft = np.stack([np.sin(x) + np.cos(y), np.sin(2 * x + y), np.cos(x * y / 9)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 4, (height_px, width_px, 3))
    return np.clip(soft * 60 + 128 + noise, 0, 255).astype(np.uint8)


def echo(path: Path, shape: tuple[Any, ...], kind: int = TensorProto.FLOAT, opset: int = 17) -> Path:
    """Write a model that gives back its image."""
    inputs = [helper.make_tensor_value_info("images", kind, shape)]
    outputs = [helper.make_tensor_value_info("echo", kind, shape)]
    save(path, [helper.make_node("Identity", ["images"], ["echo"])], inputs, outputs, {}, {"who": "echo"})
    model = onnx.load(path)
    model.opset_import[0].version = opset
    onnx.save(model, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
@pytest.mark.parametrize(
    "block", [STRETCHED, ULTRALYTICS, YOLOX, IMAGENET], ids=["stretch", "ultralytics", "yolox", "imagenet"]
)
@pytest.mark.parametrize(
    "size",
    [(320, 240), (427, 240), (100, 75), (64, 64)],
    ids=lambda size: f"{size[0]}x{size[1]}",
)
def test_the_graph_prepares_images_as_the_host_does(
    tmp_path: Path, size: tuple[int, int], block: ImageBlock, runtime: str
) -> None:
    fuse(echo(tmp_path / "echo.onnx", ("n", 3, 64, 64)), tmp_path / "fused.onnx", *size, front_of_block(block))
    plain, fused = (engines.load(str(tmp_path / f"{name}.onnx"), runtime) for name in ("echo", "fused"))
    assert (fused.inputs[0].name, fused.inputs[0].shape) == ("images", (1, size[1], size[0], 3))
    assert fused.info.metadata["who"] == "echo"
    image, wanted = scene(*size), []
    for engine in (plain, fused):
        into = ImageInput(engine.inputs[0], block, engine.info.metadata)
        array, placement = into.prepared(image)
        levels = max(block.factors()[0])
        wanted.append((engine.infer({"images": array})["echo"] / levels, placement, (into.width_px, into.height_px)))
    (host, *host_says), (graph, *graph_says) = wanted
    assert graph_says == host_says
    # the host rounds to whole levels, twice when it shrinks in two steps
    assert np.abs(host - graph).max() < 1.6
    assert np.abs(host - graph).mean() < 0.5


def test_averaging_by_area_is_opencvs() -> None:
    image = np.random.default_rng(0).random((75, 101, 3)).astype(np.float32)
    wanted = cv2.resize(image, (40, 31), interpolation=cv2.INTER_AREA)
    have = np.einsum("hy,yxc,wx->hwc", area_means(75, 31), image, area_means(101, 40))
    np.testing.assert_allclose(have, wanted, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image", "size", "runtime"),
    sampled(
        [
            ("dog", None, "onnx"),
            ("person", None, "openvino"),
            ("dog", (1920, 1080), "openvino"),
            ("person", (853, 480), "onnx"),
        ]
    ),
)
def test_a_real_yolox_finds_the_same_in_the_cameras_image(
    shared_data: Path, tmp_path: Path, image: str, size: tuple[int, int] | None, runtime: str
) -> None:
    source = shared_data / "vision" / "yolox_nano_coco.onnx"
    frame = cv2.imread(str(shared_data / "vision" / f"{image}.jpg"))
    if size:
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    height, width = frame.shape[:2]
    fuse(source, tmp_path / "fused.onnx", width, height, front_of(engines.load(str(source))))
    found = []
    for model in (str(source), str(tmp_path / "fused.onnx")):
        engine = engines.load(model, runtime)
        task = YoloTask(engine)
        assert task.layout == "yolox"
        inputs, placement = task.preprocess(frame)
        found.append({d.class_name: d for d in task.postprocess(engine.infer(inputs), placement)})
    host, graph = found
    assert len(graph) >= 3
    assert set(graph) == set(host)
    for name, wanted in host.items():
        have = graph[name]
        assert have.score == pytest.approx(wanted.score, abs=0.01)
        most = max(2.5, 0.05 * (wanted.xyxy[2] - wanted.xyxy[0]))  # a level more or less moves weak boxes
        assert have.xyxy == pytest.approx(wanted.xyxy, abs=most)


def test_the_embedded_models_take_the_cameras_image_too(tmp_path: Path) -> None:
    def engine_of(name: str, path: Path | None = None) -> Any:
        return engines.load(str(path or name))

    frame, said = scene(640, 480), []
    for path in (None, tmp_path / "captioner.onnx"):
        task = CaptionTask(engine_of("captioner", path))
        fuse(engines.MODELS / "captioner.onnx", tmp_path / "captioner.onnx", 640, 480, front_of(engine_of("captioner")))
        inputs, placement = task.preprocess(frame)
        said.append(task.postprocess(engine_of("captioner", path).infer(inputs), placement))
    assert said[0].text == said[1].text != ""
    actions = []
    for path in (None, tmp_path / "policy.onnx"):
        policy = PolicyTask(engine_of("policy", path), ("a", "b"))
        fuse(engines.MODELS / "policy.onnx", tmp_path / "policy.onnx", 640, 480, front_of(engine_of("policy")))
        blank = policy.blank()
        observation = Observation(blank.force, blank.joints, frame, 1, 1, 1)
        arrays, context = policy.preprocess(observation)
        actions.append(policy.postprocess(engine_of("policy", path).infer(arrays), context).values)
    np.testing.assert_allclose(*actions, atol=0.02)


def test_converted_models_keep_it(tmp_path: Path) -> None:
    fuse(echo(tmp_path / "echo.onnx", (1, 3, 64, 64)), tmp_path / "fused.onnx", 320, 200, front_of_block(ULTRALYTICS))
    write(tmp_path / "fused.onnx", tmp_path / "fused.xml", "fp32")
    engine = engines.load(str(tmp_path / "fused.xml"))
    fit = fit_in_graph(engine.info.metadata, "images")
    assert fit == ImageFit(320, 200, 64, 64, 64, 40, 0, 12)
    assert Placement.of(fit) == Placement(0.2, 0.2, 0, 12, 320, 200)
    assert fit_in_graph(engine.info.metadata, "another") is None
    into = ImageInput.of(engine.inputs[0], 1, 1, rgb=False, scale=1.0, metadata=engine.info.metadata)
    assert into.blank().shape == (200, 320, 3)


def test_a_image_of_another_size_is_refused_with_what_to_do(tmp_path: Path) -> None:
    fuse(echo(tmp_path / "echo.onnx", (1, 3, 64, 64)), tmp_path / "fused.onnx", 320, 200, front_of_block(ULTRALYTICS))
    engine = engines.load(str(tmp_path / "fused.onnx"))
    into = ImageInput(engine.inputs[0], ULTRALYTICS, engine.info.metadata)
    with pytest.raises(InputError, match=r"built for images of 320x200 px, got 64x48; .* --image-size 64x48, or"):
        into.prepared(scene(64, 48))


def test_names_that_the_graph_has_are_left_to_it_and_branches_follow(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    branch = helper.make_graph(
        [helper.make_node("ReduceMean", ["images"], ["one"], keepdims=0)], "then", [], [value("one", 1, [])]
    )
    other = helper.make_graph(
        [helper.make_node("ReduceMax", ["images"], ["two"], keepdims=0)], "else", [], [value("two", 1, [])]
    )
    nodes = [
        helper.make_node("ReduceMin", ["images"], ["images/cast_0"], keepdims=0),
        helper.make_node("Greater", ["images/cast_0", "zero"], ["bright"]),
        helper.make_node("If", ["bright"], ["level"], then_branch=branch, else_branch=other),
    ]
    path = save(tmp_path / "m.onnx", nodes, [value("images", 1, [1, 3, 8, 8])], [value("level", 1, [])],
                {"zero": np.float32(0)}, {})  # fmt: skip
    fuse(path, tmp_path / "fused.onnx", 8, 8, STRETCH)
    engine = engines.load(str(tmp_path / "fused.onnx"))
    grey = np.full((1, 8, 8, 3), 7, np.uint8)
    assert engine.infer({"images": grey})["level"] == 7
    grey[0, 0, 0, 0] = 0
    assert engine.infer({"images": grey})["level"] == 7  # the other branch: the highest


def test_what_cannot_be_fused_says_why(tmp_path: Path) -> None:
    good = echo(tmp_path / "good.onnx", (1, 3, 64, 64))
    fuse(good, tmp_path / "fused.onnx", 320, 200, STRETCH)
    with pytest.raises(ConfigError, match=r"it has 17 and takes a camera's; start from the exported model"):
        fuse(tmp_path / "fused.onnx", tmp_path / "no.onnx", 320, 200, STRETCH)
    with pytest.raises(ConfigError, match=r"it has 10 and does not take a camera's"):
        fuse(echo(tmp_path / "old.onnx", (1, 3, 64, 64), opset=10), tmp_path / "no.onnx", 320, 200, STRETCH)
    with pytest.raises(ConfigError, match=r"of a fixed size, it has images \[1, 3, 0, 0\] \(0 = any\); fix the size"):
        fuse(echo(tmp_path / "free.onnx", (1, 3, "h", "w")), tmp_path / "no.onnx", 320, 200, STRETCH)
    with pytest.raises(ConfigError, match=r"each below 65536, got 0x200"):
        fuse(good, tmp_path / "no.onnx", 0, 200, STRETCH)
    (tmp_path / "broken.onnx").write_bytes(good.read_bytes()[:30])
    with pytest.raises(ConfigError, match=r"broken.onnx' is no ONNX model"):
        fuse(tmp_path / "broken.onnx", tmp_path / "no.onnx", 320, 200, STRETCH)
    assert not (tmp_path / "no.onnx").exists()


FIT = ImageFit(320, 200, 64, 64, 64, 40, 0, 12)


@pytest.mark.parametrize(
    "entry",
    [
        "no JSON",
        "[]",
        "{}",
        '{"input": "images"}',
        '{"input": "images", "width_px": 1, "more": 2}',
        replace(FIT, camera_width_px=0).entry("images"),
        replace(FIT, top_px=25).entry("images"),
        replace(FIT, left_px=-1).entry("images"),
        replace(FIT, width_px=1 << 20).entry("images"),
        json.dumps({**json.loads(FIT.entry("images")), "top_px": "12"}),
        json.dumps({**json.loads(FIT.entry("images")), "top_px": 1.5}),
        '{"input": ' + "[" * 100_000,
    ],
    ids=range(12),
)
def test_metadata_that_are_no_fit_are_refused(entry: str) -> None:
    with pytest.raises(ConfigError, match="does not say how it takes images"):
        fit_in_graph({PICTURE: entry}, "images")


def test_metadata_of_another_size_than_the_input_are_refused() -> None:
    spec = engines.ArraySpec("images", (1, 240, 320, 3), np.dtype(np.uint8))
    with pytest.raises(ConfigError, match=r"must be uint8 \[1,200,320,3\] as the model's metadata say, got uint8"):
        ImageInput.of(spec, 64, 64, rgb=False, scale=1.0, metadata={PICTURE: FIT.entry("images")})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runtime", "precision", "suffix"),
    sampled([("onnx", "int8", ".onnx"), ("openvino", "auto", ".onnx"), ("openvino", "fp16", ".xml")]),
)
def test_the_command_builds_it_in_any_precision(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    runtime: str,
    precision: str,
    suffix: str,
) -> None:
    monkeypatch.setenv("PERF_INFERENCE_CACHE", str(tmp_path / "cache"))
    out = tmp_path / f"camera{suffix}"
    command = ["build", "detector", "--image-size", "640x480", "--runtime", runtime, "--precision", precision]
    assert cli.main([*command, "--out", str(out)]) == 0
    assert f"model:={out} " in capsys.readouterr().out
    engine = engines.load(str(out), runtime)
    assert engine.info.precision == ("fp32" if precision == "auto" else precision)
    assert engine.inputs[0].shape == (1, 480, 640, 3)
    drawn = render(random_scene(np.random.default_rng(3)))
    found = []
    for one in (engine, engines.load("detector")):
        task = YoloTask(one)
        inputs, placement = task.preprocess(drawn)
        found.append({d.class_name: d for d in task.postprocess(one.infer(inputs), placement)})
    assert set(found[0]) == set(found[1]) != set()
    for name, wanted in found[1].items():
        have = found[0][name]
        assert have.xyxy == pytest.approx(wanted.xyxy, abs=4)


def test_the_command_says_what_cannot_take_a_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PERF_INFERENCE_CACHE", str(tmp_path / "cache"))
    for arguments, said in (
        (["--image-size", "640x480", "--compare"], "leave --image-size out"),
        (["--image-size", "0x480"], "must be WIDTHxHEIGHT, 1920x1080, got '0x480'"),
        (["--image-size", "640x70000"], "each below 65536"),
    ):
        with pytest.raises(SystemExit) if "0x480" in arguments else nullcontext():
            assert cli.main(["build", "detector", *arguments]) != 0
        assert said in capsys.readouterr().err
