"""What plays a WAV that comes on its standard input: paplay, aplay or ffplay, or a command of the user's."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from perf_inference.errors import ConfigError

AUTO, NONE = "auto", "none"
_KNOWN = (
    ("paplay", "--client-name=perf_inference"),
    ("aplay", "-q", "-"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error", "-i", "-"),
)
_RETRY_NS = 10_000_000_000
_CARDS = Path("/proc/asound/cards")


class Player:
    """Which command plays, and why none does; after one has failed it is tried again in 10 s."""

    def __init__(
        self,
        chosen: str = AUTO,
        which: Callable[[str], str | None] = shutil.which,
        cards: Path = _CARDS,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Choose.

        Args:
            chosen: auto, none, or a command line that reads a WAV on its standard input.

        Raises:
            ConfigError: it is no command line.
        """
        self._monotonic_ns = monotonic_ns
        self._again_ns = 0
        self.problem = ""  # why nothing is heard
        self.failures = 0
        self._argv: tuple[str, ...] = ()
        if chosen == NONE:
            self.problem = "player is none"
        elif chosen == AUTO:
            self._argv = next((argv for argv in _KNOWN if which(argv[0]) and _may_play(argv[0], cards)), ())
            if not self._argv:
                there = [argv[0] for argv in _KNOWN if which(argv[0])]
                self.problem = "no sound card" if there else "no player: apt install alsa-utils"
        else:
            self._argv = _words(chosen)
            if not which(self._argv[0]):
                raise ConfigError(
                    f"player must be {AUTO}, {NONE} or a command that is installed and reads a WAV on its standard "
                    f"input, got '{chosen}'"
                )

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line to try now; empty: none."""
        return self._argv if self._monotonic_ns() >= self._again_ns else ()

    @property
    def name(self) -> str:
        return self._argv[0].rpartition("/")[2] if self._argv else ""

    def failed(self, why: str) -> None:
        """Say that it has not played; for some seconds none is tried."""
        self.failures += 1
        self.problem = f"'{self.name}' does not play: {why}"
        self._again_ns = self._monotonic_ns() + _RETRY_NS

    def played(self) -> None:
        """Say that it has played."""
        self.problem = ""


def _may_play(program: str, cards: Path) -> bool:
    """Return whether there is a point in trying: there is a sound server, or a card."""
    if _has_sound_server():
        return True
    if program == "paplay":
        return False
    try:
        return "no soundcards" not in cards.read_text()
    except OSError:
        return False


def _has_sound_server() -> bool:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return bool(os.environ.get("PULSE_SERVER")) or (bool(runtime) and Path(runtime, "pulse", "native").exists())


def _words(command: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise ConfigError(f"player '{command}' is not a command line: {error}") from None
    if not words:
        raise ConfigError("player must be a command line, auto or none; got spaces")
    return words
