"""One text on its way through a command to a player, both fed and read as they are ready.

    text -> engine -> samples, kept as they come -> player
            [started ........ first ........ done]
                              [sound ................ played]

The engine is read as fast as it writes, however slowly the player takes the sound: its time has no waiting in it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perf_inference.errors import EngineError
from perf_inference.measure.performance_monitor import PerformanceMonitor
from perf_inference.speech.child import Child
from perf_inference.speech.engines import Engine, Invocation
from perf_inference.speech.sound import Form, SoundStream
from perf_inference.speech.text import spoken

_LOOK_S = 0.02  # for the end of a process, which no file descriptor tells
_ENDING_S = 5.0  # that a player may take longer than the sound


@dataclass(frozen=True)
class Synthesis:
    """What an engine made of a text; times are monotonic."""

    started_ns: int  # before its process was there
    first_ns: int  # its first samples
    done_ns: int  # its last, and its process had ended
    form: Form
    wav: bytes
    duration_s: float
    sound_ns: int | None  # the first of it had left for the player; None: not yet, or there is none

    @property
    def rtf(self) -> float:
        """The real-time factor."""
        return PerformanceMonitor.calculate_rtf((self.done_ns - self.started_ns) / 1e9, self.duration_s)


@dataclass(frozen=True)
class Outcome:
    """What became of a text."""

    synthesis: Synthesis | None  # None: it was cut before all of it was there
    cut: bool  # ended by `cancel`
    problem: str  # why the player has not played it; empty: it has, or there is none


class Speaker:
    """Speaks one text at a time, in the thread that calls `speak`; others may cancel it."""

    def __init__(self, timeout_s: float = 10.0, most_bytes: int = 1 << 26) -> None:
        """Make the pipe that wakes it.

        Args:
            timeout_s: an engine that needs longer for a text is ended.
            most_bytes: of a text's sound.
        """
        self._timeout_ns, self._most_bytes = round(timeout_s * 1e9), most_bytes
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._current: object = None
        self._cancelled = False

    def close(self) -> None:
        """Free the pipe; nothing may be spoken any more."""
        os.close(self._wake_read)
        os.close(self._wake_write)

    def begin(self, what: object) -> None:
        """Say what is spoken next; from now on until `finish` it can be cancelled."""
        with self._lock:
            self._current, self._cancelled = what, False
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)

    def finish(self) -> None:
        """Say that it is over."""
        with self._lock:
            self._current = None

    def cancel(self, what: object) -> None:
        """End what is spoken, if it is this (any thread)."""
        with self._lock:
            if what is not None and what is self._current:
                self._cancelled = True
                with contextlib.suppress(BlockingIOError):
                    os.write(self._wake_write, b".")

    @property
    def current(self) -> object:
        """What is spoken now; None: nothing."""
        return self._current

    def speak(
        self,
        call: Invocation,
        player: Sequence[str] = (),
        synthesized: Callable[[Synthesis], None] = lambda synthesis: None,
    ) -> Outcome:
        """Run the engine and, as soon as there are samples, the player; return when both have ended.

        Args:
            player: a command that reads a WAV; empty: none.
            synthesized: told when all of the sound is there, as a rule long before it is played.

        Raises:
            EngineError: the engine gave no sound, or not in time.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ)
            run = _Run(selector, call, player, self._timeout_ns, self._most_bytes)
            try:
                synthesis = run.synthesize(lambda: self._cancelled)
                if synthesis is None:
                    return Outcome(None, True, "")
                synthesized(synthesis)
                cut = run.play(synthesis.duration_s, lambda: self._cancelled)
                return Outcome(synthesis, cut, "" if cut else run.problem)
            finally:
                run.end()


def synthesize(engine: Engine, text: str, timeout_s: float = 10.0) -> Synthesis:
    """Return the sound of a text, with the times that the engine took.

    Raises:
        EngineError: it is not installed, or gave no sound within the time.
        InputError: nothing in the text can be spoken.
    """
    speaker = Speaker(timeout_s)
    try:
        outcome = speaker.speak(engine.invocation(spoken(text, len(text) or 1)[0]))
    finally:
        speaker.close()
    assert outcome.synthesis is not None
    return outcome.synthesis


class _Run:
    """An engine and a player at work."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        call: Invocation,
        player: Sequence[str],
        timeout_ns: int,
        most_bytes: int,
    ) -> None:
        self._selector, self._call = selector, call
        self._timeout_ns = timeout_ns
        self._stream = SoundStream(call.raw_hz, most_bytes)
        self._first_ns: int | None = None
        self._heard_ns: int | None = None  # when the player had the first samples
        self._sent = 0  # bytes of samples that the player was given
        self.problem = ""
        self._started_ns = time.monotonic_ns()
        self._engine = Child(call.argv, selector)
        self._player: Child | None = None
        self._engine.feed(call.stdin, last=True)
        if player:
            try:  # beside the engine, so that it is ready for the first samples
                self._player = Child(player, selector, reads=False)
            except EngineError as error:
                self.problem = str(error)

    def synthesize(self, cancelled: Callable[[], bool]) -> Synthesis | None:
        """Run the engine to its end; None: cancelled."""
        deadline_ns = self._started_ns + self._timeout_ns
        while not (self._engine.has_ended and self._engine.status is not None):
            if cancelled():
                return None
            left_ns = deadline_ns - time.monotonic_ns()
            if left_ns <= 0:
                raise EngineError(
                    f"'{self._call.argv[0]}' was ended: it gave no end of a sound within {self._timeout_ns / 1e9:g} s"
                    + _said(self._engine)
                )
            self._turn(min(left_ns / 1e9, _LOOK_S if self._engine.has_ended else left_ns / 1e9))
        done_ns = time.monotonic_ns()
        if self._engine.status:
            raise EngineError(f"'{self._call.argv[0]}' ended with status {self._engine.status}" + _said(self._engine))
        try:
            self._stream.end()
        except EngineError as error:
            raise EngineError(f"'{self._call.argv[0]}' gave no sound: {error}{_said(self._engine)}") from error
        self._hand_on(last=True)
        form = self._stream.form
        assert form is not None
        first_ns = self._first_ns or done_ns
        return Synthesis(self._started_ns, first_ns, done_ns, form, self._stream.wav(), self._stream.duration_s,
                         self._heard_ns)  # fmt: skip

    def play(self, duration_s: float, cancelled: Callable[[], bool]) -> bool:
        """Wait for the player's end; return whether it was cancelled."""
        player = self._player
        if player is None:
            return cancelled()
        deadline_ns = (self._heard_ns or time.monotonic_ns()) + round((duration_s + _ENDING_S) * 1e9)
        while player.status is None:
            if cancelled():
                return True
            if time.monotonic_ns() > deadline_ns:
                self.problem = f"it was ended {_ENDING_S:g} s after the end of the sound"
                return False
            self._turn(_LOOK_S)
        if player.status:
            self._turn(0)
            self.problem = f"it ended with status {player.status}" + _said(player)
        return False

    def end(self) -> None:
        """End both, and all that they have started."""
        self._engine.end()
        if self._player is not None:
            self._player.end()

    def _turn(self, timeout_s: float) -> None:
        """Do what can be done now, or wait for it."""
        for key, events in self._selector.select(timeout_s):
            child = key.data
            if child is None:  # woken
                continue
            if events & selectors.EVENT_WRITE:
                child.write()
            if events & selectors.EVENT_READ:
                data = child.read(key.fileobj)
                if child is self._engine and data:
                    try:
                        self._stream.feed(data)
                    except EngineError as error:
                        raise EngineError(f"'{self._call.argv[0]}' was ended: {error}") from error
                    self._hand_on()
        if self._player is not None and self._heard_ns is None and self._sent:
            self._heard_ns = self._player.fed_ns

    def _hand_on(self, last: bool = False) -> None:
        """Give the player what it has not had yet."""
        form, samples = self._stream.form, self._stream.samples
        if form is None or not samples:
            return
        if self._first_ns is None:
            self._first_ns = time.monotonic_ns()
        if self._player is not None:
            head = b"" if self._sent else form.head(len(samples) if last else None)
            self._player.feed(head + bytes(samples[self._sent :]), last)
            self._sent = len(samples)
            self._heard_ns = self._heard_ns or self._player.fed_ns


def _said(child: Child) -> str:
    return f" ({child.said})" if child.said else ""
