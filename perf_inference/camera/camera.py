"""A camera that is opened, read at its pace, and opened again when it was gone.

    open ── grab ─ wanted? ─ decode, publish ─┐
     ^       ^───────────────────────────────┘
     └── wait, longer each time ── CameraError

Each image that the driver gave has one outcome in the ledger: processed (published), ignored (left out by the rate, or
nobody listens), or rejected (it cannot be decoded). Those that a driver of a known rate should have given are
`lost_before`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from perf_inference.camera.source import DEVICE, FILE, FOLDER, Format, Source
from perf_inference.errors import CameraError, InputError
from perf_inference.measure.ledger import Ledger
from perf_inference.measure.stamps import rate_hz

_FIRST_WAIT_S = 0.5
_FOLDER_HZ, _FILE_HZ = 10.0, 30.0  # where nobody says a pace
_RECENT, _RECENT_NS = 300, 5_000_000_000
_EARLY = 0.25  # of a period: an image that comes so much before its turn has it
_Take = Callable[[Source, int], bool]


@dataclass(frozen=True)
class State:
    """A camera at one moment."""

    what: str  # opening | running | lost | finished
    format: Format | None  # None: it was never open
    why: str  # it is lost
    lost_s: float | None
    next_try_s: float | None
    opened: int  # times
    reconnects: int  # times that it came back
    failed_opens: int
    laps: int  # of a file or folder, that are over
    late: int  # images of a file or folder that came over a period after their turn
    age_s: float | None  # of the newest image
    rate_hz: float | None


class Camera:
    """Reads a source on the thread that calls `run`; others may look and stop it."""

    def __init__(
        self,
        source: Source,
        take: _Take,
        say: Callable[[str, bool], None] = lambda said, is_fault: None,
        skipped: Callable[[InputError], None] = lambda error: None,
        rate: float = 0.0,
        expected_hz: float = 0.0,
        loop: bool = True,
        longest_wait_s: float = 10.0,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            take: given the source, and when its image was taken (monotonic), it decodes and publishes; False: nobody
                wants it. Raises InputError.
            say: told what a user should know, and whether it is a fault.
            skipped: told of each image that cannot be decoded.
            rate: images a second that are taken at most; of files and folders their pace; 0: as they say.
            expected_hz: of a live camera; 0: as a device's driver says, of others unknown.
            loop: begin a file or folder again.
            longest_wait_s: between two tries to open it.
            wait: for so many seconds; None: until `stop` at the latest.
        """
        self.source, self.ledger = source, Ledger()
        self._take, self._say, self._skipped = take, say, skipped
        self._rate, self._expected_hz, self._loop = rate, expected_hz, loop
        self._longest_wait_s, self._monotonic_ns = longest_wait_s, monotonic_ns
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._is_live = source.kind not in (FILE, FOLDER)
        self._format: Format | None = None
        self._what, self._why = "opening", ""
        self._lost_ns: int | None = None
        self._try_ns: int | None = None
        self._opened = self._reconnects = self._failed_opens = self._laps = self._late = 0
        self._wait_s = 0.0
        self._before_ns: int | None = None  # when the image before was taken
        self._due_ns: int | None = None
        self._newest: deque[int] = deque(maxlen=_RECENT)
        self._images_since_open = 0

    def stop(self) -> None:
        """End `run`, as soon as the driver returns (any thread)."""
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        return self._stopped.is_set()

    def promised_hz(self) -> float | None:
        """Return the rate that images should come at; None: nobody says one."""
        if not self._is_live:
            return self._pace_hz()
        if self._expected_hz:
            return self._expected_hz
        known = self._format is not None and self.source.kind == DEVICE
        return self._format.rate_hz if known and self._format is not None else None

    def state(self) -> State:
        """Return the state of now (any thread)."""
        now_ns = self._monotonic_ns()
        newest = list(self._newest)
        lost_ns, try_ns = self._lost_ns, self._try_ns
        return State(
            what=self._what,
            format=self._format,
            why=self._why,
            lost_s=None if lost_ns is None else (now_ns - lost_ns) / 1e9,
            next_try_s=None if try_ns is None else max(0.0, (try_ns - now_ns) / 1e9),
            opened=self._opened,
            reconnects=self._reconnects,
            failed_opens=self._failed_opens,
            laps=self._laps,
            late=self._late,
            age_s=(now_ns - newest[-1]) / 1e9 if newest else None,
            rate_hz=rate_hz([taken_ns for taken_ns in newest if now_ns - taken_ns < _RECENT_NS]),
        )

    def run(self) -> bool:
        """Read until the end or `stop`; return whether it was the end."""
        while not self._stopped.is_set():
            if self._ended() and not self._loop:
                self._what = "finished"
                return True
        return False

    def _ended(self) -> bool:
        """Open it and read; return whether that was to the end of a file or folder."""
        try:
            self._open()
            self._read()
        except CameraError as error:
            self._lose(str(error))
            self._wait(self._wait_s)
            return False
        finally:
            self.source.close()
        return not self._stopped.is_set()

    def _open(self) -> None:
        try:
            self._format = self.source.open()
        except CameraError:
            self._failed_opens += 1
            raise
        self._opened += 1
        self._before_ns, self._images_since_open = None, 0

    def _read(self) -> None:
        """Read to the end of a file or folder, or to `stop`."""
        while not self._stopped.is_set():
            taken_ns = self.source.grab()
            if taken_ns is None:
                if not self._images_since_open:
                    raise CameraError(f"{self.source.name} has no images")
                self._laps += 1
                return
            self._images_since_open += 1
            self._found()
            if not self._is_live:
                taken_ns = self._at_its_turn()
                if self._stopped.is_set():
                    return
            self._count_missing(taken_ns)
            self._newest.append(taken_ns)
            self._one(taken_ns)

    def _one(self, taken_ns: int) -> None:
        with self.ledger.lock:
            self.ledger.count("received")
            self.ledger.count("in_work")
        outcome = "rejected"
        try:
            wanted = not self._is_live or self._has_its_turn(taken_ns)
            outcome = "processed" if wanted and self._take(self.source, taken_ns) else "ignored"
        except InputError as error:
            self._skipped(error)
        finally:
            with self.ledger.lock:
                self.ledger.count("in_work", -1)
                self.ledger.count(outcome)

    def _found(self) -> None:
        """Say that it is there again, with the first image."""
        if self._what == "running":
            return
        lost_ns, self._lost_ns, self._try_ns, self._wait_s = self._lost_ns, None, None, 0.0
        was_there = self._what == "lost" and self._newest
        self._what, self._why = "running", ""
        if was_there and lost_ns is not None:
            self._reconnects += 1
            away_s = (self._monotonic_ns() - lost_ns) / 1e9
            times = "once" if self._reconnects == 1 else f"{self._reconnects} times"
            self._say(f"{self.source.name} is back after {away_s:.1f} s; reconnected {times}", False)
        else:
            self._say(f"{self.source.name}: {self._format}", False)

    def _lose(self, why: str) -> None:
        self._wait_s = min(2 * self._wait_s or _FIRST_WAIT_S, self._longest_wait_s)
        now_ns = self._monotonic_ns()
        self._try_ns = now_ns + round(self._wait_s * 1e9)
        is_news = self._what != "lost"
        if self._lost_ns is None:
            self._lost_ns = now_ns
        self._what, self._why, self._due_ns = "lost", why, None
        if is_news:
            self._say(f"{why}; it is tried again, after waits that grow to {self._longest_wait_s:g} s", True)

    def _count_missing(self, taken_ns: int) -> None:
        """Count what a camera of a known rate should have given between two images."""
        promised_hz = self.promised_hz() if self._is_live else None
        before_ns, self._before_ns = self._before_ns, taken_ns
        if promised_hz is None:
            return
        missing = 0 if before_ns is None else round((taken_ns - before_ns) * promised_hz / 1e9) - 1
        self.ledger.lost(max(0, missing))

    def _pace_hz(self) -> float:
        said = None if self._format is None else self._format.rate_hz
        return self._rate or said or (_FOLDER_HZ if self.source.kind == FOLDER else _FILE_HZ)

    def _at_its_turn(self) -> int:
        """Wait for the next turn of a file or folder, and return when it was.

        The turns are a grid, which begins anew after a delay of over a period.
        """
        period_ns, now_ns = round(1e9 / self._pace_hz()), self._monotonic_ns()
        due_ns = now_ns if self._due_ns is None else self._due_ns
        if now_ns - due_ns > period_ns:
            self._late += 1
            due_ns = now_ns
        self._due_ns = due_ns + period_ns
        if due_ns > now_ns:
            self._wait((due_ns - now_ns) / 1e9)
        return self._monotonic_ns()

    def _has_its_turn(self, taken_ns: int) -> bool:
        """Return whether a live image is taken, of those that come more often than `rate`."""
        if not self._rate:
            return True
        period_ns = round(1e9 / self._rate)
        if self._due_ns is not None and taken_ns < self._due_ns - _EARLY * period_ns:
            return False
        late = self._due_ns is None or taken_ns > self._due_ns + period_ns
        self._due_ns = (taken_ns if late or self._due_ns is None else self._due_ns) + period_ns
        return True
