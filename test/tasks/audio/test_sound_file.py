"""WAV files of all kinds, damaged and odd ones, and chunks."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from support.flac import flac

from perf_inference.errors import ConfigError, InputError
from perf_inference.tasks.audio.sound_file import Sound, read_sound, resampled
from perf_inference.tasks.audio.task import chunks_of


def _wav(path: Path, data: bytes, channels: int = 1, rate_hz: int = 16_000, bits: int = 16, kind: int = 1) -> Path:
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", kind, channels, rate_hz, rate_hz * block, block, bits)
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", len(form)) + form
    path.write_bytes(head + b"LIST\x03\x00\x00\x00abc\x00" + b"data" + struct.pack("<I", len(data)) + data)
    return path


@pytest.mark.parametrize(
    ("data", "bits", "kind"),
    [
        (bytes([128, 192, 0]), 8, 1),
        (struct.pack("<3h", 0, 1 << 14, -(1 << 15)), 16, 1),
        (b"\x00\x00\x00" + b"\x00\x00\x40" + b"\x00\x00\x80", 24, 1),
        (struct.pack("<3i", 0, 1 << 30, -(1 << 31)), 32, 1),
        (struct.pack("<3f", 0, 0.5, -1), 32, 3),
        (struct.pack("<3d", 0, 0.5, -1), 64, 3),
    ],
)
def test_every_kind_of_sample(tmp_path: Path, data: bytes, bits: int, kind: int) -> None:
    sound = read_sound(_wav(tmp_path / "a.wav", data, bits=bits, kind=kind))
    assert sound.samples.tolist() == [0.0, 0.5, -1.0]
    assert sound.rate_hz == 16_000


def test_channels_are_averaged(tmp_path: Path) -> None:
    data = struct.pack("<10h", 0, 1 << 14, 0, 0, 0, *(1 << 14,) * 5)
    sound = read_sound(_wav(tmp_path / "a.wav", data, channels=5, rate_hz=48_000))
    np.testing.assert_allclose(sound.samples, [0.1, 0.5], atol=1e-7)


def test_a_header_written_before_the_sound_says_nothing_of_its_length(tmp_path: Path) -> None:
    path = _wav(tmp_path / "a.wav", struct.pack("<2h", 1 << 14, 0))
    data = path.read_bytes()
    for size in (b"\xff\xff\xff\xff", b"\0\0\0\0"):
        path.write_bytes(data[:-8] + size + data[-4:])
        assert read_sound(path).samples.tolist() == [0.5, 0.0]


def test_what_is_no_sound_is_refused_by_name(tmp_path: Path) -> None:
    good = _wav(tmp_path / "good.wav", struct.pack("<4h", 1, 2, 3, 4)).read_bytes()
    for content, words in (
        (b"", "no WAV file"),
        (b"RIFF", "no WAV file"),
        (good[:-3], "was cut: 5 of 8 bytes"),
        (good[:30], "no format and no samples|damaged|has no samples"),
        (good.replace(b"data", b"date"), "has no samples"),
    ):
        path = tmp_path / "bad.wav"
        path.write_bytes(content)
        with pytest.raises(InputError, match=words) as raised:
            read_sound(path)
        assert "bad.wav" in str(raised.value)
    for name, more, words in (
        ("empty", {"data": b""}, "has no samples"),
        ("law", {"data": b"ab", "kind": 7, "bits": 8}, "format 7 of 8 bits"),
        ("twelve", {"data": b"abc", "bits": 12}, "of 12 bits"),
        ("silent", {"data": b"abcd", "channels": 0}, "0 channels"),
        ("nan", {"data": struct.pack("<f", float("nan")), "kind": 3, "bits": 32}, "no numbers"),
    ):
        with pytest.raises(InputError, match=words):
            read_sound(_wav(tmp_path / f"{name}.wav", **more))  # type: ignore[arg-type]
    (tmp_path / "a.flac").write_bytes(b"RIFF")
    with pytest.raises(InputError, match="no FLAC"):
        read_sound(tmp_path / "a.flac")
    with pytest.raises(InputError, match="cannot be read"):
        read_sound(tmp_path / "missing.wav")


@pytest.mark.parametrize(
    ("bits", "channels", "rate_hz"), [(16, 1, 16_000), (16, 2, 44_100), (24, 3, 48_000), (8, 1, 8000)]
)
@pytest.mark.parametrize("known", [True, False])
def test_flac_is_decoded(tmp_path: Path, bits: int, channels: int, rate_hz: int, known: bool) -> None:
    pytest.importorskip("soundfile")
    most = 1 << bits - 1
    samples = np.random.default_rng(bits).integers(-most, most, (5000, channels))
    path = tmp_path / "a.flac"
    path.write_bytes(flac(samples, rate_hz, bits, known))
    sound = read_sound(path)
    assert sound.rate_hz == rate_hz
    np.testing.assert_allclose(sound.samples, samples.mean(1) / most, atol=1e-6)


def test_damaged_flac_is_refused_by_name(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    samples = np.random.default_rng(0).integers(-(1 << 15), 1 << 15, (9000, 1))
    good = flac(samples, 16_000)
    for content, words in (
        (good[:200], "damaged FLAC|was cut: 0 of 9000"),
        (good[: len(good) // 2], "was cut|damaged FLAC"),
        (good[:42], "was cut: 0 of 9000|damaged FLAC"),
        (b"fLaC" + bytes(50), "damaged FLAC"),
        (flac(np.zeros((0, 1), np.int64), 16_000, known=False), "no samples|damaged FLAC"),
    ):
        path = tmp_path / "bad.flac"
        path.write_bytes(content)
        with pytest.raises(InputError, match=words) as raised:
            read_sound(path)
        assert "bad.flac" in str(raised.value)


def test_flac_without_its_library_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    path = tmp_path / "a.flac"
    path.write_bytes(flac(np.zeros((10, 1), np.int64), 16_000))
    with pytest.raises(ConfigError, match=r"pip install scipy soundfile"):
        read_sound(path)


def test_chunks_begin_at_each_hop_and_the_last_is_filled_up() -> None:
    sound = Sound(np.arange(1, 11, dtype=np.float32), 4)
    chunks, starts = chunks_of(sound, 1.0, 0.5)
    assert starts == [0.0, 0.5, 1.0, 1.5]
    assert chunks[-1].tolist() == [7, 8, 9, 10]
    chunks, starts = chunks_of(sound, 1.0, 1.0)
    assert (starts, chunks[-1].tolist()) == ([0.0, 1.0, 2.0], [9, 10, 0, 0])
    chunks, starts = chunks_of(sound, 5.0, 1.0)
    assert (len(chunks), starts) == (1, [0.0])
    with pytest.raises(InputError, match="above 0 s"):
        chunks_of(sound, 1.0, 0.0)


@pytest.mark.slow
def test_a_tone_keeps_its_pitch_at_another_rate() -> None:
    pytest.importorskip("scipy")
    t = np.arange(48_000) / 48_000
    sound = resampled(Sound(np.sin(2 * np.pi * 440 * t).astype(np.float32), 48_000))
    assert (len(sound.samples), sound.rate_hz) == (16_000, 16_000)
    wanted = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(sound.samples[200:-200], wanted[200:-200], atol=2e-3)
