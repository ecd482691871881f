"""The nodes that `console --up CONFIG` starts: a `perf-inference run` of its own, which goes on without the console."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from perf_inference.errors import ConfigError
from perf_inference.printable import printable

_END_S = 15.0


class Stack:
    """One `perf-inference run`."""

    def __init__(self, config: Path) -> None:
        """Start it.

        Raises:
            ConfigError: there is no such file.
        """
        if not config.is_file():
            raise ConfigError(f"--up must name a parameters file, got '{printable(config)}', which is none")
        self._log = tempfile.NamedTemporaryFile(prefix="perf-inference-run-", suffix=".log", delete=False)  # noqa: SIM115
        command = [sys.executable, "-m", "perf_inference.cli", "run", "--config", str(config)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )
        self._told = self._ended = False

    def news(self) -> str:
        """Return that it has ended, once; empty: it runs, or that was said."""
        if self._told or self._ended or self._process.poll() is None:
            return ""
        self._told = True
        return f"perf-inference run has ended with status {self._process.returncode}: {self._last_line()}"

    def end(self) -> str:
        """End its nodes in order; return what was done."""
        self._ended = True
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                return f"perf-inference run (pid {self._process.pid}) has not ended within {_END_S:g} s"
        return "the nodes that were started with --up have ended"

    def left(self) -> str:
        """Return what is to be said of it when the console is left."""
        if self._process.poll() is not None:
            return ""
        return f"the nodes go on (log: {self._log.name}); to end them: kill -INT {self._process.pid}"

    def _last_line(self) -> str:
        try:
            lines = Path(self._log.name).read_text(errors="replace").splitlines()
        except OSError:
            return "-"
        return printable(lines[-1], 300) if lines else "-"
