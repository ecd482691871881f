"""FLAC files without a library: frames of verbatim subframes (RFC 9639), with their checksums."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_BLOCK = 4096  # samples of each channel in a frame
_SIZES = {8: 0b001, 16: 0b100, 24: 0b110}


class _Bits:
    """Bits in the order of the file, most significant first."""

    def __init__(self) -> None:
        self._value, self._count = 0, 0

    def add(self, value: int, count: int) -> _Bits:
        self._value = self._value << count | value & (1 << count) - 1
        self._count += count
        return self

    def bytes(self) -> bytes:
        return (self._value << -self._count % 8).to_bytes(-(-self._count // 8), "big")


def flac(samples: NDArray[np.integer], rate_hz: int, bits: int = 16, known: bool = True) -> bytes:
    """Return the file of samples [N, channels].

    Args:
        known: the header says how many samples there are, and their MD5; a stream's does not.
    """
    count, channels = samples.shape
    about = _Bits().add(_BLOCK, 16).add(_BLOCK, 16).add(0, 48).add(rate_hz, 20).add(channels - 1, 3).add(bits - 1, 5)
    about.add(count if known else 0, 36)
    raw = b"".join(int(value).to_bytes(bits // 8, "little", signed=True) for value in samples.reshape(-1))
    digest = hashlib.md5(raw, usedforsecurity=False).digest() if known else bytes(16)
    info = about.bytes() + digest
    head = b"fLaC" + bytes([0x80]) + struct.pack(">I", len(info))[1:] + info
    frames = (samples[at : at + _BLOCK] for at in range(0, count, _BLOCK))
    return head + b"".join(_frame(number, frame, bits) for number, frame in enumerate(frames))


def _frame(number: int, samples: NDArray[np.integer], bits: int) -> bytes:
    count, channels = samples.shape
    head = _Bits().add(0b11111111111110, 14).add(0, 2)  # sync code, blocks of one size
    head.add(0b0111, 4).add(0, 4)  # the block's size follows in 16 bits; the rate is that of the header
    head.add(channels - 1, 4).add(_SIZES[bits], 3).add(0, 1)
    assert number < 128  # of the first kind of number that UTF-8 has
    head.add(number, 8).add(count - 1, 16)
    begin = head.bytes()
    begin += bytes([_crc(begin, 0x07, 8)])
    body = _Bits()
    for channel in samples.T:
        body.add(0b0_000001_0, 8)  # a verbatim subframe
        for value in channel:
            body.add(int(value), bits)
    frame = begin + body.bytes()
    return frame + _crc(frame, 0x8005, 16).to_bytes(2, "big")


def _crc(data: Sequence[int], polynomial: int, bits: int) -> int:
    found = 0
    for byte in data:
        found ^= byte << bits - 8
        for _ in range(8):
            found = (found << 1 ^ (polynomial if found >> bits - 1 else 0)) & (1 << bits) - 1
    return found
