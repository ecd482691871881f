"""A command line as an arm of a comparison: one run is one fresh process."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from perf_inference.errors import ConfigError, PerfInferenceError
from perf_inference.printable import shown

_SHELL = re.compile(r"[|&;<>()$`*?\[\]{}~#!]|^\s*[A-Za-z_][A-Za-z0-9_]*=")
_LAST_WORDS = 300  # characters
_MOST_OUTPUT = 1 << 22


@dataclass(frozen=True)
class Run:
    """One process from its start to its end."""

    wall_ms: float
    cpu_ms: float  # user and system, with its children that it waited for
    peak_mb: float  # resident memory of the largest of them
    figures: tuple[float, ...] = ()  # that the pattern found in what it printed


class RunFailedError(PerfInferenceError):
    """A run that did not end well: there is nothing to compare."""


class Command:
    """A command line, by words or through the shell where it needs one.

    Raises:
        ConfigError: there is no such program.
    """

    def __init__(
        self,
        line: str,
        pattern: re.Pattern[str] | None = None,
        timeout_s: float = 600.0,
        rates: bool = False,
        shell: bool = False,
    ) -> None:
        self.line, self._pattern, self._timeout_s, self._rates = line, pattern, timeout_s, rates
        self._late = False
        self._process: subprocess.Popen[bytes] | None = None
        self._words = _words(line, shell)

    def run(self) -> Run:
        """Start it, wait for its end, and return what it took.

        Raises:
            RunFailedError: it ended with a status other than 0, by a signal, or not in time.
        """
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            started_ns = time.monotonic_ns()
            try:
                self._process = subprocess.Popen(
                    self._words,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=errors,
                    start_new_session=True,  # so that all that it started can be ended
                )
            except OSError as error:
                raise RunFailedError(f"'{shown(self.line)}' cannot be started: {error.strerror}") from error
            late = threading.Timer(self._timeout_s, self._end_late)
            late.start()
            try:
                _, status, usage = os.wait4(self._process.pid, 0)
                wall_ms = (time.monotonic_ns() - started_ns) / 1e6
                self._process.returncode = os.waitstatus_to_exitcode(status)
            finally:
                late.cancel()
                self.end()
            if self._late:
                raise RunFailedError(f"'{shown(self.line)}' had not ended after {self._timeout_s:g} s (--timeout)")
            if self._process.returncode:
                raise RunFailedError(_failed(self.line, self._process.returncode, _tail(errors) or _tail(out)))
            out.seek(0)
            figures = self._figures(out.read(_MOST_OUTPUT).decode(errors="replace"))
        cpu_ms = 1e3 * (usage.ru_utime + usage.ru_stime)
        return Run(wall_ms, cpu_ms, usage.ru_maxrss / 1e3, figures)

    def _figures(self, output: str) -> tuple[float, ...]:
        if self._pattern is None:
            return ()
        found = [match[1] for match in self._pattern.finditer(output)]
        try:
            figures = tuple(float(word) for word in found)
        except ValueError as error:
            raise RunFailedError(f"--pattern must find numbers in what '{shown(self.line)}' prints: {error}") from error
        if not figures or min(figures) <= 0:
            raise RunFailedError(
                f"--pattern {self._pattern.pattern} must find figures above 0 in what '{shown(self.line)}' prints, "
                f"and found {list(figures) or 'none'}"
            )
        return tuple(1000 / figure for figure in figures) if self._rates else figures

    def _end_late(self) -> None:
        self._late = True
        self._kill()

    def end(self) -> None:
        """Kill what is left of the run: all of its processes."""
        self._kill()
        if self._process is not None:
            self._process.wait()

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def needs_shell(line: str) -> bool:
    """Return whether a command line has what only a shell understands: both arms go through one then."""
    return _SHELL.search(line) is not None


def _words(line: str, shell: bool) -> Sequence[str]:
    if shell or needs_shell(line):
        return ["/bin/sh", "-c", line]
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ConfigError(f"'{shown(line)}' must be a command line: {error}") from error
    if not words or shutil.which(words[0]) is None:
        raise ConfigError(
            f"'{shown(line)}' must be a result file that is there, or a command line in one quoted argument"
        )
    return words


def _failed(line: str, status: int, words: str) -> str:
    how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
    return f"'{shown(line)}' ended {how}{': ' if words else ''}{words}"


def _tail(file: IO[bytes]) -> str:
    file.seek(0)
    data = file.read(_MOST_OUTPUT)
    lines = [line for line in data.decode(errors="replace").splitlines() if line.strip()]
    return shown(lines[-1], _LAST_WORDS) if lines else ""
