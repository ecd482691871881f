"""The parameters of speech_node."""

from __future__ import annotations

from dataclasses import dataclass

from perf_inference.nodes.ros.parameters import parameter
from perf_inference.speech.engines import ENGINES, ESPEAK, NORMAL_WPM, Engine
from perf_inference.speech.player import AUTO


@dataclass(frozen=True)
class SpeechParameters:
    """Parameters of speech_node."""

    engine: str = parameter(
        ESPEAK, "what speaks: espeak-ng, piper (with voice), gtts (asks a server) or command", choices=ENGINES
    )
    command: str = parameter(
        "", "of the engine command: a command line that reads the text on its standard input, or has it as the word "
        "{text} after `--`, and writes a WAV to its standard output; {language} and {rate} in it are replaced"
    )  # fmt: skip
    server: bool = parameter(False, "the command asks a server: its figures say that network time is in them")
    voice: str = parameter("", "piper's voice: the path of its .onnx file, or its name")
    language: str = parameter("en", "of the voice, as the engine calls it: en, de, en-us+f3", while_running=True)
    rate: int = parameter(NORMAL_WPM, "words per minute", at_least=1, at_most=1000, while_running=True)
    queue_size: int = parameter(1, "captions that wait while one is spoken; the newest win", at_least=1, at_most=100)
    max_characters: int = parameter(500, "of a text; a longer one is cut after its last whole word", at_least=1,
                                    at_most=100_000)  # fmt: skip
    timeout_s: float = parameter(10.0, "an engine that needs longer for a text is ended [s]", at_least=0.1, at_most=600)
    target_rtf: float = parameter(
        0.5, "real-time factor, synthesis over duration, from which on the heartbeat warns", at_least=0.001, at_most=100
    )
    player: str = parameter(AUTO, "auto: paplay, aplay or ffplay where there is one and a sound card; none; or a "
                            "command line that reads a WAV on its standard input")  # fmt: skip
    sound_dir: str = parameter(
        "", "folder for the WAV files of what is not played; empty: the run's, as the starter sets it, or "
        "runs/speech_TIME"
    )  # fmt: skip
    sound_files: int = parameter(1000, "WAV files that are kept, the newest", at_least=1, at_most=1_000_000)

    def chosen(self, language: str = "", rate: int = 0) -> Engine:
        """Return the engine, in another language or at another rate if given.

        Raises:
            ConfigError: the parameters do not go together.
        """
        return Engine(self.engine, language or self.language, rate or self.rate, self.voice, self.command, self.server)
