"""tegrastats as a child process: started where it exists, restarted when it dies, never outliving this process.

One thread owns the child from its start to its end. Where there is no tegrastats nothing runs and nothing is said:
`absent` holds the reason for who asks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from perf_inference.bringup import child_process
from perf_inference.errors import ConfigError
from perf_inference.measure.clocks import CLOCKS, Clocks
from perf_inference.telemetry.tegrastats import parse
from perf_inference.telemetry.tegrastats_sample import TegrastatsSample

DEFAULT_COMMAND = "tegrastats --interval 1000"
_LONGEST_LINE_BYTES = 64 * 1024
_ENDING_S = 0.15  # for SIGTERM, and again for SIGKILL
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TegrastatsReading:
    """A sample and when its line came."""

    sample: TegrastatsSample
    monotonic_ns: int
    system_ns: int


@dataclass(frozen=True)
class ReaderCounts:
    """What became of the child's output so far."""

    starts: int = 0
    samples: int = 0
    other_lines: int = 0
    last_other_line: str = ""  # "must be run as root", say


class TegrastatsReader:
    """Holds the newest sample of a child that prints tegrastats' lines.

    Args:
        command: the command line, or its words; "" for none. A tegrastats that holds its output back on a pipe can
            be run as `stdbuf -oL tegrastats ...`.
        log: append each line to this file, the time of its arrival before it.
        stale_s: an older sample is not handed out [s].
        retry_s: wait before the first restart [s]; it doubles up to `retry_max_s` until a child lives that long.

    Raises:
        ConfigError: the command cannot be split into words.
    """

    def __init__(
        self,
        command: str | Sequence[str] = DEFAULT_COMMAND,
        *,
        log: Path | None = None,
        stale_s: float = 5.0,
        retry_s: float = 1.0,
        retry_max_s: float = 30.0,
        clocks: Clocks = CLOCKS,
    ) -> None:
        self._command = _words(command)
        self._log_path = log
        self._stale_ns = round(stale_s * 1e9)
        self._retry_s, self._retry_max_s = retry_s, retry_max_s
        self._clocks = clocks
        self._newest: TegrastatsReading | None = None
        self.counts = ReaderCounts()
        self.pid: int | None = None  # of the child, while one runs
        self._stopping = False
        self._wake_read, self._wake_write = os.pipe()
        self._thread: threading.Thread | None = None
        program = self._command[0] if self._command else ""
        self.absent: str | None = None if shutil.which(program) else f"no {program}" if program else "switched off"
        if self.absent:
            _log.debug("tegrastats is not read: %s", self.absent)
            return
        self._thread = threading.Thread(target=self._run, name="tegrastats", daemon=True)
        self._thread.start()

    def newest(self) -> TegrastatsReading | None:
        """Return the newest sample; None: there is none, or it is stale."""
        newest = self._newest
        if newest is None or self._clocks.monotonic_ns() - newest.monotonic_ns > self._stale_ns:
            return None
        return newest

    def close(self) -> None:
        """End the child and its whole session, within 0.5 s; a second call does nothing."""
        if self._stopping:
            return
        self._stopping = True
        os.write(self._wake_write, b".")
        if self._thread is not None:
            self._thread.join(3 * _ENDING_S)
        if self._thread is None or not self._thread.is_alive():  # its file descriptors are still in use otherwise
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _run(self) -> None:
        wait_s = self._retry_s
        while not self._stopping:
            started_ns = self._clocks.monotonic_ns()
            try:
                self._follow()
            except OSError as error:
                _log.debug("tegrastats could not be run: %s", error)
            if self._clocks.monotonic_ns() - started_ns >= self._retry_max_s * 1e9:
                wait_s = self._retry_s
            if self._woken(wait_s):
                return
            wait_s = min(2 * wait_s, self._retry_max_s)

    def _woken(self, timeout_s: float) -> bool:
        ready = select.poll()
        ready.register(self._wake_read, select.POLLIN)
        return bool(ready.poll(timeout_s * 1000)) or self._stopping

    def _follow(self) -> None:
        """Start the child and read it to its end, or to ours."""
        process = subprocess.Popen(
            child_process.tied(self._command),  # a command of sudo's keeps no tie: SIGPIPE ends it at its next line
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us; and what it starts ends with it
            env={**os.environ, "LC_ALL": "C"},
        )
        self.pid = process.pid
        self._count(starts=1)
        assert process.stdout is not None
        try:
            with process.stdout as stream:
                self._read(stream.fileno())
        finally:
            _end(process)
            self.pid = None
        _log.debug("tegrastats ended with status %s", process.returncode)

    def _read(self, source: int) -> None:
        ready = select.poll()
        ready.register(source, select.POLLIN)
        ready.register(self._wake_read, select.POLLIN)
        held = b""
        while not self._stopping:
            if not any(descriptor == source for descriptor, _ in ready.poll()):
                continue
            chunk = os.read(source, 65536)
            if not chunk:
                return  # what is held is a line that was cut off in the middle: its last number may be half a number
            *lines, held = (held + chunk).split(b"\n")
            for line in lines:
                self._take(line.decode("utf-8", "replace").strip())
            if len(held) > _LONGEST_LINE_BYTES:
                held = b""

    def _take(self, line: str) -> None:
        if not line:
            return
        monotonic_ns, system_ns = self._clocks.pair()
        self._keep(line, system_ns)
        sample = parse(line)
        if sample is None:
            self._count(other_lines=1, last=line[:200])
            return
        self._count(samples=1)
        self._newest = TegrastatsReading(sample, monotonic_ns, system_ns)

    def _count(self, starts: int = 0, samples: int = 0, other_lines: int = 0, last: str | None = None) -> None:
        old = self.counts
        self.counts = ReaderCounts(
            old.starts + starts,
            old.samples + samples,
            old.other_lines + other_lines,
            old.last_other_line if last is None else last,
        )

    def _keep(self, line: str, system_ns: int) -> None:
        if self._log_path is None:
            return
        when = datetime.fromtimestamp(system_ns / 1e9).astimezone().isoformat(timespec="milliseconds")
        try:
            with open(self._log_path, "a", encoding="utf-8", opener=_as_its_folder) as file:
                file.write(f"{when} {line}\n")
        except OSError as error:  # the readings matter more than their copy
            _log.warning("the tegrastats log %s is given up: %s", self._log_path, error)
            self._log_path = None


def _as_its_folder(path: str, flags: int) -> int:
    """Open a new log as readable as the folder that it is in."""
    return os.open(path, flags, Path(path).parent.stat().st_mode & 0o666)


def _words(command: str | Sequence[str]) -> list[str]:
    if not isinstance(command, str):
        return list(command)
    try:
        return shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"tegrastats_command {command!r} is not a command line: {error}") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the child's session: by SIGTERM, else by SIGKILL."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(
            ProcessLookupError, PermissionError
        ):  # gone; or another user's: the closed pipe ends it
            os.killpg(process.pid, how)
        try:
            process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            continue
        break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # what it started itself and left behind
