"""The files of a benchmark: raw samples as they are measured, and the report in the forms that were asked for."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from perf_inference._version import VERSION
from perf_inference.commands.help import KeptLines
from perf_inference.errors import ConfigError, RecordingError
from perf_inference.files.whole import write_whole
from perf_inference.printable import columns
from perf_inference.report.document import Document
from perf_inference.report.document_page import page
from perf_inference.report.document_text import markdown, terminal
from perf_inference.report.page import check_page, write_page

FORMAT = "perf_inference.bench/1"
_FIRST = b'{"record":"benchmark"'
_MARKDOWN = "Made by `perf-inference"


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every benchmark has."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="raw samples and result, as JSON Lines")
    parser.add_argument("--html", type=Path, metavar="FILE", help="the report as one page, which needs no network")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the report as Markdown")


def command_line() -> str:
    """Return the command that is running, as it can be typed again."""
    return f"perf-inference {shlex.join(sys.argv[1:])}"


class Outputs:
    """Where a benchmark's samples and its report go.

    Raises:
        ConfigError: a file that was named cannot be written, or is something else's.
    """

    def __init__(self, bench: str, options: argparse.Namespace, machine: Mapping[str, Any]) -> None:
        self._options, self._command = options, command_line()
        self._file: IO[bytes] | None = None
        try:
            if options.html:
                check_page(options.html)
        except RecordingError as error:
            raise ConfigError(str(error)) from error
        _check(options.markdown, "--markdown")
        if options.json:
            _check(options.json, "--json")
            self._file = _open(options.json)
        self._write(
            "benchmark",
            format=FORMAT,
            bench=bench,
            version=VERSION,
            command=self._command,
            started_ns=time.time_ns(),
            machine=machine,
        )

    def plan(self, **plan: Any) -> None:
        """Write what will be measured, before it is."""
        self._write("plan", **plan)

    def samples(self, series: str, values: Iterable[float], unit: str = "ms", block: int = 0, **about: Any) -> None:
        """Write samples of one block (a process, a round) of a series."""
        self._write("samples", series=series, block=block, unit=unit, values=list(values), **about)

    def record(self, kind: str, **fields: Any) -> None:
        """Write what is neither samples nor the result."""
        self._write(kind, **fields)

    def result(self, **result: Any) -> None:
        """Write what it comes to."""
        self._write("result", **result)

    def finish(self, document: Document) -> None:
        """Print the report, write its files, and close."""
        print(terminal(document, columns()), flush=True)
        self.write(document)

    def write(self, document: Document) -> None:
        """Write the report's files, and close."""
        self.close()
        if self._options.html:
            write_page(self._options.html, page(document, self._command))
        if self._options.markdown:
            write_whole(self._options.markdown, markdown(document, self._command))

    def close(self) -> None:
        """Close the file of samples; a second call does nothing."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, record: str, **fields: Any) -> None:
        if self._file is None:
            return
        import orjson  # only here: tools/gpu_check.sh runs where it is not installed

        line = orjson.dumps({"record": record, **fields}, option=orjson.OPT_SERIALIZE_NUMPY, default=str)
        try:
            self._file.write(line + b"\n")  # unbuffered: a kill loses nothing that was measured
        except OSError as error:
            raise RecordingError(f"--json {self._options.json} cannot be written: {error.strerror}") from error


def _check(path: Path | None, flag: str) -> None:
    """Raise ConfigError where the file cannot be written, or holds what no benchmark has written."""
    if path is None:
        return
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"{flag} must name a file in a directory that is there, got {path}")
    try:
        if path.is_file() and path.stat().st_size:
            with path.open("rb") as file:
                data = file.read(None if flag == "--markdown" else len(_FIRST))
            ours = _MARKDOWN.encode() in data if flag == "--markdown" else data == _FIRST
            if not ours:
                raise ConfigError(f"{path} is there and no benchmark has written it; choose another name for {flag}")
    except OSError as error:
        raise ConfigError(f"{flag} {path} cannot be read: {error.strerror}") from error


def _open(path: Path) -> IO[bytes]:
    try:
        return open(path, "wb", buffering=0)
    except OSError as error:
        raise ConfigError(f"--json {path} cannot be written: {error.strerror}") from error


def add_example(parser: argparse.ArgumentParser, *lines: str) -> None:
    """Let `--help` end with these lines."""
    parser.epilog = "\n".join(["examples:", *(f"  {line}".rstrip() for line in lines)])
    parser.formatter_class = KeptLines


def series_of(records: Iterable[Mapping[str, Any]]) -> dict[str, dict[int, list[float]]]:
    """Return the samples in a file's records: by series, then by block."""
    found: dict[str, dict[int, list[float]]] = {}
    for record in records:
        if record.get("record") == "samples":
            blocks = found.setdefault(str(record["series"]), {})
            blocks.setdefault(int(record["block"]), []).extend(float(value) for value in record["values"])
    return found
