"""Tells what a path holds that somebody wants analysed."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import orjson

from perf_inference.errors import RecordingError
from perf_inference.recording import run_directory
from perf_inference.recording.analysis.growing_file import GrowingFile
from perf_inference.recording.analysis.run_reader import RunReader
from perf_inference.recording.analysis.segment_reader import SegmentReader
from perf_inference.recording.run_directory import TIMINGS

_EXPECTED = f"a run's directory, a {TIMINGS} or a topics_*.jsonl"
_BAGS = (".db3", ".mcap", ".db3.zstd", ".mcap.zstd", ".bag")
_LOOK_AT = 100  # lines


def open_recording(path: Path, follow: bool = False) -> RunReader | SegmentReader:
    """Return the reader of what is there; with `follow`, timings may come later.

    Raises:
        RecordingError: it is nothing that can be analysed.
    """
    if not path.exists():
        raise RecordingError(f"{path} is not there; give {_EXPECTED}")
    if not os.access(path, os.R_OK):
        raise RecordingError(f"{path} cannot be read: permission denied")
    if path.is_dir():
        _check_directory(path, follow)
        return RunReader(path)
    if not path.is_file():
        raise RecordingError(f"{path} is no file; give {_EXPECTED}")
    if path.name.endswith(_BAGS):
        raise _bag(path)
    if path.name.endswith(".jsonl.zst"):
        return SegmentReader(path)
    if path.stat().st_size == 0 and not follow:
        raise RecordingError(f"{path} is empty: nothing was recorded yet; --follow waits for it")
    kind = _kind(path) or run_directory.kind(path)
    if kind == "topics":
        return SegmentReader(path)
    if kind == "timings":
        return RunReader(path)
    raise RecordingError(f"{path} is no recording that can be analysed; give {_EXPECTED}")


def _check_directory(path: Path, follow: bool) -> None:
    if run_directory.timings_in(path):
        return
    if (path / "metadata.yaml").is_file() or any(name.endswith(_BAGS) for name in os.listdir(path)):
        raise _bag(path)
    if follow:
        return
    runs = sorted({timings.parent for timings in path.glob(f"*/{TIMINGS}")})
    if runs:
        raise RecordingError(f"{path} is no run, but holds some: give one of its {len(runs)}, such as {runs[-1]}")
    if topics := run_directory.segments_in(path):
        raise RecordingError(f"{path} has no {TIMINGS}; its topics can be looked at one by one: {topics[0]}")
    raise RecordingError(f"{path} has no {TIMINGS}; give {_EXPECTED}")


def _bag(path: Path) -> RecordingError:
    return RecordingError(
        f"{path} is a rosbag2 recording, which has no timings; 'perf-inference convert' makes segments of it, and "
        "analyze looks at those"
    )


def _kind(path: Path) -> str:
    """Return `timings` or `topics`, by the first lines that can be read; empty: neither."""
    try:
        for line in islice(GrowingFile(path).lines(), _LOOK_AT):
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(record, dict) and "node" in record and "received_ns" in record:
                return "timings"
            if isinstance(record, dict) and ("record" in record or ("topic" in record and "t" in record)):
                return "topics"
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from error
    return ""
