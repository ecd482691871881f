"""The sound that a command writes, read as it comes: a WAV, or samples without a head.

RIFF     size WAVE         http://soundfile.sapp.org/doc/WaveFormat/
fmt      size kind channels rate bytes/s block bits
data     size samples      a size that was not known when the head was written: 0, or about 2 GB
"""

from __future__ import annotations

import io
import struct
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from perf_inference.errors import EngineError, in_one_line

_UNKNOWN_BYTES = 0x7F000000  # what is said to be larger was not known
_LONGEST_HEAD_BYTES = 65536
_MOST_RATE_HZ, _MOST_CHANNELS = 768_000, 64
_KINDS = (1, 3, 0xFFFE)  # PCM, float, extensible


class Form(NamedTuple):
    """How samples are laid out."""

    rate_hz: int
    channels: int
    bits: int
    fmt: bytes  # the WAV's chunk

    @property
    def block_bytes(self) -> int:
        return self.channels * self.bits // 8

    def duration_s(self, size_bytes: int) -> float:
        return size_bytes / self.block_bytes / self.rate_hz

    def head(self, size_bytes: int | None) -> bytes:
        """Return the head of a WAV with so many bytes of samples; None: it is not known yet."""
        size = 0x7FFFF000 if size_bytes is None else size_bytes
        fmt = b"fmt " + struct.pack("<I", len(self.fmt)) + self.fmt
        return b"RIFF" + struct.pack("<I", 4 + len(fmt) + 8 + size) + b"WAVE" + fmt + b"data" + struct.pack("<I", size)


def pcm16(rate_hz: int, channels: int = 1) -> Form:
    """Return the form of samples of 16 bits."""
    return Form(rate_hz, channels, 16, struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * channels * 2,
                                                   channels * 2, 16))  # fmt: skip


class SoundStream:
    """Takes the bytes of a command in pieces of any size; `form` is known from the head on."""

    def __init__(self, raw_hz: int = 0, most_bytes: int = 1 << 26) -> None:
        """Begin.

        Args:
            raw_hz: rate of samples of 16 bits, one channel, that come without a head; 0: a WAV comes.
            most_bytes: of samples; a command that writes for ever is ended by it.
        """
        self.form: Form | None = pcm16(raw_hz) if raw_hz else None
        self.samples = bytearray()
        self._head, self._most_bytes = bytearray(), most_bytes
        self._said_bytes: int | None = None  # by the head; None: not known
        self._packed = False  # MP3, OGG or FLAC: all of it is needed first

    def feed(self, data: bytes) -> None:
        """Take what has come.

        Raises:
            EngineError: it is no sound, or more than anybody says.
        """
        if len(self.samples) + len(self._head) + len(data) > self._most_bytes:
            raise EngineError(f"it wrote more than {self._most_bytes >> 20} MiB of sound for one text")
        if self.form is not None:
            self._add(data)
            return
        self._head += data
        if not self._packed:
            self._look()

    def end(self) -> None:
        """Say that no more comes.

        Raises:
            EngineError: there is no sound, or it was cut.
        """
        if self._packed:
            self._unpack()
        if self.form is None:
            begin = bytes(self._head[:4])
            raise EngineError(
                f"a WAV was expected on its standard output, it wrote {len(self._head)} bytes"
                + (f" that begin with {begin.hex()}" if begin else "")
            )
        if self._said_bytes is not None and len(self.samples) < self._said_bytes:
            raise EngineError(f"its sound was cut: {len(self.samples)} of {self._said_bytes} bytes came")
        del self.samples[len(self.samples) // self.form.block_bytes * self.form.block_bytes :]
        if not self.samples:
            raise EngineError("it wrote a sound without samples")

    def wav(self) -> bytes:
        """Return the whole sound as a WAV."""
        assert self.form is not None
        return self.form.head(len(self.samples)) + bytes(self.samples)

    @property
    def duration_s(self) -> float:
        return 0.0 if self.form is None else self.form.duration_s(len(self.samples))

    def _add(self, data: bytes) -> None:
        left = len(data) if self._said_bytes is None else self._said_bytes - len(self.samples)
        self.samples += data[: max(0, left)]

    def _look(self) -> None:
        head = self._head
        if len(head) < 12:
            return
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            if (
                head[:3] == b"ID3"
                or bytes(head[:4]) in (b"OggS", b"fLaC")
                or (head[0] == 0xFF and head[1] & 0xE0 == 0xE0)
            ):
                self._packed = True
                return
            raise EngineError(f"a WAV was expected on its standard output, it begins with {bytes(head[:4]).hex()}")
        at, fmt = 12, b""
        while at + 8 <= len(head):
            name, size = bytes(head[at : at + 4]), struct.unpack_from("<I", head, at + 4)[0]
            if name == b"data":
                self.form = _form(fmt)
                self._said_bytes = size if 0 < size < _UNKNOWN_BYTES else None
                rest, self._head = bytes(head[at + 8 :]), bytearray()
                self._add(rest)
                return
            if at + 8 + size > _LONGEST_HEAD_BYTES:
                raise EngineError("the head of its WAV does not end")
            if at + 8 + size > len(head):
                return
            if name == b"fmt ":
                fmt = bytes(head[at + 8 : at + 8 + size])
            at += 8 + size + size % 2
        if at > _LONGEST_HEAD_BYTES:
            raise EngineError("the head of its WAV does not end")

    def _unpack(self) -> None:
        try:
            soundfile: Any = import_module("soundfile")
        except (ImportError, OSError) as error:
            raise EngineError(
                "it wrote MP3, OGG or FLAC, which is read by the package soundfile: install the extra "
                "perf_inference[audio], or python3-soundfile"
            ) from error
        try:
            samples, rate_hz = soundfile.read(io.BytesIO(bytes(self._head)), dtype="int16", always_2d=True)
        except Exception as error:  # libsndfile's own
            raise EngineError(f"its sound is damaged: {in_one_line(error)}") from error
        self.form = pcm16(int(rate_hz), samples.shape[1])
        self.samples += np.ascontiguousarray(samples, "<i2").tobytes()


def _form(fmt: bytes) -> Form:
    if len(fmt) < 16:
        raise EngineError("its WAV has no format before its samples")
    kind, channels, rate_hz, _, block, bits = struct.unpack_from("<HHIIHH", fmt)
    sizes = 1 <= channels <= _MOST_CHANNELS and 1 <= rate_hz <= _MOST_RATE_HZ and bits in (8, 16, 24, 32, 64)
    if kind not in _KINDS or not sizes or block != channels * bits // 8:
        raise EngineError(f"its WAV has a format that nobody plays: {kind}, {channels} channels of {bits} bits")
    return Form(rate_hz, channels, bits, fmt)
