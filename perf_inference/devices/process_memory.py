"""The highest memory use of a block, from a mark that the kernel keeps: no sampling, hence right whoever holds the GIL.

    t        0 ----- 1 ----- 2 ----- 3 ----- 4
    outer    [ . . . /\\ . . . . . . . . . . ]      its peak lies before the inner block ...
    inner                    [ . . /\\ ]            ... which resets the mark: first it is noted for the outer one

A mark belongs to the process, so whoever resets it reads it for everybody else first.
"""

from __future__ import annotations

import ctypes
import os
import resource
import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(eq=False)
class Span:
    """A measurement under way."""

    highest: int  # [bytes] seen so far
    floor: int  # [bytes] the mark it began with; only a higher one is its own


class HighWaterMark:
    """Peaks of spans that may nest and overlap, in any thread, over one mark that all of them share."""

    def __init__(self, mark: Callable[[], int], current: Callable[[], int], reset: Callable[[], bool]) -> None:
        """Take the three functions of a mark.

        Args:
            mark: its reading [bytes].
            current: what is in use now [bytes].
            reset: bring the mark down to what is in use now; False where that is not allowed.
        """
        self._mark, self._current, self._reset = mark, current, reset
        self.forget()

    def begin(self) -> Span:
        """Start a span."""
        with self._lock:
            mark = self._mark()
            for span in self._open:
                if mark > span.floor:
                    span.highest = max(span.highest, mark)
            own = Span(0, 0) if self._reset() else Span(self._current(), mark)
            self._open.append(own)
            return own

    def end(self, span: Span) -> tuple[int, bool]:
        """End a span; return its peak [bytes] and whether that is exact.

        Where the mark cannot be reset it is exact if the mark rose during the span. Otherwise the larger of what was
        in use at both ends is given, which the peak is not below.
        """
        with self._lock:
            self._open.remove(span)
            mark = self._mark()
            if mark > span.floor:
                return max(span.highest, mark), True
            return max(span.highest, self._current()), False

    def forget(self) -> None:
        """Drop all spans, and a lock that another thread held when this process was forked."""
        self._lock = threading.Lock()
        self._open: list[Span] = []


def resident_bytes() -> int:
    """Return the resident memory of this process [bytes]."""
    return _status_bytes(b"VmRSS:") or _most_resident_bytes()


def give_back() -> None:
    """Give what has been freed back to the system, as glibc does by itself only at the end of a heap."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _most_resident_bytes() -> int:
    return _status_bytes(b"VmHWM:") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _status_bytes(name: bytes) -> int | None:
    # opened again each time: a descriptor kept over a fork would go on telling of the parent
    try:
        with open("/proc/self/status", "rb", buffering=0) as file:
            _, _, rest = file.read(8192).partition(b"\n" + name)
            return int(rest.split(maxsplit=1)[0]) * 1024
    except (OSError, IndexError):
        return None


def _reset_most_resident() -> bool:
    try:
        with open("/proc/self/clear_refs", "wb", buffering=0) as file:
            file.write(b"5")  # proc(5): resets VmHWM, and with it ru_maxrss, to what is resident now
    except OSError:
        return False
    return True


PROCESS_MEMORY = HighWaterMark(_most_resident_bytes, resident_bytes, _reset_most_resident)
os.register_at_fork(after_in_child=PROCESS_MEMORY.forget)
