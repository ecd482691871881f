"""The images of a recording, read from their CDR without ROS: sensor_msgs/Image and sensor_msgs/CompressedImage."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from perf_inference.errors import InputError

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_BODY = 4  # bytes of the encapsulation: 0, then 0 (big) or 1 (little endian), and options


@dataclass(frozen=True)
class RecordedImage:
    """The fields of either type; `data` is a view of the message's bytes."""

    stamp_ns: int
    frame_id: str
    height: int
    width: int
    encoding: str  # of a compressed one its format
    is_bigendian: int
    step: int
    data: memoryview

    @property
    def format(self) -> str:
        return self.encoding


def read_recorded_image(cdr: bytes, type_name: str) -> RecordedImage:
    """Return the image of a serialized message.

    Raises:
        InputError: bytes that are no such message, or are fewer than they say.
    """
    reader = _Reader(cdr)
    try:
        sec, nanosec = reader.number("i"), reader.number("I")
        frame_id = reader.text()
        if type_name == COMPRESSED:
            return RecordedImage(sec * 10**9 + nanosec, frame_id, 0, 0, reader.text(), 0, 0, reader.data())
        height, width, encoding = reader.number("I"), reader.number("I"), reader.text()
        big, step = reader.byte(), reader.number("I")
        return RecordedImage(sec * 10**9 + nanosec, frame_id, height, width, encoding, big, step, reader.data())
    except (struct.error, IndexError) as error:
        raise InputError(f"a message of {len(cdr)} bytes is no {type_name}: it ends within its fields") from error


class _Reader:
    """Numbers lie at multiples of their size, counted from behind the encapsulation, which is 4 bytes."""

    def __init__(self, cdr: bytes) -> None:
        self._cdr, self._at = cdr, _BODY
        self._order = "<" if len(cdr) > 1 and cdr[1] & 1 else ">"

    def number(self, code: str) -> int:
        self._at = -(-self._at // 4) * 4
        (value,) = struct.unpack_from(self._order + code, self._cdr, self._at)
        self._at += 4
        return int(value)

    def byte(self) -> int:
        self._at += 1
        return self._cdr[self._at - 1]

    def text(self) -> str:
        return bytes(self.data()).rstrip(b"\0").decode("utf-8", "replace")

    def data(self) -> memoryview:
        length = self.number("I")
        begin, self._at = self._at, self._at + length
        if self._at > len(self._cdr):
            raise IndexError(length)
        return memoryview(self._cdr)[begin : self._at]
