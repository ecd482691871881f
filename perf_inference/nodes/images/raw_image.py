"""A sensor_msgs/Image read where it lies: a view of its serialized bytes, without rclpy's copies of the pixels.

0  encapsulation: 0, then 0 (big) or 1 (little endian), options     CDR, OMG DDSI-RTPS 10.2
4  stamp.sec i32, stamp.nanosec u32                                 counted from here, numbers lie at
   frame_id: length u32, text, NUL                                  multiples of their size
   height u32, width u32
   encoding: length u32, text, NUL
   is_bigendian u8, step u32
   data: length u32, bytes
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from perf_inference.errors import InputError

_LITTLE, _BIG = (b"\x00\x01", b"\x00\x07"), (b"\x00\x00", b"\x00\x06")  # XCDR2 lays these fields out alike
_BODY = 4  # bytes of the encapsulation


@dataclass(eq=False)
class RawImage:
    """The fields of sensor_msgs/Image; `data` is a view of the bytes that came."""

    sec: int  # of the header, as its two others
    nanosec: int
    frame_id: str
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview

    @property
    def stamp_ns(self) -> int | None:
        """The header's stamp [ns]; None: it was never set."""
        return (self.sec * 1_000_000_000 + self.nanosec) or None

    @cached_property
    def header(self) -> Header:
        """The header as a message, made when it is asked for: that takes longer than all the rest here."""
        return Header(stamp=Time(sec=self.sec, nanosec=self.nanosec), frame_id=self.frame_id)


def read_image(cdr: bytes) -> RawImage | Image:
    """Return the image of a serialized message; of a middleware that serializes it in another way, rclpy's.

    Raises:
        InputError: bytes that are no sensor_msgs/Image, or are fewer than they say.
    """
    order = "<" if cdr[:2] in _LITTLE else ">" if cdr[:2] in _BIG else ""
    if not order:
        return _deserialized(cdr)
    try:
        sec, nanosec = struct.unpack_from(order + "iI", cdr, _BODY)
        frame_id, at = _text(cdr, order, 12)
        height, width = struct.unpack_from(order + "II", cdr, at)
        encoding, at = _text(cdr, order, at + 8, aligned=False)
        is_bigendian = cdr[at]
        step, size = struct.unpack_from(order + "II", cdr, _aligned(at + 1))
    except (struct.error, IndexError) as error:
        raise InputError(f"a serialized image ends within its header, after {len(cdr)} bytes") from error
    at = _aligned(at + 1) + 8
    if len(cdr) - at < size:
        raise InputError(f"a serialized image must have {size} bytes of data, as it says, got {len(cdr) - at}")
    data = memoryview(cdr)[at : at + size]
    return RawImage(sec, nanosec, frame_id, height, width, encoding, is_bigendian, step, data)


def _deserialized(cdr: bytes) -> Image:
    try:
        return deserialize_message(cdr, Image)
    except Exception as error:  # of each middleware's own kind
        raise InputError(
            f"{len(cdr)} bytes that begin with {cdr[:4].hex() or 'nothing'} are no serialized image"
        ) from error


def _text(cdr: bytes, order: str, at: int, aligned: bool = True) -> tuple[str, int]:
    """Return the string at this offset, and where the next field begins (a number, if `aligned`)."""
    (length,) = struct.unpack_from(order + "I", cdr, at)
    end = at + 4 + length
    text = cdr[at + 4 : end].rstrip(b"\0").decode("utf-8", "replace")
    return text, _aligned(end) if aligned else end


def _aligned(at: int) -> int:
    """Return the next multiple of 4, which the encapsulation's length is too."""
    return -(-at // 4) * 4
