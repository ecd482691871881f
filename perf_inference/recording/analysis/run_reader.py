"""Reads a run from its files, whatever they have been through, and goes on where it stopped while they grow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from perf_inference.errors import InputError, RecordingError
from perf_inference.files.regular import open_regular
from perf_inference.measure.stamps import STAGES
from perf_inference.recording.analysis.analysis import LineCounts, NodeAnalysis, RunAnalysis, as_mapping
from perf_inference.recording.analysis.figures import Figures
from perf_inference.recording.analysis.growing_file import GrowingFile
from perf_inference.recording.analysis.timing_columns import TimingColumns, TimingTable
from perf_inference.recording.run_directory import SESSION, summary_of, timings_in

_WHOLE = ("latency", "due_latency", "dropped_age")  # figures of a node that are not stages
_MAX_NODES = 1000
_MOST_JSON_BYTES = 1 << 26
_NOTHING = Figures.of(np.empty(0, np.int64))


class RunReader:
    """Reads a run's directory, or one timings file and what lies beside it."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self._files: dict[Path, GrowingFile] = {}
        self._nodes: dict[str, TimingColumns] = {}
        self._lines = self._records = self._damaged = self._foreign = self._torn = 0

    def poll(self, limit: int = 100_000) -> int:
        """Read the lines that have come, `limit` at most; return how many.

        Raises:
            RecordingError: a file cannot be read.
        """
        try:
            before = self._lines
            for line in islice(self._new_lines(), limit):
                self._lines += 1
                self._take(line)
        except OSError as error:
            raise RecordingError(f"{error.filename or self.source} cannot be read: {error.strerror}") from error
        return self._lines - before

    def finish(self) -> None:
        """Take what stands after the last newline, which nobody will end any more."""
        for file in self._files.values():
            tail, file.tail = file.tail, b""
            if not tail.strip():
                continue
            try:
                orjson.loads(tail)
            except orjson.JSONDecodeError:
                self._torn += 1
            else:  # the beginning of an object is no object: only the newline is missing
                self._lines += 1
                self._take(tail)

    def result(self) -> RunAnalysis:
        """Return what was read so far comes to."""
        directory = self.source if self.source.is_dir() else self.source.parent
        summary = self._summary()
        nodes = as_mapping(summary.get("nodes"))
        overlong = sum(file.overlong for file in self._files.values())
        return RunAnalysis(
            source=self.source,
            files=tuple(self._files),
            lines=LineCounts(
                self._lines + overlong, self._records, self._damaged + overlong, self._foreign, self._torn
            ),
            nodes=tuple(
                _node(name, columns, as_mapping(nodes.get(name))) for name, columns in sorted(self._nodes.items())
            ),
            session=read_json(directory / SESSION),
            summarised=bool(nodes),
        )

    def _new_lines(self) -> Iterator[bytes]:
        for path in timings_in(self.source) if self.source.is_dir() else [self.source]:
            yield from self._files.setdefault(path, GrowingFile(path)).lines()

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            self._damaged += 1
            return
        try:
            if not isinstance(record, dict) or not isinstance(record.get("node"), str):
                raise InputError("a timing has a node")
            if record["node"] not in self._nodes and len(self._nodes) >= _MAX_NODES:
                raise InputError(f"a run has {_MAX_NODES} nodes at most")
            columns = self._nodes.get(record["node"]) or TimingColumns()
            columns.add(record)
        except InputError:
            self._foreign += 1
            return
        self._nodes[record["node"]] = columns
        self._records += 1

    def _summary(self) -> Mapping[str, Any]:
        """Return the newest summary file that belongs to a timings file that was read."""
        found = (read_json(summary_of(path)) for path in sorted(self._files, reverse=True))
        return next(filter(None, found), {})


def read_json(path: Path) -> Mapping[str, Any]:
    """Return the object in this file; empty: there is none."""
    try:
        with open_regular(path) as file:
            return as_mapping(orjson.loads(file.read(_MOST_JSON_BYTES)))
    except (OSError, orjson.JSONDecodeError):
        return {}


def _node(name: str, columns: TimingColumns, summary: Mapping[str, Any]) -> NodeAnalysis:
    table = columns.table()
    elapsed_ns = int(table.arrived_ns.max()) - int(table.arrived_ns.min())
    steps = np.diff(table.seq)
    figures = {key: Figures.of(table.samples_ns(key)) for key in _ordered(table)}
    counted = summary.get("counted")
    return NodeAnalysis(
        name=name,
        engines=tuple(columns.engines),
        inferences=len(table),
        warmup=int(table.warmup.sum()),
        hz=(len(table) - 1) / (elapsed_ns / 1e9) if elapsed_ns > 0 else None,
        elapsed_s=elapsed_ns / 1e9,
        drops=int(table.dropped_before.sum()),
        missing=max(0, counted - len(table)) if isinstance(counted, int) else None,
        gaps=int((steps[steps > 1] - 1).sum()),
        starts=1 + int((steps <= 0).sum()),
        duplicates=table.duplicates,
        stages={key: value for key, value in figures.items() if key not in _WHOLE},
        latency=figures.get("latency") or _NOTHING,
        due_latency=figures.get("due_latency") or _NOTHING,
        dropped_age=figures.get("dropped_age") or _NOTHING,
        ledger={str(key): as_mapping(value) for key, value in as_mapping(summary.get("ledger")).items()},
        machine=as_mapping(summary.get("machine")) or None,
        policy=columns.policy,
        real_time_factor=columns.real_time_factor,
        table=table,
    )


def _ordered(table: TimingTable) -> list[str]:
    """Return the durations in the order in which they happen; what is not known of comes after."""
    known = [name for name in (*STAGES, "total") if name in table.durations_ns]
    return [*known, *sorted(table.durations_ns.keys() - set(known))]
