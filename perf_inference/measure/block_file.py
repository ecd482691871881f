"""The timings file of a PerformanceMonitor: a line per block, and what they come to, as recordings have them."""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from perf_inference.errors import ConfigError, RecordingError
from perf_inference.measure.statistics import TimingStatistics

NODE = "performance_monitor"
_LONGEST_NS = 1_000_000_000  # that a line waits, once another block has ended
_log = logging.getLogger(__name__)


class BlockFile:
    """Appends to `performance_timings_<time>.jsonl`, and writes `performance_summary_<time>.json` when it is closed.

    Args:
        session_time: part of the names (YYYYmmdd_HHMMSS); empty: now.
        auto_save_interval: blocks from one writing to the next; after a second, the next block is written at once.

    Raises:
        ConfigError: the directory cannot be made or the file not be opened, or the interval is below 1.
    """

    def __init__(self, directory: Path, session_time: str, auto_save_interval: int, device: str) -> None:
        if auto_save_interval < 1:
            raise ConfigError(f"auto_save_interval must be 1 or more blocks, got {auto_save_interval}")
        self._time = session_time or time.strftime("%Y%m%d_%H%M%S")
        if self._time != Path(self._time).name or self._time in (".", ".."):
            raise ConfigError(
                f"session_time must be part of a file's name, such as 20240131_120000, got '{self._time}'"
            )
        self._directory, self._interval, self._device = directory, auto_save_interval, device
        self._lock = threading.Lock()
        self._waiting: list[str] = []
        self._statistics = TimingStatistics()
        self._seq = 0
        self._pid = os.getpid()
        self.failed = 0  # blocks that raised: in the summary only
        self._saved_ns = time.monotonic_ns()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] | None = (directory / f"performance_timings_{self._time}.jsonl").open("a")
        except OSError as error:
            raise ConfigError(f"output_dir '{directory}' cannot be written: {error.strerror}") from error

    def add(self, metrics: Mapping[str, Any], begin_ns: int) -> None:
        """Append a block that began then [ns, monotonic].

        Raises:
            RecordingError: the file cannot be written.
        """
        with self._lock:
            if self._file is None:
                raise RecordingError("this PerformanceMonitor is closed: its summary is written; make another one")
            self._seq += 1
            took_ms = 1e3 * metrics["inference_time"]
            record: dict[str, Any] = {
                "node": NODE, "engine": "", "precision": "", "seq": self._seq, "stamp_ns": None, "due_ns": None,
                "received_ns": time.time_ns() - round(1e6 * took_ms), "arrived_ns": begin_ns, "infer_ms": took_ms,
                "total_ms": took_ms, "latency_ms": None, "dropped_before": 0, "warmup": False, **metrics,
            }  # fmt: skip
            self._statistics.add(record)
            self._waiting.append(json.dumps({key: _plain(value) for key, value in record.items()}))
            if len(self._waiting) >= self._interval or time.monotonic_ns() - self._saved_ns > _LONGEST_NS:
                self._save()

    def close(self) -> None:
        """Write what waits, and the summary; a second call does nothing.

        Raises:
            RecordingError: they cannot be written.
        """
        with self._lock:
            if self._file is None or self._pid != os.getpid():  # a fork's end is not this session's
                return
            try:
                self._save()
            finally:
                with suppress(OSError):  # `_save` has said it
                    self._file.close()
                self._file = None
            path = self._directory / f"performance_summary_{self._time}.json"
            figures = self._statistics
            summary = {
                "total_actions": 0,
                "elapsed_s": figures.elapsed_s,
                "average_hz": figures.hz,
                "nodes": {NODE: {**figures.as_dict(), "failed": self.failed, "device": self._device}},
            }
            part = path.with_name(f".{path.name}.part")
            try:
                part.write_text(json.dumps(summary, indent=1) + "\n")
                part.replace(path)
            except OSError as error:
                raise RecordingError(f"'{path}' cannot be written: {error.strerror}") from error

    def _save(self) -> None:
        self._saved_ns = time.monotonic_ns()
        if not self._waiting or self._file is None:
            return
        count = len(self._waiting)
        lines, self._waiting = self._waiting, []
        try:
            self._file.write("".join(f"{line}\n" for line in lines))
            self._file.flush()
        except OSError as error:
            raise RecordingError(f"'{self._file.name}' cannot be written: {error.strerror}") from error
        _log.info("Auto-saved %d records", count)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
