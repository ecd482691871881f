"""Sound from files: WAV of any integer or floating kind read here, FLAC by the package soundfile."""

from __future__ import annotations

import struct
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perf_inference import missing
from perf_inference.errors import ConfigError, InputError, in_one_line

SUFFIXES = (".wav", ".flac")
RATE_HZ = 16_000  # what speech networks are trained at
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)  # of a header that was written before the sound
_MOST_RATE_HZ, _MOST_CHANNELS = 768_000, 64
_MOST_SAMPLES = 1 << 28
_BLOCK = 1 << 16  # samples of each channel that are decoded at once
_UNKNOWN_FRAMES = (1 << 36) - 1  # a FLAC header counts samples in 36 bits; libsndfile gives more where it has no count


class Sound(NamedTuple):
    """Samples of one channel, float32 [N] in [-1, 1], and their rate [Hz]."""

    samples: NDArray[np.float32]
    rate_hz: int

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate_hz


def read_sound(path: Path) -> Sound:
    """Return the mean of the file's channels.

    Raises:
        InputError: no sound file, one that is empty, cut or of a kind that is not read.
        ConfigError: a FLAC file where the package soundfile is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"'{path}' must be a sound file, {' or '.join(SUFFIXES)}")
    try:
        sound = _flac(path) if path.suffix.lower() == ".flac" else _wav(path)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}") from error
    if not len(sound.samples):
        raise InputError(f"'{path}' has no samples")
    if not np.isfinite(sound.samples).all():
        raise InputError(f"'{path}' has samples that are no numbers")
    return sound


def resampled(sound: Sound, rate_hz: int = RATE_HZ) -> Sound:
    """Return the sound at another rate, by SciPy's polyphase filter (`scipy.signal.resample_poly`).

    Raises:
        ConfigError: SciPy is not installed, and is needed.
    """
    if sound.rate_hz == rate_hz:
        return sound
    try:
        signal: Any = import_module("scipy.signal")
    except ImportError as error:
        raise ConfigError(
            f"sound at {sound.rate_hz} Hz is resampled by SciPy, which is not installed: {missing.pip('scipy')}, or "
            "apt install python3-scipy"
        ) from error
    common = int(np.gcd(sound.rate_hz, rate_hz))
    samples = signal.resample_poly(sound.samples, rate_hz // common, sound.rate_hz // common)
    return Sound(np.asarray(samples, np.float32), rate_hz)


def _flac(path: Path) -> Sound:
    with path.open("rb") as file:
        if file.read(4) != b"fLaC":
            raise InputError(f"'{path}' is no FLAC file")
    try:
        soundfile: Any = import_module("soundfile")
    except (ImportError, OSError) as error:
        raise ConfigError(f"FLAC is read by the package soundfile: {missing.extra('audio')}") from error
    # After each block soundfile seeks to where it is, which fails where the header has no number of samples.
    in_order: Any = type("InOrder", (soundfile.SoundFile,), {"seekable": lambda self: False})
    try:
        with in_order(str(path)) as file:
            said, rate_hz, parts = int(file.frames), int(file.samplerate), []
            at_most = _MOST_SAMPLES // file.channels
            left = at_most + 1
            # In blocks: the header may promise any number of samples, and none where it was written before the sound.
            while left > 0 and len(part := file.read(min(left, _BLOCK), dtype="float32", always_2d=True)):
                parts.append(part.mean(1, dtype=np.float32))
                left -= len(part)
    except Exception as error:  # libsndfile's own
        raise InputError(f"'{path}' is a damaged FLAC file ({in_one_line(error)})") from error
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if len(samples) > at_most:
        raise InputError(f"'{path}' must have at most {_MOST_SAMPLES} samples; cut it")
    if len(samples) < said <= _UNKNOWN_FRAMES:
        raise InputError(f"'{path}' was cut: {len(samples)} of {said} samples of its sound are there")
    return Sound(samples, rate_hz)


def _wav(path: Path) -> Sound:
    data = path.read_bytes()
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise InputError(f"'{path}' is no WAV file: it does not begin as one")
    form: tuple[int, int, int, int] | None = None
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        body = at + 8
        if name == b"fmt ":
            form = _form(path, data[body : body + size])
        elif name == b"data":
            if form is None:
                raise InputError(f"'{path}' is damaged: its samples come before their format")
            if size in _UNKNOWN_SIZES:
                size = len(data) - body
            elif body + size > len(data):
                raise InputError(f"'{path}' was cut: {len(data) - body} of {size} bytes of its sound are there")
            return _decoded(path, data[body : body + size], form)
        at = body + size + size % 2
    raise InputError(f"'{path}' has no samples" if form else f"'{path}' is damaged: it has no format and no samples")


def _form(path: Path, chunk: bytes) -> tuple[int, int, int, int]:
    """Return kind, channels, rate [Hz] and bits."""
    if len(chunk) < 16:
        raise InputError(f"'{path}' is damaged: its format has {len(chunk)} bytes")
    kind, channels, rate_hz, _, block, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == _EXTENSIBLE and len(chunk) >= 26:
        kind = struct.unpack_from("<H", chunk, 24)[0]
    if (kind, bits) not in _DECODERS:
        raise InputError(f"'{path}' must be PCM of 8, 16, 24 or 32 bits or float, got format {kind} of {bits} bits")
    if not (1 <= channels <= _MOST_CHANNELS and 1 <= rate_hz <= _MOST_RATE_HZ) or block != channels * bits // 8:
        raise InputError(f"'{path}' is damaged: {channels} channels of {bits} bits at {rate_hz} Hz, {block} bytes each")
    return kind, channels, rate_hz, bits


def _decoded(path: Path, data: bytes, form: tuple[int, int, int, int]) -> Sound:
    kind, channels, rate_hz, bits = form
    whole = len(data) // (channels * bits // 8) * channels
    if whole > _MOST_SAMPLES:
        raise InputError(f"'{path}' must have at most {_MOST_SAMPLES} samples, got {whole}; cut it")
    samples = _DECODERS[kind, bits](data[: whole * bits // 8])
    return Sound(samples.reshape(-1, channels).mean(1, dtype=np.float64).astype(np.float32), rate_hz)


def _pcm24(data: bytes) -> NDArray[np.float64]:
    parts = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int32)
    numbers = (parts[:, 0] << 8 | parts[:, 1] << 16 | parts[:, 2] << 24) >> 8
    return numbers / 2.0**23


_DECODERS: dict[tuple[int, int], Any] = {
    (_PCM, 8): lambda data: (np.frombuffer(data, np.uint8) - 128.0) / 128.0,
    (_PCM, 16): lambda data: np.frombuffer(data, "<i2") / 2.0**15,
    (_PCM, 24): _pcm24,
    (_PCM, 32): lambda data: np.frombuffer(data, "<i4") / 2.0**31,
    (_FLOAT, 32): lambda data: np.frombuffer(data, "<f4").astype(np.float64),
    (_FLOAT, 64): lambda data: np.frombuffer(data, "<f8"),
}
