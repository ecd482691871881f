"""Images of anybody's: what their header says is checked before OpenCV decodes anything, under old ones too."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from perf_inference.errors import InputError
from perf_inference.files.images import decode_image, read_image

RANDOM = np.random.default_rng(0)
SMOOTH = cv2.resize(RANDOM.integers(0, 256, (6, 8, 3), np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)
PNG = b"\x89PNG\r\n\x1a\n"
EXTENT_MIB = 200  # of address space, beyond what an interpreter with OpenCV takes


def encoded(kind: str, *options: int) -> bytes:
    made = bytes(cv2.imencode(kind, SMOOTH, options)[1])
    assert np.array_equal(decode_image(made), cv2.imdecode(np.frombuffer(made, np.uint8), cv2.IMREAD_UNCHANGED))
    return made


JPEGS = {
    "baseline": encoded(".jpg"),
    "progressive": encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "with restarts": encoded(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 4),
}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width_px: int, height_px: int, bits: int = 8, colour: int = 2) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width_px, height_px, bits, colour, 0, 0, 0))


def png_bomb(width_px: int, height_px: int) -> bytes:
    """Return a valid PNG of black pixels: about a thousandth of what it decodes to."""
    packer = zlib.compressobj(1)
    rows = [packer.compress(bytes(1 + 3 * width_px)) for _ in range(height_px)]
    return PNG + header(width_px, height_px) + chunk(b"IDAT", b"".join(rows) + packer.flush()) + chunk(b"IEND", b"")


def with_segment(jpeg: bytes, marker: int, contents: bytes) -> bytes:
    return jpeg[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(contents) + 2) + contents + jpeg[2:]


def refused(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        decode_image(data)
    return str(caught.value)


@pytest.mark.parametrize("jpeg", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("thumbnail", [False, True], ids=["plain", "with a thumbnail"])
def test_a_jpeg_cut_anywhere_is_refused(jpeg: bytes, thumbnail: bool) -> None:
    if thumbnail:  # which has an end of its own
        jpeg = with_segment(jpeg, 0xE1, b"Exif\0\0" + JPEGS["baseline"])
    for left in range(3, len(jpeg) - 1, 7):
        assert "cut off" in refused(jpeg[:left])
    assert "cut off" in refused(jpeg[: len(jpeg) // 2] + bytes(1000))


@pytest.mark.parametrize("jpeg", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("padding", [b"\0", bytes(4096), b"\xff" * 9, JPEGS["baseline"]], ids=len)
def test_what_comes_after_the_end_of_a_jpeg_is_the_cameras_own(jpeg: bytes, padding: bytes) -> None:
    assert np.array_equal(decode_image(jpeg + padding), decode_image(jpeg))


def test_a_png_cut_anywhere_is_refused() -> None:
    png = encoded(".png")
    for left in range(8, len(png), 97):
        assert "cut off" in refused(png[:left])
    assert np.array_equal(decode_image(png + bytes(64)), SMOOTH)


@pytest.mark.parametrize(
    "size", [(60_000, 60_000), (1 << 31, 1), (16_385, 16_384), (32_769, 2), (0, 8), (8, 0)], ids=str
)
def test_the_size_in_a_header_is_bounded(size: tuple[int, int]) -> None:
    png = PNG + header(*size) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    assert f"its header says {size[0]}x{size[1]}" in refused(png)
    jpeg = bytearray(JPEGS["baseline"])
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", size[1] & 0xFFFF, size[0] & 0xFFFF)
    if 0 in size or (size[0] | size[1]) >> 16 == 0:
        assert f"its header says {size[0] & 0xFFFF}x{size[1] & 0xFFFF}" in refused(bytes(jpeg))


def test_wide_pixels_count_for_what_they_take() -> None:
    png = PNG + header(8192, 8000, bits=16, colour=6) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    assert "must decode to 256 MiB at most" in refused(png)


def test_a_second_size_and_too_many_scans_are_refused() -> None:
    jpeg = JPEGS["baseline"]
    at = jpeg.index(b"\xff\xc0")
    frame = jpeg[at : at + 2 + struct.unpack_from(">H", jpeg, at + 2)[0]]
    assert "says its size twice" in refused(jpeg[:at] + frame + jpeg[at:])
    scan = jpeg.index(b"\xff\xda")
    assert "without a size" in refused(jpeg[:2] + jpeg[scan:])
    one = jpeg[scan:-2]
    assert "more scans than an image needs" in refused(jpeg[:-2] + one * 120 + jpeg[-2:])
    assert "begins twice" in refused(jpeg[:2] + jpeg)


def test_of_a_png_only_the_image_is_decoded() -> None:
    png = encoded(".png")
    after = len(PNG) + 25
    bomb = zlib.compress(bytes(50 << 20), 9)
    extra = (
        chunk(b"acTL", struct.pack(">II", 1 << 30, 0))
        + chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 160, 120, 0, 0, 1, 1, 0, 0))
        + chunk(b"iCCP", b"x\0\0" + bomb)
        + chunk(b"zTXt", b"x\0\0" + bomb) * 20
        + chunk(b"tEXt", b"x\0" + b"a" * (1 << 20))
    )
    frames = b"".join(chunk(b"fdAT", struct.pack(">I", number) + bytes(9)) for number in range(1000))
    made = png[:after] + extra + png[after:-12] + frames + png[-12:]
    assert np.array_equal(decode_image(made), SMOOTH)
    assert "one header" in refused(png[:after] + header(9, 9) + png[after:])


@pytest.mark.parametrize("kind", [".webp", ".tiff", ".bmp", ".jp2", ".ppm", ".pgm", ".hdr", ".ras", ".sr", ".avif"])
def test_what_else_opencv_reads_is_refused(kind: str) -> None:
    try:
        made = bytes(cv2.imencode(kind, SMOOTH)[1])
    except cv2.error:
        pytest.skip(f"this OpenCV writes no {kind}")
    assert "must be JPEG or PNG" in refused(made)


def test_files_that_are_no_images_are_refused(tmp_path: Path) -> None:
    for name, data in (("a.png", b""), ("b.jpg", encoded(".png")[:99]), ("c.jpg", b"GIF89a")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=name):
            read_image(tmp_path / name)
    for path in (tmp_path, Path("/dev/zero"), tmp_path / "none.png"):
        with pytest.raises(InputError, match=str(path)):
            read_image(path)
    cv2.imwrite(str(tmp_path / "d.bmp"), SMOOTH)
    assert np.array_equal(read_image(tmp_path / "d.bmp", bmp=True), SMOOTH)
    damaged = bytearray((tmp_path / "d.bmp").read_bytes())
    damaged[18:26] = struct.pack("<ii", 1 << 30, -(1 << 30))
    (tmp_path / "d.bmp").write_bytes(damaged)
    with pytest.raises(InputError, match="its header says"):
        read_image(tmp_path / "d.bmp", bmp=True)


BOUNDED = f"""
import resource, sys
from perf_inference.errors import InputError
from perf_inference.files.images import decode_image
decode_image(open(sys.argv[1], "rb").read())  # what OpenCV takes once
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + ({EXTENT_MIB} << 20),) * 2)
for path in sys.argv[2:]:
    try:
        print("read", decode_image(open(path, "rb").read()).shape)
    except InputError as error:
        print("refused:", error)
"""


@pytest.mark.slow
def test_a_small_file_does_not_take_the_memory(tmp_path: Path) -> None:
    bombs = {"big": png_bomb(9000, 9000), "allowed": png_bomb(4000, 4000), "good": encoded(".png")}
    assert len(bombs["big"]) < 2 << 20
    for name, data in bombs.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in ("good", "big", "allowed", "good")]
    done = subprocess.run([sys.executable, "-c", BOUNDED, *paths], text=True, capture_output=True, timeout=60)
    said = done.stdout.splitlines()
    assert len(said) == 3, done.stderr
    assert said[0].startswith("refused: must have")
    assert "9000x9000" in said[0]
    assert said[1:] == ["read (4000, 4000, 3)", "read (120, 160, 3)"]
