"""Processes that are started together, restarted when they die, and stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from perf_inference.bringup.tuning import RESTARTED
from perf_inference.errors import EX_CONFIG

BACK_OFF_S = (0.5, 1.0, 2.0)
HEALTHY_S = 60.0  # a process that lived so long has its restarts back
_START_CPU_S = 0.4  # of a core, that the start of a node takes
_STOP_S = 0.9
_BUSY_STOP_S = 5.0  # for one that has waited for the processor, on a machine that is too busy
_STOPS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Child:
    """One process and its history."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[str] | None = None
    started_s: float = 0.0
    restarts: int = 0
    due_s: float | None = None  # when it will be started again
    fate: str = ""  # why it will not be started again
    finished: bool = False  # it ended by itself, with status 0
    just_told: bool = False  # what its fate is was said as the last thing
    launches: int = 0
    endings: Counter[str] = field(default_factory=Counter)  # how it ended, but for a stop that was asked for

    def history(self) -> str:
        """Return how often and why it ended: `ended with status 3 twice, was killed by SIGKILL once`."""
        return ", ".join(f"{how} {_times(count)}" for how, count in self.endings.items())

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """Keeps processes running; call `poll` often. One thread only: a child ends with the thread that started it."""

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        environment: Mapping[str, str],
        say: Callable[[str], None],
        output: Callable[[str, str], None] | None = None,
        own: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            commands: command line by name.
            say: takes one line about a start, a death, a stop.
            output: takes (name, line) of what the processes print (own threads); None: they print on this terminal.
            own: what single processes have in their environment besides, by name.
        """
        self.children = [Child(name, command) for name, command in commands.items()]
        self._environment = dict(environment)
        self._own = own or {}
        self._say, self._output = say, output
        self._stopped = False
        self._pending: deque[Child] = deque()  # not started yet
        self._next_s = 0.0  # when the next one of them is

    def start(self) -> None:
        """Start the first one; `poll` starts the others, one after another.

        Where all start at once, they share the cores, and none is ready before all are.
        """
        self._pending.extend(self.children)
        self.poll()

    def poll(self) -> None:
        """See who has died, and start those whose time has come."""
        now = time.monotonic()
        if self._pending and now >= self._next_s:
            child = self._pending.popleft()
            self._launch(child)
            self._next_s = child.started_s + _START_CPU_S / len(os.sched_getaffinity(0))
        for child in self.children:
            if child.due_s is not None and now >= child.due_s:
                child.due_s = None
                self._launch(child)
            else:
                self._see(child, now)

    @property
    def starting(self) -> bool:
        """Whether some have not been started for the first time yet."""
        return bool(self._pending)

    @property
    def misconfigured(self) -> list[str]:
        """Names of those that ended because of their configuration."""
        return [c.name for c in self.children if c.process is not None and c.process.poll() == EX_CONFIG]

    @property
    def given_up(self) -> list[str]:
        """Names of those that will not be started again, failed while they were stopped, or had to be killed."""
        return [c.name for c in self.children if c.fate and not c.finished]

    @property
    def running(self) -> bool:
        """Whether anything runs or will be started again."""
        return not self._stopped and any(not c.fate for c in self.children)

    def stop(self, meanwhile: Callable[[], None] = lambda: time.sleep(0.01), timeout_s: float = _STOP_S) -> None:
        """Ask all to end at once, wait, and kill who stays.

        Args:
            meanwhile: called again and again while they end.
        """
        for child in self.children:
            self._see(child, time.monotonic())  # one that has just died has not been stopped
        self._stopped = True
        self._pending.clear()
        asked = [child for child in self.children if child.alive]
        for child in self.children:
            child.due_s = None
            if child.process is not None and child.alive:
                child.process.send_signal(signal.SIGTERM)
        begin_s, waited_s = time.monotonic(), {child.name: _waited_s(child) for child in asked}
        limit_s = timeout_s
        while alive := [c for c in asked if c.alive]:
            took_s = time.monotonic() - begin_s
            if took_s >= limit_s:
                if took_s >= _BUSY_STOP_S or not any(_waited_s(c) - waited_s[c.name] > took_s / 3 for c in alive):
                    break
                limit_s = took_s + timeout_s / 3  # a process that gets no processor cannot end: it is not hanging
            meanwhile()
        for child in asked:
            assert child.process is not None
            if child.alive:
                child.process.kill()
                child.process.wait()
                child.fate = child.fate or f"did not end within {time.monotonic() - begin_s:.1f} s and was killed"
                child.just_told = True
                self._say(f"{child.name} {child.fate}")
            elif not _was_stopped(child.process.returncode):
                child.fate = f"{_describe_status(child.process.returncode)} while it was stopped"
                child.just_told = True
                self._say(f"{child.name} {child.fate}")

    @property
    def refused(self) -> bool:
        """Whether all that ended because of their configuration did so at their first start."""
        names = self.misconfigured
        return bool(names) and all(c.launches == 1 for c in self.children if c.name in names)

    def fates(self, again: bool = True) -> list[str]:
        """Return a sentence for each process that ended before it was asked to: how often and why, and what followed.

        Those that are not coming back are first.

        Args:
            again: also what was said as the last thing: of wrong configurations, and while all were stopped.
        """
        gone = [c for c in self.children if c.fate and not c.finished and (again or not c.just_told)]
        back = [c for c in self.children if c.endings and (not c.fate or c.finished)]
        return [_fate(child) for child in gone] + [_fate(child) for child in back]

    def _launch(self, child: Child) -> None:
        child.started_s = time.monotonic()
        child.launches += 1
        piped = self._output is not None
        again = {RESTARTED: "1"} if child.launches > 1 else {}
        child.process = subprocess.Popen(
            child.command,
            env={**self._environment, **self._own.get(child.name, {}), **again},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else None,
            stderr=subprocess.STDOUT if piped else None,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C on the terminal is for the supervisor alone; it ends them in order
        )
        if self._output is not None and child.process.stdout is not None:
            reader = threading.Thread(target=self._read, args=(child.name, child.process.stdout), daemon=True)
            reader.start()

    def _read(self, name: str, stream: IO[str]) -> None:
        assert self._output is not None
        for line in stream:
            self._output(name, line.rstrip("\n"))

    def _see(self, child: Child, now_s: float) -> None:
        if child.process is not None and not child.fate and child.due_s is None and not child.alive:
            self._bury(child, now_s)

    def _bury(self, child: Child, now_s: float) -> None:
        assert child.process is not None
        how = _describe_status(child.process.returncode)
        if child.process.returncode == 0:  # a node whom a signal has ended says so with another status
            child.finished, child.fate = True, "has finished"
            self._say(f"{child.name} has finished")
            return
        child.endings[how] += 1
        if child.process.returncode == EX_CONFIG:
            child.fate = "ended: its configuration is wrong (see its message above); it is not started again"
            child.just_told = True
            self._say(f"{child.name} {child.fate}")
            return
        if now_s - child.started_s > HEALTHY_S:
            child.restarts = 0
        if child.restarts >= len(BACK_OFF_S):
            child.fate = f"{how} and was given up after {child.restarts} restarts"
            self._say(f"{child.name} {child.fate}")
            return
        delay_s = BACK_OFF_S[child.restarts]
        child.restarts += 1
        child.due_s = now_s + delay_s
        self._say(f"{child.name} {how}; restart {child.restarts} of {len(BACK_OFF_S)} in {delay_s:g} s")


def _waited_s(child: Child) -> float:
    """Return how long the threads of a process could have run and got no processor (/proc/PID/task/TID/schedstat)."""
    waited_ns = 0
    for path in Path(f"/proc/{child.process.pid if child.process else 0}/task").glob("*/schedstat"):
        with suppress(OSError, ValueError, IndexError):  # the thread has ended, or the kernel does not tell
            waited_ns += int(path.read_text().split()[1])
    return waited_ns / 1e9


def _fate(child: Child) -> str:
    """Return a sentence on a process that ended: all its ends, where there were several or it runs again."""
    again = child.launches - 1
    if child.fate and not child.finished:
        more = len(child.endings) > 1 or (again and child.fate.endswith(("killed", "stopped")))
        return f"{child.name} {child.fate}" + (f" (before: {child.history()})" if more else "")
    restarted = f"was restarted {_times(again)}" if again else "was not restarted before the end"
    return f"{child.name} {restarted}: it {child.history()}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _describe_status(returncode: int) -> str:
    if returncode < 0:
        return f"was killed by {_signal_name(-returncode)}"
    if returncode - 128 in _STOPS:  # as a shell says it, and a node whom a signal has ended in order
        return f"was ended by {_signal_name(returncode - 128)}"
    return f"ended with status {returncode}"


def _was_stopped(returncode: int) -> bool:
    """Return whether a process that was asked to end may end so."""
    return returncode == 0 or -returncode in _STOPS or returncode - 128 in _STOPS


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
