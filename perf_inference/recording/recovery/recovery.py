"""Brings every whole line out of a recording that was cut, or partly overwritten; the source is only read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import IO

import zstandard

from perf_inference.errors import ConfigError, RecordingError
from perf_inference.files.names import natural_order
from perf_inference.files.regular import open_regular
from perf_inference.files.whole import claimed, sync_folder, whole_file
from perf_inference.recording import run_directory
from perf_inference.recording.recovery.loss import Start, starts
from perf_inference.recording.recovery.repair import Repair
from perf_inference.recording.recovery.survey import Survey, survey, walk
from perf_inference.recording.recovery.timings_survey import TimingsSurvey, survey_timings, timing_pieces

_BAGS = (".db3", ".mcap", ".db3.zstd", ".mcap.zstd")


@dataclass(frozen=True)
class Recovery:
    """What can be had of a file or of a run's directory."""

    source: Path
    segments: list[Survey]
    timings: list[TimingsSurvey]
    kept: list[Path] = field(default_factory=list)  # copied as they are

    @property
    def files(self) -> list[Survey | TimingsSurvey]:
        return [*self.segments, *self.timings]

    @property
    def records(self) -> int:
        return sum(each.records for each in self.files)

    @property
    def complete(self) -> bool:
        """Return whether nothing is lost, as far as the files can tell."""
        whole = not any(each.broken for each in self.files)
        headed = all(part.header is not None for each in self.segments for part in each.parts if each.lines)
        gaps = any(start.missing() for start in self.starts()) or any(each.missing() for each in self.timings)
        return whole and headed and not gaps

    def starts(self) -> list[Start]:
        """Return the starts of the recorder."""
        return starts(self.segments, whole_run=self.source.is_dir())

    def write(self, out: Path) -> list[Path]:
        """Write clean files; return them.

        Raises:
            ConfigError: there is one already; nothing has been written.
            RecordingError: the disk refuses; what was written has been removed.
        """
        plan = self._plan(out)
        for path in plan:
            if path.exists():
                raise ConfigError(f"--out must name something new, but {path} is there; nothing was written")
        try:
            if out.exists() or not self.source.is_dir():
                self._write(plan)
            else:
                self._write_folder(plan, out)
        except OSError as error:
            raise RecordingError(f"{out} cannot be written: {error.strerror}; name another place: --out") from error
        return list(plan)

    def _write_folder(self, plan: dict[Path, Survey | TimingsSurvey | Path], out: Path) -> None:
        """Write a new folder, which is there when it is complete."""
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.with_name(f"{out.name}.part")
        with claimed(out) as left:
            if left:  # by one that was killed: all in it is of these names
                _remove(part, [part / path.name for path in plan])
            if os.path.lexists(part):
                raise ConfigError(f"'{part}' is there, and is not known to be left of a recovery; move it away")
            part.mkdir()
            try:
                self._write({part / path.name: each for path, each in plan.items()})
                part.rename(out)
            except BaseException:
                _remove(part, ())
                raise
        sync_folder(out.parent)

    def _write(self, plan: dict[Path, Survey | TimingsSurvey | Path]) -> None:
        made: list[Path] = []
        try:
            for path, each in plan.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                with whole_file(path) as file, _packing(file, path) as stream:
                    for line in self._lines(each):
                        stream.write(line)
                made.append(path)
        except BaseException:
            for path in made:
                path.unlink(missing_ok=True)
            raise

    def _plan(self, out: Path) -> dict[Path, Survey | TimingsSurvey | Path]:
        """Return the files to be made, and of what each."""
        if not self.source.is_dir():
            return {(out / self.source.name if out.is_dir() else out): self.files[0]}
        if out.resolve().is_relative_to(self.source.resolve()):
            raise ConfigError(f"--out must be outside of the source, which is never changed; {out} is in it")
        if out.is_file():
            raise ConfigError(f"--out must name a directory, as the source is one; {out} is a file")
        plan: dict[Path, Survey | TimingsSurvey | Path] = {
            out / run_directory.plain(each.path).name: each for each in self.files if each.lines
        }
        return plan | {out / path.name: path for path in self.kept}

    def _lines(self, each: Survey | TimingsSurvey | Path) -> Iterator[bytes]:
        if isinstance(each, Path):
            with open_regular(each) as stream:
                yield from iter(lambda: stream.read(1 << 20), b"")
        elif isinstance(each, TimingsSurvey):
            yield from (piece.line for piece, record in timing_pieces(each.path) if record is not None)
        else:
            repair = Repair(each, self.segments, self.starts())
            for number, piece, line in walk(each.path):
                if not piece.fault:
                    yield from repair.line(number, piece.line, line)
            yield from repair.end()


def read(source: Path) -> Recovery:
    """Return what can be had.

    Raises:
        RecordingError: there is nothing at `source`, nothing to recover, or it cannot be read.
    """
    if not source.exists():
        raise RecordingError(f"SRC must be a recording's directory or one file of it; there is nothing at '{source}'")
    files = [source]
    if source.is_dir():
        try:
            files = sorted(source.iterdir(), key=natural_order)
        except OSError as error:
            raise RecordingError(f"{source} must be a directory that can be read: {error.strerror}") from error
    timings = list(filter(run_directory.is_timings, files))
    lines = [file for file in files if not source.is_dir() or run_directory.segment_number(file) is not None]
    segments = [file for file in lines if file not in timings and not file.name.endswith(_BAGS)]
    if not segments and not timings:
        if any(file.name.endswith(_BAGS) for file in files):
            raise RecordingError(
                f"{source} is no recording of recorder_node: perf-inference convert reads what is readable of a bag"
            )
        raise RecordingError(f"nothing to recover: {source} must have topics_<n>.jsonl or {run_directory.TIMINGS}")
    kept = list(filter(run_directory.is_about, files)) if source.is_dir() else []
    found = Recovery(source, _surveys(segments), [survey_timings(file) for file in timings], kept)
    if not any(each.lines for each in found.files):
        empty = all(file.stat().st_size == 0 for file in (*segments, *timings))
        what = "is empty" if empty else "has no whole line of recorder_node (each ends with its checksum)"
        raise RecordingError(f"nothing to recover: {source} {what}")
    return found


def _surveys(files: list[Path]) -> list[Survey]:
    """Return what there is in each segment; of one that is there twice, in the better file."""
    best: dict[str, Survey] = {}
    for file in files:
        found = survey(file)
        name = run_directory.plain(file).name
        if name not in best or (found.records, found.lines) > (best[name].records, best[name].lines):
            best[name] = found
    return list(best.values())


@contextmanager
def _packing(file: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    """Give what writes to the file, within zstd if it is named so."""
    if path.suffix == ".zst":
        with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as stream:
            yield stream
    else:
        yield file


def _remove(folder: Path, files: Iterable[Path]) -> None:
    """Remove these files and what was not complete of them, and the folder if it is empty then."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in files:
        path.unlink(missing_ok=True)
        for left in folder.glob(f".{escape(path.name)}.*.part"):
            left.unlink()
    with suppress(OSError):
        folder.rmdir()
