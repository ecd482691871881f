"""Processes that end with the one that has started them, even where that one is killed outright.

The kernel's parent-death signal does most of it. It comes when the *thread* that started the process ends, and it says
nothing of a starter behind a wrapper (a shell, a debugger, a terminal); so a node also waits for the end of the process
that its starter has named in the environment.

As a script this file becomes another command, which the kernel then kills with its parent. So it imports nothing of
the package: `python child_process.py PARENT COMMAND...`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

SUPERVISED = "PERF_INFERENCE_SUPERVISED"  # who has started this process: its number, or number:start; `none`: nobody
_NOBODY = "none"
_PR_SET_PDEATHSIG = 1
_LOOK_S = 0.2  # where the kernel has no file descriptors of processes (before Linux 5.3)
_LAST_RESORT_S = 2.0  # from the starter's end on
_KERNEL_S = 2.2  # and for the kernel, where no thread of Python runs any more


class StarterError(ValueError):
    """The environment names a starter that cannot be one."""


class Process(NamedTuple):
    """A process, told from a later one with the same number by when it was started."""

    pid: int
    started: int = 0  # clock ticks since boot; 0: not known

    @classmethod
    def of(cls, pid: int) -> Process:
        """Return the process that has this number now."""
        return cls(pid, _state(pid)[2])

    @property
    def alive(self) -> bool:
        """Whether it runs, or is stopped; a zombie does not."""
        state, _, started = _state(self.pid)
        return state not in ("", "Z", "X") and self.started in (0, started)

    def __str__(self) -> str:
        """Return `process 12 (ros2)`, as far as that is known."""
        try:
            with open(f"/proc/{self.pid}/comm", encoding="utf-8", errors="replace") as file:
                return f"process {self.pid} ({file.read().strip()})"
        except OSError:
            return f"process {self.pid}"


class Tie:
    """What this process ends with; made once, by `follow`."""

    def __init__(self, starter: Process | None) -> None:
        self._ended = ""
        self.said = ""  # what a reader of the log should know
        if starter is None:
            return
        if not starter.alive:
            self._ended = str(starter)
            return
        parent = Process.of(os.getppid())
        watched = [starter]
        if starter.pid == parent.pid:
            end_with_parent(signal.SIGTERM)
        elif starter.pid in _ancestors():
            end_with_parent(signal.SIGTERM)
            watched = [parent, starter]
            self.said = f"started by {starter} through {parent}: ends with either of them"
        else:
            self.said = f"started by {starter}, which is no ancestor: ends with it all the same"
        names = {process: str(process) for process in watched}
        threading.Thread(target=self._wait, args=(names,), name="starter", daemon=True).start()

    def ended(self) -> str:
        """Return which process has ended, so that this one has to end too; "" as long as none has."""
        return self._ended

    def _wait(self, names: Mapping[Process, str]) -> None:
        self._ended = names[_first_to_end(list(names))]
        # This thread does not run while the middleware hangs: it holds the interpreter. The kernel's timer does.
        signal.setitimer(signal.ITIMER_REAL, _KERNEL_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_LAST_RESORT_S)  # a process that was to end is gone by now
        os.kill(os.getpid(), signal.SIGKILL)


_tie: Tie | None = None


def follow() -> Tie:
    """End with the starter from now on: by SIGTERM, and by SIGKILL 2 s later; a second call returns the first one's.

    The starter is the one that `PERF_INFERENCE_SUPERVISED` names, else a parent that is `ros2 launch` or `ros2 run`.
    Call it in the main thread: the kernel forgets the parent-death signal of a thread that ends.

    Raises:
        StarterError: the variable names no process.
    """
    global _tie
    if _tie is None:
        # The last resort is a SIGALRM; whoever started this process may have ignored or blocked it.
        if signal.getsignal(signal.SIGALRM) == signal.SIG_IGN:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        _tie = Tie(_starter())
    return _tie


def orphaned(ended: str) -> str:
    """Return why a process with this starter does not start."""
    return (
        f"perf_inference: not started: its starter, {ended}, has ended ({SUPERVISED}={os.environ.get(SUPERVISED, '')}; "
        f"{SUPERVISED}={_NOBODY} starts it by itself)"
    )


def named() -> dict[str, str]:
    """Return what a starter adds to the environment of its processes, so that they end with this one."""
    this = Process.of(os.getpid())
    return {SUPERVISED: f"{this.pid}:{this.started}"}


def end_with_parent(how: signal.Signals, parent: int | None = None) -> bool:
    """Let the kernel send this signal when the thread that has started this process ends.

    Args:
        parent: the number of the process that has started this one.

    Returns:
        Whether it is the parent still; where it is not, the signal will never come.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, how)
    return parent is None or os.getppid() == parent


def tied(command: Sequence[str]) -> list[str]:
    """Return a command line that runs this one, and that the kernel kills when the calling thread ends.

    A `preexec_fn` would run Python between fork and exec in a process full of threads; so a small interpreter asks the
    kernel, and becomes the command. It does not hold for a command that changes its user (sudo).
    """
    if not sys.executable:
        return list(command)
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), str(os.getpid()), *command]


def _starter() -> Process | None:
    text = os.environ.get(SUPERVISED)
    if not text:
        parent = os.getppid()
        return Process.of(parent) if _is_ros2(parent) else None
    if text == _NOBODY:
        return None
    pid, _, started = text.partition(":")
    if not (pid.isdecimal() and int(pid) and (not started or started.isdecimal())):
        raise StarterError(
            f"bad configuration: {SUPERVISED} must be the number of a process, or {_NOBODY}; got '{text}'"
        )
    return Process(int(pid), int(started or 0))


def _is_ros2(pid: int) -> bool:
    """Return whether it is `ros2 launch` or `ros2 run`, which leave their processes behind when they are ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except OSError:
        return False
    return any(
        os.path.basename(program) == b"ros2" and command in (b"launch", b"run")
        for program, command in pairwise(words[:4])
    )


def _state(pid: int) -> tuple[str, int, int]:
    """Return its state's letter, parent and start [clock ticks]; "" and zeros where there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return fields[0], int(fields[1]), int(fields[19])
    except (OSError, IndexError, ValueError):
        return "", 0, 0


def _ancestors() -> Iterator[int]:
    pid = os.getppid()
    while pid:
        yield pid
        pid = _state(pid)[1]


def _first_to_end(watched: Sequence[Process]) -> Process:
    """Wait until one of them has ended, and return it."""
    with contextlib.ExitStack() as stack:
        ended = select.poll()
        by_file: dict[int, Process] = {}
        for process in watched:
            try:
                file = os.pidfd_open(process.pid)
            except ProcessLookupError:
                return process
            except (AttributeError, OSError):
                return _first_seen_to_end(watched)
            stack.callback(os.close, file)
            ended.register(file, select.POLLIN)
            by_file[file] = process
        for process in watched:
            if not process.alive:  # and its number is another's by now
                return process
        return by_file[ended.poll()[0][0]]


def _first_seen_to_end(watched: Sequence[Process]) -> Process:
    while True:
        for process in watched:
            if not process.alive:
                return process
        time.sleep(_LOOK_S)


def _become(parent: int, command: list[str]) -> None:
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by this interpreter, and then by what it becomes
        signal.signal(ignored, signal.SIG_DFL)
    if end_with_parent(signal.SIGKILL, parent):
        os.execvp(command[0], command)


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
