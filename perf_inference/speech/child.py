"""A child process that is fed and read without waiting, and ended with all that it has started."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence

from perf_inference.bringup import child_process
from perf_inference.errors import EngineError

_KEPT_BYTES = 2000  # of what it says on standard error
_PIECE_BYTES = 65536
_ENDING_S = 0.2


class Child:
    """One run of a command in a session of its own; it ends with the thread that has started it."""

    def __init__(self, argv: Sequence[str], selector: selectors.BaseSelector, reads: bool = True) -> None:
        """Start it.

        Args:
            reads: whether its standard output is wanted.

        Raises:
            EngineError: it cannot be started.
        """
        self._selector = selector
        try:
            self._process = subprocess.Popen(
                _tied(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if reads else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise EngineError(f"'{argv[0]}' cannot be started: {getattr(error, 'strerror', None) or error}") from error
        self._errors = bytearray()
        self._pending = bytearray()
        self._ends = False  # its input, after what is pending
        self.fed_ns: int | None = None  # when the first bytes of its input had gone
        self.has_ended = not reads  # its output
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
        for output in (self._process.stdout, self._process.stderr):
            if output is not None:
                selector.register(output, selectors.EVENT_READ, self)

    def feed(self, data: bytes, last: bool = False) -> None:
        """Give it more input; what does not go now goes when it is ready."""
        self._pending += data
        self._ends = self._ends or last
        self.write()

    def write(self) -> None:
        """Give it as much of its input as it takes."""
        stream = self._process.stdin
        if stream is None or stream.closed:
            self._pending.clear()
            return
        try:
            while self._pending:
                sent = os.write(stream.fileno(), self._pending[:_PIECE_BYTES])
                self.fed_ns = self.fed_ns or time.monotonic_ns()
                del self._pending[:sent]
        except BlockingIOError:
            self._watch_input(True)
            return
        except OSError:  # it reads no more; its status and its output say what that means
            self._pending.clear()
            self._ends = True
        self._watch_input(False)
        if self._ends:
            with contextlib.suppress(OSError):
                stream.close()

    def read(self, stream: object) -> bytes:
        """Return what has come on its standard output; of its standard error the last is kept."""
        try:
            data = os.read(stream.fileno(), _PIECE_BYTES)  # type: ignore[attr-defined]
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if stream is self._process.stderr:
            self._errors = (self._errors + data)[-_KEPT_BYTES:]
        if not data:
            self._selector.unregister(stream)  # type: ignore[arg-type]
            self.has_ended = self.has_ended or stream is self._process.stdout
        return data if stream is self._process.stdout else b""

    @property
    def status(self) -> int | None:
        """Its exit status; negative: the signal that has ended it; None: it runs."""
        return self._process.poll()

    @property
    def is_fed(self) -> bool:
        """Whether all of its input has gone."""
        return not self._pending

    @property
    def said(self) -> str:
        """The last of what it said on standard error, in one line."""
        lines = bytes(self._errors).decode("utf-8", "replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")

    def end(self) -> None:
        """End it and all that it has started; a second call does nothing."""
        if self._process.returncode is None:
            self._signal(signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_ENDING_S)
        else:
            self._signal(signal.SIGKILL)  # what it has left behind
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None and not stream.closed:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(stream)
                with contextlib.suppress(OSError):
                    stream.close()

    def _signal(self, how: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, how)

    def _watch_input(self, wanted: bool) -> None:
        stream = self._process.stdin
        assert stream is not None
        known = stream in self._selector.get_map()
        if wanted and not known:
            self._selector.register(stream, selectors.EVENT_WRITE, self)
        elif known and not wanted:
            self._selector.unregister(stream)


def _tied(argv: Sequence[str]) -> list[str]:
    """Return a command line that the kernel ends with the calling thread; setpriv takes 1 ms, another Python 20."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *argv] if setpriv else child_process.tied(argv)
