"""Which command speaks: espeak-ng, piper, gtts, or one of the user's.

A text goes to the command's standard input. A command that does not read it has `{text}` as a word of its own after
`--`, where no text is taken for an option. No shell is in between, whatever is in the text.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from perf_inference.errors import ConfigError, EngineError

ESPEAK, PIPER, GTTS, COMMAND = "espeak-ng", "piper", "gtts", "command"
ENGINES = (ESPEAK, PIPER, GTTS, COMMAND)
NORMAL_WPM = 175  # words per minute of espeak-ng's default, and about those of the others
_ASKS_A_SERVER = ("gtts-cli", "edge-tts")  # commands of others that are known to
_LANGUAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+.-]{0,63}")
_INSTALL = {  # pipx: a command in an environment of its own, which leaves that of ROS alone
    ESPEAK: "apt install espeak-ng",
    PIPER: "pipx install piper-tts",
    GTTS: "pipx install gTTS",
}
_TEXT = "{text}"


class Invocation(NamedTuple):
    """One text's command line and what goes to its standard input."""

    argv: tuple[str, ...]
    stdin: bytes
    raw_hz: int = 0  # rate of samples that come without a head; 0: a WAV comes


@dataclass(frozen=True)
class Engine:
    """An engine, as the user has chosen it.

    Attributes:
        language: of the voice, as the engine calls it: `en`, `de`, `en-us+f3`; `{language}` in a command.
        rate_wpm: words per minute; `{rate}` in a command.
        voice: piper's voice, a path or name.
        command: the command line of the engine `command`.
        server: the command asks a server: network time is in its figures.
    """

    name: str = ESPEAK
    language: str = "en"
    rate_wpm: int = NORMAL_WPM
    voice: str = ""
    command: str = ""
    server: bool = False

    def __post_init__(self) -> None:
        """Check what was chosen.

        Raises:
            ConfigError: it does not go together.
        """
        if self.name not in ENGINES:
            raise ConfigError(f"engine must be one of {', '.join(ENGINES)}, got '{self.name}'")
        check_language(self.language)
        if not 1 <= self.rate_wpm <= 1000:
            raise ConfigError(f"rate must be from 1 to 1000 words per minute, got {self.rate_wpm}")
        if self.name == PIPER and (not self.voice or self.voice.startswith("-")):
            raise ConfigError(
                "piper needs a voice: the path of its .onnx file, or its name (en_US-lessac-medium); got "
                f"'{self.voice}'"
            )
        if bool(self.command) != (self.name == COMMAND):
            raise ConfigError(f"engine '{COMMAND}' and the parameter command go together, got engine '{self.name}' and "
                              f"command '{self.command}'")  # fmt: skip
        if self.name == COMMAND:
            words = self.words()
            if (
                any(_TEXT in word for word in words)
                and "--" not in words[: words.index(_TEXT) if _TEXT in words else 0]
            ):
                raise ConfigError(
                    f"{_TEXT} must be a word of its own after `--`, where no text is taken for an option; got "
                    f"'{self.command}'"
                )

    def words(self) -> list[str]:
        """Return the command line's words; of `command` with `{text}`, `{language}` and `{rate}` as they are."""
        if self.name == ESPEAK:
            return [ESPEAK, "-v", self.language, "-s", str(self.rate_wpm), "--stdin", "--stdout"]
        if self.name == GTTS:
            return ["gtts-cli", "--nocheck", "--lang", self.language, "-"]
        if self.name == PIPER:
            scale = f"{NORMAL_WPM / self.rate_wpm:.3f}"
            form = ["--output_raw"] if self._raw_hz() else ["--output_file", "-"]
            return [PIPER, "--model", self.voice, "--length_scale", scale, *form]
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise ConfigError(f"command '{self.command}' is not a command line: {error}") from None
        if not words:
            raise ConfigError("command must be a command line, got spaces")
        return [os.path.expanduser(words[0]), *words[1:]]

    @property
    def asks_a_server(self) -> bool:
        """Whether network time is in its figures."""
        return self.server or any(os.path.basename(word) in _ASKS_A_SERVER for word in self.words())

    @property
    def label(self) -> str:
        """What figures are told under: the engine's name, or the program of a command."""
        return os.path.basename(self.words()[0]) if self.name == COMMAND else self.name

    @property
    def device(self) -> str:
        """Where it is said to run."""
        return "a server, network time included" if self.asks_a_server else "cpu" if self.name == ESPEAK else "command"

    def missing(self, which: Callable[[str], str | None] = shutil.which) -> str:
        """Return one sentence where the program is not installed; else nothing."""
        program = self.words()[0]
        if which(program):
            return ""
        how = _INSTALL.get(self.name)
        what = f"{how}, or choose another engine" if how else "install it, or correct the parameter command"
        return f"nothing is spoken: '{program}' is not installed: {what}"

    def invocation(self, text: str) -> Invocation:
        """Return how this text is spoken; it must be one line (`text.spoken`).

        Raises:
            EngineError: the program is not installed.
        """
        if missing := self.missing():
            raise EngineError(missing)
        words = self.words()
        if self.name != COMMAND:
            return Invocation(tuple(words), text.encode() + b"\n", self._raw_hz() if self.name == PIPER else 0)
        values = {"{language}": self.language, "{rate}": str(self.rate_wpm)}
        argv = [text if word == _TEXT else re.sub(r"\{language\}|\{rate\}", lambda m: values[m[0]], word)
                for word in words]  # fmt: skip
        return Invocation(tuple(argv), b"" if _TEXT in words else text.encode() + b"\n")

    def _raw_hz(self) -> int:
        """Return the rate that the file beside piper's voice says; 0: there is none, and piper writes a WAV."""
        try:
            with open(Path(self.voice).expanduser().with_name(Path(self.voice).name + ".json"), "rb") as file:
                said: Any = json.loads(file.read(1 << 22))
            rate_hz = said["audio"]["sample_rate"]
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        return rate_hz if isinstance(rate_hz, int) and 1 <= rate_hz <= 768_000 else 0


def check_language(language: str) -> None:
    """Raise ConfigError where this is no name of a language or voice, but an option, a path or something else."""
    if not _LANGUAGE.fullmatch(language) or ".." in language:
        raise ConfigError(f"language must be a name such as en, de or en-us+f3, got '{language[:100]}'")
