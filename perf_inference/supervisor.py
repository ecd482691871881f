"""Processes that are started together, restarted when they die, and stopped together."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from perf_inference.environment import RESTARTED
from perf_inference.errors import EX_CONFIG

BACK_OFF_S = (0.5, 1.0, 2.0)
HEALTHY_S = 60.0  # a process that lived so long has its restarts back
_STOP_S = 0.9


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

    def start(self) -> None:
        """Start all."""
        for child in self.children:
            self._launch(child)

    def poll(self) -> None:
        """See who has died, and start again whose time has come."""
        now = time.monotonic()
        for child in self.children:
            if child.due_s is not None and now >= child.due_s:
                child.due_s = None
                self._launch(child)
            elif child.process is not None and not child.fate and child.due_s is None and not child.alive:
                self._bury(child, now)

    @property
    def misconfigured(self) -> list[str]:
        """Names of those that ended because of their configuration."""
        return [c.name for c in self.children if c.process is not None and c.process.poll() == EX_CONFIG]

    @property
    def given_up(self) -> list[str]:
        """Names of those that will not be started again, or had to be killed."""
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
        self._stopped = True
        for child in self.children:
            child.due_s = None
            if child.process is not None and child.alive:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while any(c.alive for c in self.children) and time.monotonic() < deadline:
            meanwhile()
        for child in self.children:
            if child.process is not None and child.alive:
                child.process.kill()
                child.process.wait()
                child.fate = child.fate or f"did not end within {timeout_s:g} s and was killed"
                self._say(f"{child.name} {child.fate}")

    def fates(self) -> list[str]:
        """Return a sentence for each process that is not coming back, or that was restarted."""
        told = [f"{c.name} {c.fate}" for c in self.children if c.fate and not c.finished]
        restarted = [c for c in self.children if c.restarts and not c.fate]
        return told + [
            f"{c.name} was restarted {'once' if c.restarts == 1 else f'{c.restarts} times'}" for c in restarted
        ]

    def _launch(self, child: Child) -> None:
        child.started_s = time.monotonic()
        piped = self._output is not None
        again = {RESTARTED: "1"} if child.restarts else {}
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

    def _bury(self, child: Child, now_s: float) -> None:
        assert child.process is not None
        how = _describe_status(child.process.returncode)
        if child.process.returncode == 0:
            child.finished, child.fate = True, "has finished"
            self._say(f"{child.name} has finished")
            return
        if child.process.returncode == EX_CONFIG:
            child.fate = "ended: its configuration is wrong (see its message above); it is not started again"
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


def _describe_status(returncode: int) -> str:
    if returncode < 0:
        return f"was killed by {signal.Signals(-returncode).name}"
    return f"ended with status {returncode}"
