"""JPEG and PNG images of anybody's: the size is read from the header before anything is decoded.

What an image is its first bytes tell. Of all that OpenCV could decode only these two are taken (BMP where it is asked
for), and of what they may hold only the image: a decoder makes of 100 kB what their header says, up to 4 GB.

JPEG: ITU-T T.81, B.1.1.2 and B.2 (markers)      PNG: https://www.w3.org/TR/png-3/#5DataRep
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

# A second line behind the checks here; OpenCV reads it when it is loaded, so it may come too late.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 26))

import cv2
import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import InputError

MOST_PX = 1 << 26  # 67 million: more than any camera of a robot has; 192 MiB as BGR
_MOST_SIDE_PX = 1 << 15
_MOST_DECODED_BYTES = 1 << 28
_MOST_FILE_BYTES = 1 << 28
_MOST_SCANS = 100  # of a JPEG; a progressive one has ten
_MOST_SCANNED_PX = 12 * MOST_PX

_JPEG, _PNG, _BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM"
_IS_MARKER = np.array(
    [byte not in (0x00, 0x01, *range(0xD0, 0xD8), 0xFF) for byte in range(256)]
)  # but those within scans
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 4, 4: 4, 6: 4}  # by colour type, as OpenCV decodes them at most
_NO_IMAGE = (b"acTL", b"fcTL", b"fdAT", b"iCCP", b"tEXt", b"zTXt", b"iTXt")  # chunks of a PNG that are not handed on


class Size(NamedTuple):
    """What a header says of an image."""

    width_px: int
    height_px: int
    channels: int
    bits: int  # of a channel


def decode_image(data: Any, flags: int = cv2.IMREAD_UNCHANGED, bmp: bool = False) -> NDArray[Any]:
    """Return the pixels [height, width(, 3 or 4)] of a JPEG or PNG, uint8 or uint16, as OpenCV gives them.

    Args:
        data: bytes, or what has them.
        flags: OpenCV's.
        bmp: take a BMP too.

    Raises:
        InputError: it is something else, too big, cut off, or broken.
    """
    view = memoryview(data).cast("B")
    begin = bytes(view[:8])
    if begin.startswith(_JPEG):
        _check_jpeg(view)
    elif begin == _PNG:
        view = _checked_png(view)
    elif bmp and begin.startswith(_BMP):
        _check_bmp(view)
    else:
        kinds = "JPEG, PNG or BMP" if bmp else "JPEG or PNG"
        raise InputError(f"must be {kinds}, got {len(view)} bytes that begin with {begin[:4].hex() or 'nothing'}")
    try:
        image = cv2.imdecode(np.frombuffer(view, np.uint8), flags)
    except cv2.error as error:
        raise InputError(f"is broken: {error.err}") from error
    except MemoryError as error:
        raise InputError("does not fit into the memory that is left") from error
    if image is None:
        raise InputError(f"is cut off or broken: OpenCV makes nothing of its {len(view)} bytes")
    return np.asarray(image)


def read_image(path: Path, bmp: bool = False) -> NDArray[np.uint8]:
    """Return the pixels [height, width, 3] of a file as BGR, turned as its EXIF says.

    Raises:
        InputError: it cannot be read, or as `decode_image`.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode) or about.st_size > _MOST_FILE_BYTES:
                raise InputError(f"{path} must be a file of {_MOST_FILE_BYTES >> 20} MiB at most")
            data = file.read(_MOST_FILE_BYTES)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return decode_image(data, cv2.IMREAD_COLOR, bmp)
    except InputError as error:
        raise InputError(f"{path} {error}") from error


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe has no size, and nobody may write to it


def _check_jpeg(view: memoryview) -> None:
    """Check the header, and that the last scan ends; what cameras write after the end is theirs."""
    size: Size | None = None
    scans, ended = 0, False
    for marker, at in _segments(view):
        if marker in _FRAMES:
            if size is not None:
                raise InputError("is broken: a JPEG that says its size twice")
            size = _jpeg_size(view, at)
            _check_size(size)
        elif marker == _SOS:
            scans += 1
            if size is None:
                raise InputError("is broken: a JPEG without a size before its pixels")
            if scans > _MOST_SCANS or scans * size.width_px * size.height_px > _MOST_SCANNED_PX:
                raise InputError(f"has more scans than an image needs, {scans} or more")
        ended = marker == _EOI
    if not (ended and scans):
        raise InputError(f"is cut off or broken: {len(view)} bytes of a JPEG without its end")


def _segments(view: memoryview) -> Iterator[tuple[int, int]]:
    """Yield the markers of a JPEG up to its end, each with where its contents begin."""
    data = np.frombuffer(view, np.uint8)
    marked = np.flatnonzero(data[:-1] == 0xFF) + 1  # a scan of half a million bytes has thousands
    marked = marked[_IS_MARKER[data[marked]]]
    at = 2
    while (index := int(np.searchsorted(marked, at + 1))) < len(marked):
        at = int(marked[index]) + 1
        marker = view[at - 1]
        if marker == _SOI:
            raise InputError("is broken: a JPEG that begins twice")
        yield marker, at
        if marker == _EOI:
            return
        if at + 2 > len(view):
            return
        (length,) = struct.unpack_from(">H", view, at)
        if length < 2:
            raise InputError("is broken: a JPEG with a segment of no length")
        at += length


def _jpeg_size(view: memoryview, at: int) -> Size:
    try:
        bits, height_px, width_px, channels = struct.unpack_from(">BHHB", view, at + 2)
    except struct.error:
        raise InputError("is cut off within its header") from None
    return Size(width_px, height_px, max(channels, 3), bits)


def _checked_png(view: memoryview) -> memoryview:
    """Return the PNG without what is no part of its image: texts, a colour profile, animation."""
    parts, left_out, ended = [view[: len(_PNG)]], False, False
    at = len(_PNG)
    while not ended and at + 12 <= len(view):
        length, kind = struct.unpack_from(">I4s", view, at)
        end = at + 12 + length
        if end > len(view):
            break
        first = len(parts) == 1 and not left_out
        if first != (kind == b"IHDR") or (first and length != 13):
            raise InputError("is broken: a PNG must have one header, at its beginning")
        if first:
            width_px, height_px, bits, colour = struct.unpack_from(">IIBB", view, at + 8)
            _check_size(Size(width_px, height_px, _PNG_CHANNELS.get(colour, 4), bits))
        if kind in _NO_IMAGE:
            left_out = True
        else:
            parts.append(view[at:end])
        at, ended = end, kind == b"IEND"
    if not ended:
        raise InputError(f"is cut off or broken: {len(view)} bytes of a PNG without its end")
    return memoryview(b"".join(parts)) if left_out else view[:at]


def _check_bmp(view: memoryview) -> None:
    try:
        (header,) = struct.unpack_from("<I", view, 14)
        width_px, height_px = struct.unpack_from("<HH" if header == 12 else "<ii", view, 18)
    except struct.error:
        raise InputError("is cut off within its header") from None
    _check_size(Size(width_px, abs(height_px), 4, 8))


def _check_size(size: Size) -> None:
    width_px, height_px, channels, bits = size
    if not (0 < width_px <= _MOST_SIDE_PX and 0 < height_px <= _MOST_SIDE_PX and width_px * height_px <= MOST_PX):
        raise InputError(
            f"must have 1 to {_MOST_SIDE_PX} pixels a side and {MOST_PX} in all, but its header says "
            f"{width_px}x{height_px}"
        )
    if width_px * height_px * channels * (2 if bits > 8 else 1) > _MOST_DECODED_BYTES:
        raise InputError(
            f"must decode to {_MOST_DECODED_BYTES >> 20} MiB at most, but its header says {width_px}x{height_px} with "
            f"{channels} channels of {bits} bits"
        )
