"""The same pixels whatever the encoding, and one clear sentence for data that does not fit."""

from __future__ import annotations

from array import array
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from rclpy.serialization import serialize_message
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from perf_inference.errors import InputError
from perf_inference.nodes.bench.bridge_way import imgmsg_to_bgr8
from perf_inference.nodes.images.converter import Canvas, Converter, from_bgr, to_bgr
from perf_inference.nodes.images.encodings import ENCODINGS
from perf_inference.nodes.images.raw_image import RawImage, read_image

RANDOM = np.random.default_rng(0)
HEIGHT, WIDTH = 6, 8
BGR = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
BGR16 = RANDOM.integers(0, 65536, (HEIGHT, WIDTH, 3), np.uint16)
ALPHA16 = RANDOM.integers(0, 65536, (HEIGHT, WIDTH, 1), np.uint16)
GREY16 = RANDOM.integers(0, 65536, (HEIGHT, WIDTH), np.uint16)
PATTERNS = {
    "rggb": cv2.COLOR_BAYER_BG2BGR, "bggr": cv2.COLOR_BAYER_RG2BGR, "gbrg": cv2.COLOR_BAYER_GR2BGR,
    "grbg": cv2.COLOR_BAYER_GB2BGR,
}  # fmt: skip


def eight(wide: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return 16 bits as 8, as cv_bridge scales them: rounded x * 255 / 65535."""
    return ((wide.astype(int) + 128) // 257).astype(np.uint8)


def grey(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(values[..., None], 3, axis=2)


def message(pixels: NDArray[Any], encoding: str, padding: int = 0, bigendian: int = 0, height: int = 0) -> Image:
    """Return an image message whose rows end in `padding` bytes, all but the last."""
    rows = pixels.reshape(pixels.shape[0], -1).astype(pixels.dtype.newbyteorder(">" if bigendian else "<"))
    raw = np.ascontiguousarray(rows).view(np.uint8)
    padded = np.pad(raw, ((0, 0), (0, padding)), constant_values=99)
    data = array("B", padded.tobytes()[: padded.size - padding])
    return Image(height=height or pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=padded.shape[1],
                 data=data, is_bigendian=bigendian)  # fmt: skip


def cases() -> dict[str, tuple[NDArray[Any], NDArray[np.uint8]]]:
    """Return by encoding the pixels of a message, and the BGR ones that it must give."""
    alpha = eight(ALPHA16)
    packed = {
        "bgr": (BGR16, eight(BGR16)), "rgb": (BGR16[..., ::-1], eight(BGR16)),
        "bgra": (np.concatenate([BGR16, ALPHA16], 2), eight(BGR16)),
        "rgba": (np.concatenate([BGR16[..., ::-1], ALPHA16], 2), eight(BGR16)),
        "mono": (GREY16, grey(eight(GREY16))),
    }  # fmt: skip
    made = {name + "16": case for name, case in packed.items()}
    narrow = {"bgr": BGR, "rgb": BGR[..., ::-1], "bgra": np.concatenate([BGR, alpha], 2),
              "rgba": np.concatenate([BGR[..., ::-1], alpha], 2)}  # fmt: skip
    made |= {name + "8": (pixels, BGR) for name, pixels in narrow.items()}
    made["mono8"] = (BGR[..., 0], grey(BGR[..., 0]))
    for bits in ("8", "16"):
        for channels, name in ((1, "mono"), (3, "bgr"), (4, "bgra")):
            if (bits, channels) != ("16", 1):  # a depth
                made[f"{bits}UC{channels}"] = made[name + bits]
    for pattern, code in PATTERNS.items():
        made[f"bayer_{pattern}8"] = (BGR[..., 0], cv2.cvtColor(np.ascontiguousarray(BGR[..., 0]), code))
        made[f"bayer_{pattern}16"] = (GREY16, eight(cv2.cvtColor(GREY16, code)))
    return made | chroma_cases()


def chroma_cases() -> dict[str, tuple[NDArray[Any], NDArray[np.uint8]]]:
    """Return one image of one colour and random light in all YUV encodings."""
    luma, (u, v) = RANDOM.integers(16, 236, (HEIGHT, WIDTH), np.uint8), (90, 170)
    y = 1.164 * (luma - 16.0)
    wanted = np.stack([y + 2.018 * (u - 128), y - 0.391 * (u - 128) - 0.813 * (v - 128), y + 1.596 * (v - 128)], axis=2)
    bgr = np.clip(np.rint(wanted), 0, 255).astype(np.uint8)
    columns = np.tile(np.array([u, v], np.uint8), (HEIGHT, WIDTH // 2))
    made = {}
    for name in ("uyvy", "yuv422"):
        made[name] = (np.stack([columns, luma], axis=2), bgr)
    for name in ("yuyv", "yuv422_yuy2"):
        made[name] = (np.stack([luma, columns], axis=2), bgr)
    made["nv12"] = (np.concatenate([luma, columns[: HEIGHT // 2]]), bgr)
    made["nv21"] = (np.concatenate([luma, columns[: HEIGHT // 2, ::-1]]), bgr)
    made["nv24"] = (np.concatenate([luma, columns, columns]), bgr)  # a row of chroma is two rows long
    return made


CASES = cases()
ROUNDED = ("uyvy", "yuv422", "yuyv", "yuv422_yuy2", "nv12", "nv21", "nv24")  # OpenCV's coefficients are integers


def test_every_encoding_has_its_case() -> None:
    assert set(CASES) == set(ENCODINGS)


@pytest.mark.parametrize("padding", [0, 3, 8])
@pytest.mark.parametrize("encoding", CASES)
def test_each_encoding_gives_its_pixels(encoding: str, padding: int) -> None:
    pixels, wanted = CASES[encoding]
    if encoding == "nv24" and padding:  # each row of chroma is padded twice as long, at its end
        rows = [np.pad(pixels[:HEIGHT], ((0, 0), (0, padding))).ravel()]
        rows.append(np.pad(pixels[HEIGHT:].reshape(HEIGHT, -1), ((0, 0), (0, 2 * padding))).ravel())
        image = message(pixels, encoding, padding, height=HEIGHT)
        image.data = array("B", np.concatenate(rows).tobytes())
    else:
        image = message(pixels, encoding, padding, height=HEIGHT)
    for received in (image, read_image(serialize_message(image))):
        made = to_bgr(received)
        assert made.shape == (HEIGHT, WIDTH, 3)
        assert made.dtype == np.uint8
        assert np.abs(made.astype(int) - wanted).max() <= (encoding in ROUNDED)


@pytest.mark.parametrize("padding", [0, 3, 8])
@pytest.mark.parametrize("encoding", [name for name in CASES if CASES[name][0].dtype == np.uint16])
def test_16_bits_of_the_other_byte_order(encoding: str, padding: int) -> None:
    pixels, wanted = CASES[encoding]
    assert np.array_equal(to_bgr(message(pixels, encoding, padding, bigendian=1)), wanted)


BRIDGED = [name for name in CASES if "UC" not in name and name not in ("nv12", "nv21", "nv24", "uyvy", "yuyv")]


@pytest.mark.parametrize("bigendian", [0, 1])
@pytest.mark.parametrize("encoding", BRIDGED)
def test_cv_bridges_steps_give_the_same_pixels(encoding: str, bigendian: int) -> None:
    image = message(CASES[encoding][0], encoding, bigendian=bigendian)
    assert np.array_equal(to_bgr(image), imgmsg_to_bgr8(image))


def test_cv_bridge_itself_gives_the_same_pixels() -> None:
    bridge = pytest.importorskip("cv_bridge", reason="needs ROS 2's cv_bridge").CvBridge()
    for encoding in BRIDGED:
        image = message(CASES[encoding][0], encoding)
        assert np.array_equal(to_bgr(image), bridge.imgmsg_to_cv2(image, "bgr8")), encoding


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (7, 1)])
@pytest.mark.parametrize("encoding", ["bgr8", "rgb8", "rgba8", "mono8", "rgb16", "mono16"])
def test_odd_sizes(encoding: str, height: int, width: int) -> None:
    pixels, wanted = CASES[encoding]
    image = message(pixels[:height, :width], encoding, padding=1)
    assert np.array_equal(to_bgr(image), wanted[:height, :width])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_bayer_keeps_the_colour_of_a_plain_image(pattern: str) -> None:
    colour = {"r": 200, "g": 120, "b": 40}
    tile = np.array([colour[c] for c in pattern], np.uint8).reshape(2, 2)
    for raw, encoding in ((np.tile(tile, (4, 4)), "8"), (np.tile(tile, (4, 4)).astype(np.uint16) * 257, "16")):
        assert to_bgr(message(raw, f"bayer_{pattern}{encoding}"))[3, 3].tolist() == [40, 120, 200]


@pytest.mark.parametrize("padding", [0, 4])
def test_bgr8_is_a_view(padding: int) -> None:
    image = message(BGR, "bgr8", padding)
    assert np.shares_memory(to_bgr(image), np.frombuffer(image.data, np.uint8))
    cdr = serialize_message(image)
    assert np.shares_memory(to_bgr(read_image(cdr)), np.frombuffer(cdr, np.uint8))


def test_a_image_stays_while_the_next_one_is_made() -> None:
    converter = Converter()
    images = [message(np.full((4, 6, 3), level, np.uint8), "rgb8") for level in range(4)]
    first = converter.bgr(images[0])
    second = converter.bgr(images[1])
    assert (int(first[0, 0, 0]), int(second[0, 0, 0])) == (0, 1)
    third = converter.bgr(images[2])
    assert third is first  # in its memory
    with pytest.raises(InputError):
        converter.bgr(message(np.zeros((4, 5, 2), np.uint8), "yuyv"))
    small = converter.bgr(message(np.full((2, 2, 3), 9, np.uint8), "rgb8"))
    assert small.shape == (2, 2, 3)
    assert third.max() == third.min() == 2


def test_round_trip() -> None:
    header = Header(frame_id="camera")
    image = from_bgr(BGR[:, ::2], header)  # not contiguous
    assert (image.header, image.encoding, image.step) == (header, "bgr8", WIDTH // 2 * 3)
    assert np.array_equal(to_bgr(image), BGR[:, ::2])


def test_a_canvas_keeps_its_message_and_never_draws_on_the_image_itself() -> None:
    canvas = Canvas()
    drawn = canvas.put(BGR, Header())
    drawn[:] = 0
    assert BGR.max() > 0
    first = canvas.message
    assert not any(first.data)
    canvas.put(BGR, Header(frame_id="next"))
    assert canvas.message is first
    assert np.array_equal(to_bgr(first), BGR)
    canvas.put(BGR[:2, :3], Header())
    assert np.array_equal(to_bgr(canvas.message), BGR[:2, :3])


# the raw path ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame_id", ["", "c", "cam", "camera", "caméra"])
@pytest.mark.parametrize("encoding", ["bgr8", "8UC3", "bgra16", "mono8"])
@pytest.mark.parametrize("little", [True, False])
def test_a_serialized_image_of_either_byte_order(frame_id: str, encoding: str, little: bool) -> None:
    types = get_typestore(Stores.ROS2_HUMBLE).types
    stamp = types["builtin_interfaces/msg/Time"](sec=-7, nanosec=999_999_999)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)
    data = np.arange(60, dtype=np.uint8)
    image = types["sensor_msgs/msg/Image"](header, 2, 3, encoding, 1, 30, data)
    cdr = bytes(get_typestore(Stores.ROS2_HUMBLE).serialize_cdr(image, image.__msgtype__, little_endian=little))
    read = read_image(cdr)
    assert isinstance(read, RawImage)
    assert (read.header.stamp.sec, read.header.stamp.nanosec, read.header.frame_id) == (-7, 999_999_999, frame_id)
    assert (read.height, read.width, read.encoding, read.is_bigendian, read.step) == (2, 3, encoding, 1, 30)
    assert bytes(read.data) == data.tobytes()


def test_a_serialized_image_cut_anywhere_is_refused() -> None:
    cdr = serialize_message(message(BGR, "bgr8"))[: -(-(len(BGR.tobytes()) + 60) // 4) * 4]
    whole = next(n for n in range(len(cdr) + 1) if _reads(cdr[:n]))
    assert not any(_reads(cdr[:n]) for n in range(whole))
    assert np.array_equal(to_bgr(read_image(cdr[:whole])), BGR)


def _reads(cdr: bytes) -> bool:
    try:
        read_image(cdr)
    except InputError:
        return False
    return True


@pytest.mark.parametrize("at", [12, 28, 44])  # frame_id, encoding, data
def test_a_length_that_lies_is_refused(at: int) -> None:
    cdr = serialize_message(message(BGR, "bgr8"))
    with pytest.raises(InputError, match="a serialized image"):
        read_image(cdr[:at] + b"\xff\xff\xff\x7f" + cdr[at + 4 :])


def test_any_other_bytes_give_a_image_or_are_refused() -> None:
    whole = np.frombuffer(serialize_message(message(BGR, "bgr8")), np.uint8)
    converter, made = Converter(), 0
    for _ in range(3000):
        cdr = whole.copy()
        cdr[RANDOM.integers(0, 52, 2)] = RANDOM.integers(0, 256, 2)  # in the header
        try:
            made += converter.bgr(read_image(cdr.tobytes())).ndim == 3
        except InputError:
            continue
    assert 0 < made < 3000


def test_another_serialization_is_left_to_the_middleware() -> None:
    cdr = serialize_message(message(BGR, "bgr8"))
    assert np.array_equal(to_bgr(read_image(b"\x00\x03" + cdr[2:])), BGR)  # as a parameter list's is marked
    with pytest.raises(InputError, match="4 bytes that begin with 00ff0000 are no serialized image"):
        read_image(b"\x00\xff\x00\x00")


# what does not fit ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step": 23}, "step must be at least 24 bytes for 8 px of bgr8, got 23"),
        ({"height": 7}, "data must have 168 bytes for 8x7 bgr8 with step 24, got 144"),
        ({"encoding": "jpeg"}, "encoding must be one of bgr8"),
        ({"encoding": "32FC1"}, "encoding '32FC1' holds numbers, such as a depth, and no image"),
        ({"encoding": "16SC1"}, "encoding '16SC1' holds numbers"),
        ({"encoding": "16UC1"}, "encoding '16UC1' holds numbers, such as a depth, and no image"),
        ({"width": 0}, "must have pixels, got 0x6"),
        ({"encoding": "yuyv", "width": 7}, "yuyv must have an even width, got 7x6"),
        ({"encoding": "nv12", "height": 5}, "nv12 must have an even width and height, got 8x5"),
        ({"encoding": "nv12", "step": 20}, "data must have 180 bytes for 8x6 nv12 with step 20, got 144"),
        ({"encoding": "nv24", "step": 9}, "data must have 162 bytes for 8x6 nv24 with step 9, got 144"),
    ],
)
def test_data_that_does_not_fit_is_named(change: dict[str, int | str], said: str) -> None:
    image = message(BGR, "bgr8")
    for name, value in change.items():
        setattr(image, name, value)
    with pytest.raises(InputError, match=said):
        to_bgr(image)


# compressed -----------------------------------------------------------------------------------------------------------


def compressed(picture: NDArray[Any], kind: str, format_: str) -> CompressedImage:
    return CompressedImage(format=format_, data=array("B", cv2.imencode(kind, picture)[1].tobytes()))


SMOOTH = cv2.resize(BGR, (64, 48), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("format_", ["jpeg", "jpg", "", "bgr8; jpeg compressed bgr8", "rgb8; jpeg compressed bgr8"])
def test_jpeg(format_: str) -> None:
    made = to_bgr(compressed(SMOOTH, ".jpg", format_))
    assert made.shape == SMOOTH.shape
    assert np.abs(made.astype(int) - SMOOTH).mean() < 6


def test_jpeg_in_grey() -> None:
    made = to_bgr(compressed(SMOOTH[..., 1], ".jpg", "mono8; jpeg compressed "))
    assert np.abs(made.astype(int) - SMOOTH[..., 1:2]).mean() < 6


@pytest.mark.parametrize(
    ("picture", "wanted", "format_"),
    [
        (BGR, BGR, "png"),
        (BGR, BGR, "rgb8; png compressed bgr8"),
        (BGR, BGR[..., ::-1], "bgr8; png compressed "),  # how the first publishers wrote it
        (BGR[..., 0], grey(BGR[..., 0]), "mono8; png compressed "),
        (np.concatenate([BGR, BGR[..., :1]], 2), BGR, "bgra8; png compressed bgr8"),
        (BGR16, eight(BGR16), "bgr16; png compressed bgr16"),
        (GREY16, grey(eight(GREY16)), "mono16; png compressed "),
        (np.concatenate([BGR16, ALPHA16], 2), eight(BGR16), "png"),
    ],
)
def test_png_exactly(picture: NDArray[Any], wanted: NDArray[np.uint8], format_: str) -> None:
    assert np.array_equal(to_bgr(compressed(picture, ".png", format_)), wanted)


@pytest.mark.parametrize("format_", ["16UC1; png compressed ", "16UC1; compressedDepth png", "32FC1; compressedDepth"])
def test_a_compressed_depth_is_refused(format_: str) -> None:
    with pytest.raises(InputError, match="holds numbers, such as a depth, and no image"):
        to_bgr(compressed(GREY16, ".png", format_))


@pytest.mark.parametrize("name", ["nv12", "nv24"])
def test_a_step_that_counts_the_chroma_too_is_depthais(name: str) -> None:
    pixels, wanted = CASES[name]
    image = message(pixels, name, height=HEIGHT)
    image.step = len(image.data) // image.height
    assert np.abs(to_bgr(image).astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("encoding", ["mono16", "bayer_rggb16", "bgr16"])
def test_a_camera_of_fewer_bits_is_as_bright_as_one_of_sixteen(encoding: str, bits: int) -> None:
    pixels, wanted = CASES[encoding]
    made = Converter(bits).bgr(message(pixels >> (16 - bits), encoding))
    assert np.abs(made.astype(int) - wanted).max() <= (2 if bits < 12 else 1)


def test_images_of_few_bits_are_told_once() -> None:
    said: list[str] = []
    converter = Converter(warn=said.append)
    for _ in range(10):
        converter.bgr(message(GREY16 >> 4, "mono16"))
    (line,) = said
    assert "set image_bits" in line
    bright, quiet = Converter(warn=said.append), Converter(12, said.append)
    for _ in range(10):
        bright.bgr(message(GREY16, "mono16"))
        quiet.bgr(message(GREY16 >> 4, "mono16"))
    assert len(said) == 1


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_a_compressed_image_that_is_cut_off_is_refused(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    whole = compressed(SMOOTH, kind, "x")
    for left in (len(whole.data) // 2, 40):
        with pytest.raises(InputError, match="a compressed image of format 'x' is cut off or broken"):
            to_bgr(CompressedImage(format="x", data=whole.data[:left]))


def test_other_compressions_are_named() -> None:
    tiff = compressed(BGR, ".tiff", "tiff")
    with pytest.raises(
        InputError, match=r"of format 'tiff' must be JPEG or PNG, got \d+ bytes that begin with 49492a00"
    ):
        to_bgr(tiff)
    with pytest.raises(InputError, match=r"of format 'jpeg' must be JPEG or PNG, got 0 bytes that begin with nothing"):
        to_bgr(CompressedImage(format="jpeg"))
