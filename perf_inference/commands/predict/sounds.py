"""What `predict` says of a sound file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from perf_inference.engines import Engine
from perf_inference.quantities import above_zero, not_negative, positive
from perf_inference.tasks.audio.sound_file import SUFFIXES, read_sound, resampled
from perf_inference.tasks.audio.task import AudioTask, chunks_of, describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of sound."""
    parser.add_argument(
        "--chunk", type=above_zero, default=1.0, metavar="S", help="length of a chunk of sound (default: 1)"
    )
    parser.add_argument(
        "--hop", type=not_negative, default=0.0, metavar="S", help="from chunk to chunk (default: its length)"
    )
    parser.add_argument("--batch", type=positive, default=1, help="chunks of sound at a time (default: 1)")


def is_sound(path: Path) -> bool:
    """Return whether a file is one of sound, by its suffix."""
    return path.suffix.lower() in SUFFIXES


def hears(engine: Engine) -> bool:
    """Return whether the engine is a network of sound."""
    return "audio" in engine.info.metadata


def predict_audio(
    engine: Engine, path: Path, chunk_s: float = 1.0, hop_s: float = 0.0, batch: int = 1
) -> dict[str, Any]:
    """Return what is heard in a file, as `predict` writes it: `audio`, `kind`, `duration_s` and `chunks`.

    Args:
        hop_s: 0: the chunk's length.

    Raises:
        InputError, EngineError: this file has no result; the next may have one.
        ConfigError: the engine is none of sound, or a library that the file needs is not installed.
    """
    task = AudioTask(engine)
    sound = resampled(read_sound(path), task.rate_hz)
    chunks, starts_s = chunks_of(sound, chunk_s, hop_s or chunk_s)
    heard = task.heard(chunks, starts_s, max(1, batch))
    return {"audio": str(path), "duration_s": sound.duration_s, **describe(heard)}
