"""One block says how a model wants its images, and one function makes them so."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from perf_inference.engines import ArraySpec
from perf_inference.errors import ConfigError, InputError
from perf_inference.tasks.vision.image_block import ImageBlock
from perf_inference.tasks.vision.placement import Placement, fit_of, least_rectangle
from perf_inference.tasks.vision.prepare import Preparation, prepare, prepare_into
from perf_inference.tasks.vision.resize import antialiased, area, resize

RANDOM = np.random.default_rng(0)


def noise(width_px: int, height_px: int) -> NDArray[np.uint8]:
    return RANDOM.integers(0, 256, (height_px, width_px, 3), np.uint8)


# the value ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"fit": "squeeze"}, "image.fit must be one of stretch, letterbox, letterbox_top_left, crop, got 'squeeze'"),
        ({"colour": 3}, "image.colour must be one of rgb, bgr, gray, depth, got 3"),
        ({"size": [640]}, "image.size must be \\[height, width\\]"),
        ({"size": "640x480"}, "image.size must be \\[height, width\\] in px, got '640x480'"),
        ({"size": [0, 480]}, "image.size must be \\[height, width\\], each of 1 to"),
        ({"size": [True, 480]}, "image.size must be"),
        ({"mean": [0.1, 0.2]}, "image.mean must have 3 numbers for colour rgb, or one, got \\[0.1, 0.2\\]"),
        ({"std": ["a"]}, "image.std must be a number of each channel"),
        ({"std": [1, 0, 1]}, "scale and std not 0"),
        ({"scale": float("nan")}, "must be finite"),
        ({"scale": "1/255"}, "image.scale must be a number, got '1/255'"),
        ({"dtype": "uint8", "scale": 0.5}, "image.dtype uint8 takes levels as they are"),
        ({"color": "rgb"}, "image has no key 'color'; it has size, fit, colour"),
        ({"colour": "depth", "interpolation": "pil_bilinear"}, "a depth image must have"),
    ],
    ids=str,
)
def test_what_is_not_allowed_is_named(said: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        ImageBlock.of(said)


def test_a_mapping_gives_the_block_and_the_block_the_mapping() -> None:
    said = {"size": [480, 640], "fit": "letterbox", "scale": 0.5, "mean": [1, 2, 3], "std": 2, "dtype": "float16"}
    block = ImageBlock.of(said, ImageBlock(colour="bgr"))
    assert block == ImageBlock((480, 640), "letterbox", "bgr", "nchw", "float16", 0.5, (1.0, 2.0, 3.0), (2.0,))
    assert ImageBlock.of(block.as_dict()) == block


@pytest.mark.parametrize(
    ("shape", "dtype", "size", "layout"),
    [
        ((1, 3, 48, 64), "float32", (48, 64), "nchw"),
        ((1, 48, 64, 3), "uint8", (48, 64), "nhwc"),
        ((None, 3, None, 64), "float16", (640, 64), "nchw"),
        ((4, 3, 3, 3), "float32", (3, 3), "nchw"),
    ],
)
def test_layout_size_and_dtype_are_the_inputs(
    shape: tuple[int | None, ...], dtype: str, size: tuple[int, int], layout: str
) -> None:
    block = ImageBlock().of_input(ArraySpec("x", shape, np.dtype(dtype)))
    assert (block.size, block.layout, block.dtype) == (size, layout, dtype)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 4, 8, 8), "float32"), ((1, 3, 8), "float32"), ((1, 3, 8, 8), "int64"), ((), "uint8")]
)
def test_an_input_that_is_no_image_is_refused(shape: tuple[int, ...], dtype: str) -> None:
    with pytest.raises(ConfigError, match=r"model input 'x' must be an image, \[1,3,H,W\]"):
        ImageBlock().of_input(ArraySpec("x", shape, np.dtype(dtype)))


# what it does ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("colour", ["rgb", "bgr", "gray"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "uint8"])
def test_each_level_is_scaled_and_put_in_its_place(layout: str, colour: str, dtype: str) -> None:
    image = noise(6, 4)
    mean, std = ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)) if colour != "gray" else ((0.1,), (0.5,))
    block = ImageBlock((4, 6), "stretch", colour, layout, dtype)
    if dtype != "uint8":
        block = ImageBlock((4, 6), "stretch", colour, layout, dtype, 1 / 255, mean, std)
    channels = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None] if colour == "gray" else image
    wanted = channels[..., ::-1].astype(float) if colour == "rgb" else channels.astype(float)
    if dtype != "uint8":
        wanted = (wanted / 255 - mean) / std
    array, placement = prepare(image, block)
    assert array.dtype == dtype
    assert array.shape == (1, *block.shape)
    have = array[0].transpose(1, 2, 0) if layout == "nchw" else array[0]
    np.testing.assert_allclose(have.astype(float), wanted, rtol=1e-3 if dtype == "float16" else 1e-6, atol=1e-3)
    assert placement == Placement(1, 1, 0, 0, 6, 4)


@pytest.mark.parametrize("interpolation", ["bilinear", "area"])
def test_an_image_that_is_only_resized_goes_where_it_belongs(interpolation: str) -> None:
    block = ImageBlock((64, 64), "letterbox", "bgr", "nhwc", "uint8", interpolation=interpolation)
    kept = Preparation(block)
    for size in ((100, 50), (256, 128), (50, 100), (64, 64), (128, 128), (80, 80), (100, 50)):
        image = noise(*size)
        fit = fit_of(block, *size)
        wanted = np.full((64, 64, 3), 114, np.uint8)
        inner = resize(image, fit.inner_width_px, fit.inner_height_px, interpolation)
        wanted[fit.top_px :, fit.left_px :][: fit.inner_height_px, : fit.inner_width_px] = inner
        array, placement = kept(image)
        assert np.array_equal(array[0], wanted)
        assert placement == Placement.of(fit)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_bars_are_the_fill_and_stay_right_when_the_camera_changes(layout: str) -> None:
    block = ImageBlock((64, 64), "letterbox", layout=layout, scale=1 / 255, mean=(0.5,), fill=114)
    kept = Preparation(block)
    for size in ((100, 50), (50, 100), (64, 64), (100, 50)):
        image = noise(*size)
        array, placement = kept(image)
        alone, where = prepare(image, block)
        assert np.array_equal(array, alone)
        assert placement == where
        plane = array[0, 0] if layout == "nchw" else array[0, ..., 0]
        bars = {(100, 50): plane[[*range(16), *range(48, 64)]], (50, 100): plane[:, [*range(16), *range(48, 64)]]}
        assert np.allclose(bars.get(size, 114 / 255 - 0.5), 114 / 255 - 0.5)


def test_the_letterbox_has_the_odd_pixel_below_and_each_axis_its_scale() -> None:
    # 641x481 into 640x640: the scale of the width; 480.25 -> 480 rows, 80 above and 80 below
    fit = fit_of(ImageBlock((640, 640), "letterbox"), 641, 481)
    assert (fit.inner_width_px, fit.inner_height_px, fit.left_px, fit.top_px) == (640, 480, 0, 80)
    assert Placement.of(fit) == Placement(640 / 641, 480 / 481, 0, 80, 641, 481)
    assert Placement.of(fit).with_one_scale((640, 640)) == Placement(640 / 641, 640 / 641, 0, 80, 641, 481)
    assert fit_of(ImageBlock((64, 63), "letterbox"), 63, 53).top_px == 5  # 11 px of bars: 5 above, 6 below
    assert fit_of(ImageBlock((64, 64), "letterbox_top_left"), 100, 77).inner_height_px == 49  # 49.28


def test_the_least_rectangle_is_whole_strides() -> None:
    block = ImageBlock((640, 640), "letterbox")
    assert least_rectangle(block, 1280, 720, 32).size == (384, 640)
    assert least_rectangle(block, 480, 640, 32).size == (640, 480)
    assert least_rectangle(block, 481, 640, 32).size == (640, 512)


@pytest.mark.parametrize(
    ("size", "inner", "cut"),
    [((640, 480), (298, 224), (37, 0)), ((100, 300), (224, 672), (0, 224)), ((224, 224), (224, 224), (0, 0))],
)
def test_a_crop_is_of_the_middle(size: tuple[int, int], inner: tuple[int, int], cut: tuple[int, int]) -> None:
    block = ImageBlock((224, 224), "crop")
    fit = fit_of(block, *size)
    assert (fit.inner_width_px, fit.inner_height_px) == inner
    assert (-fit.left_px, -fit.top_px) == cut
    image = noise(*size)
    whole = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)[cut[1] :, cut[0] :][:224, :224]
    assert np.array_equal(prepare(image, block)[0][0], whole[..., ::-1].transpose(2, 0, 1))


def test_bilinear_is_opencvs_and_area_is_the_mean() -> None:
    image = noise(640, 480)
    linear, _ = prepare(image, ImageBlock((96, 128), colour="bgr", layout="nhwc", dtype="uint8"))
    assert np.array_equal(linear[0], cv2.resize(image, (128, 96), interpolation=cv2.INTER_LINEAR))
    means, _ = prepare(image, ImageBlock((96, 128), colour="bgr", layout="nhwc", dtype="uint8", interpolation="area"))
    assert np.abs(means[0] - image.reshape(96, 5, 128, 5, 3).mean(axis=(1, 3))).max() <= 0.5


@pytest.mark.parametrize("size", [(256, 192), (416, 312), (300, 100), (255, 191), (90, 67)])
def test_every_pixel_has_its_part_in_a_smaller_image(size: tuple[int, int]) -> None:
    for x, y in np.random.default_rng(0).integers(0, (640, 480), (40, 2)):
        image = np.zeros((480, 640, 3), np.float32)  # small parts are not rounded away
        image[y, x] = 255
        shrunk = area(image, *size)
        assert shrunk.shape == (size[1], size[0], 3)
        rows, columns = np.nonzero(shrunk[..., 0])
        assert np.abs(columns + 0.5 - (x + 0.5) * size[0] / 640).min() < 1
        assert np.abs(rows + 0.5 - (y + 0.5) * size[1] / 480).min() < 1


def test_antialiased_is_a_triangle_as_wide_as_two_pixels_of_the_result() -> None:
    # 8 px to 2: centres at 2 and 6, triangles of half width 4; weights of the left one 1/8, 3/8 ... as by hand
    row = np.array([0, 10, 20, 30, 40, 50, 60, 70], np.uint8)
    image = np.repeat(row[None, :, None], 3, axis=2).repeat(2, axis=0)
    weights = np.clip(1 - np.abs(np.arange(8) + 0.5 - 2) / 4, 0, None)
    left = float((weights * row).sum() / weights.sum())
    shrunk = antialiased(image, 2, 2)
    assert shrunk[0, 0, 0] == int(left + 0.5)
    assert np.array_equal(antialiased(image, 8, 2), image)


def test_antialiased_is_pillows() -> None:
    image_module = pytest.importorskip("PIL.Image")
    for size in ((640, 480), (333, 517), (31, 90), (100, 80)):
        image = noise(*size)
        for wanted in ((224, 224), (64, 200), (320, 32)):
            theirs = np.asarray(image_module.fromarray(image).resize(wanted, image_module.BILINEAR))
            assert np.abs(antialiased(image, *wanted).astype(int) - theirs).max() <= 1  # older ones: rows first


def test_depth_keeps_its_numbers() -> None:
    depth = RANDOM.integers(0, 8000, (48, 64)).astype(np.uint16)
    block = ImageBlock((24, 32), colour="depth", scale=0.001, interpolation="nearest")
    array, _ = prepare(depth, block)
    assert array.shape == (1, 1, 24, 32)
    assert np.allclose(array[0, 0], depth[::2, ::2] * 0.001)
    metres, _ = prepare(depth.astype(np.float32), ImageBlock((48, 64), colour="depth", layout="nhwc"))
    assert np.array_equal(metres[0, ..., 0], depth)


def test_a_place_in_a_batch_is_as_an_image_alone() -> None:
    block = ImageBlock((64, 64), "letterbox", scale=1 / 255)
    batch = np.zeros((2, *block.shape), np.float32)
    images = noise(100, 50), noise(30, 60)
    for place, image in zip(batch, images, strict=True):
        placement = prepare_into(place, image, block)
        alone, where = prepare(image, block)
        assert placement == where
        assert np.array_equal(place, alone[0])


def test_views_and_grey_images_are_taken() -> None:
    wide = noise(80, 60)
    block = ImageBlock((60, 40), scale=1 / 255)
    assert np.array_equal(prepare(wide[:, ::2], block)[0], prepare(wide[:, ::2].copy(), block)[0])
    assert np.array_equal(prepare(wide[:, :40], block)[0], prepare(wide[:, :40].copy(), block)[0])
    grey = wide[..., 0]
    assert np.array_equal(prepare(grey, block)[0], prepare(np.repeat(grey[..., None], 3, 2), block)[0])


@pytest.mark.parametrize(
    ("shape", "dtype", "colour"),
    [
        ((4, 4, 4), "uint8", "rgb"),
        ((4, 4, 3), "uint16", "rgb"),
        ((0, 4, 3), "uint8", "rgb"),
        ((4, 4, 3), "uint8", "depth"),
        ((4, 4), "float64", "depth"),
    ],
)
def test_another_image_is_refused(shape: tuple[int, ...], dtype: str, colour: str) -> None:
    with pytest.raises(InputError, match=r"the model takes .* image"):
        prepare(np.zeros(shape, dtype), ImageBlock((4, 4), colour=colour))


# and back -------------------------------------------------------------------------------------------------------------


def test_points_and_turned_boxes_come_back_in_the_cameras_pixels() -> None:
    placement = Placement(0.5, 0.5, 0, 16, 128, 64)
    assert placement.points_to_camera(np.array([[[10, 26], [90, 10]]], np.float32)).tolist() == [[[20, 20], [128, 0]]]
    turned = np.array([[10, 26, 8, 4, 0.3]], np.float32)
    np.testing.assert_allclose(placement.rotated_to_camera(turned), [[20, 20, 16, 8, 0.3]], rtol=1e-6)
    stretched = Placement(0.5, 0.25, 0, 0, 128, 64)
    right_angle = np.array([[10, 10, 8, 4, np.pi / 2]], np.float32)
    np.testing.assert_allclose(stretched.rotated_to_camera(right_angle), [[20, 40, 32, 8, np.pi / 2]], rtol=1e-5)
