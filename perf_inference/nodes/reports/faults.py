"""What went wrong in a node without ending it: errors in callbacks, and messages that cannot be used.

Both are counted, said once per kind in the log, and told with the heartbeat, from where the monitor has them for
/diagnostics. A stranger on the network chooses how often and in how many ways: what is kept of it is bounded.
"""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from weakref import WeakKeyDictionary

from rclpy.node import Node

import perf_inference
from perf_inference.errors import InputError, in_one_line
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.stamps import Scalar

_KINDS = 100  # that are told apart
_TOLD_NS = 10_000_000_000  # so long one is a warning
_PACKAGE = str(Path(perf_inference.__file__).parent) + os.sep
_lock = threading.Lock()


class Faults:
    """Counts of one node; any thread."""

    def __init__(self, error: Callable[[str], object], warning: Callable[[str], object]) -> None:
        """Start with none; the functions take a line for the log, each in a level of its own."""
        self.callback_errors = self.bad_messages = 0
        self.say: Callable[[str], object] | None = None  # takes the lines in place of the log
        self._error, self._warning = error, warning
        self._kinds: set[str] = set()
        self._newest: tuple[int, str] | None = None  # when (monotonic), what
        self._lock = threading.Lock()

    def failed(self, error: BaseException, where: str) -> None:
        """Count an error that came out of a callback or a thread, `where` in words."""
        kind = f"{type(error).__name__} in {where}, {_place(error)}"
        said = f"{kind}: {_printable(in_one_line(error))}"
        with self._lock:
            self.callback_errors += 1
        self._tell(kind, said, self._error, "; the node goes on, and counts the next of this kind in silence")

    def refused(self, what: str, error: InputError) -> None:
        """Count a message, or a part of one, that cannot be used; `what` it was, in the same words each time."""
        with self._lock:
            self.bad_messages += 1
        said = f"{what} skipped: {_printable(in_one_line(error))}"
        self._tell(what, said, self._warning, " (the next of this kind are counted in silence)")

    def notice(self, what: str) -> None:
        """Take what is no fault of this node's and a warning all the same, as long as it is said again."""
        self._newest = (CLOCKS.monotonic_ns(), what)

    def trouble(self) -> str:
        """Return the newest, while that is news; else nothing."""
        newest = self._newest
        return newest[1] if newest is not None and CLOCKS.monotonic_ns() - newest[0] < _TOLD_NS else ""

    def values(self) -> dict[str, Scalar]:
        """Return the counts for the heartbeat."""
        return {"callback_errors": self.callback_errors, "bad_messages": self.bad_messages}

    def watching(self, where: str) -> Watch:
        """Return a context that counts an error that comes out of its block, and ends it there."""
        return Watch(self, where)

    def _tell(self, kind: str, said: str, say: Callable[[str], object], more: str) -> None:
        with self._lock:
            self._newest = (CLOCKS.monotonic_ns(), said)
            if kind in self._kinds or len(self._kinds) > _KINDS:
                return
            self._kinds.add(kind)
            full = len(self._kinds) > _KINDS
        (self.say or say)(f"more than {_KINDS} kinds of errors: others are only counted" if full else said + more)


class Watch:
    """What `Faults.watching` returns."""

    def __init__(self, faults: Faults, where: str) -> None:
        self._faults, self._where = faults, where

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception | SystemExit):  # a library that calls sys.exit ends nothing but its callback
            return False
        self._faults.failed(error, self._where)
        return True


def faults_of(node: Node) -> Faults:
    """Return the node's faults, always the same."""
    with _lock:
        if node not in _of:
            log = node.get_logger()

            def error(line: str) -> None:  # rclpy wants one severity at each place in a program
                log.error(line)

            def warning(line: str) -> None:
                log.warning(line)

            _of[node] = Faults(error, warning)
        return _of[node]


_of: WeakKeyDictionary[Node, Faults] = WeakKeyDictionary()


def _place(error: BaseException) -> str:
    """Return the innermost place in this package, or else the innermost of all, as `watched.py:141`."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(_PACKAGE) and frame.filename != __file__]
    if not frames:
        return "in no known place"
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} ({frame.name})"


def _printable(text: str) -> str:
    """Return the text without what a terminal would take for a command."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
