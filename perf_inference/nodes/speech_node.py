"""Speak captions as they come, and at once what comes on `say`: to the sound card, or into WAV files.

    caption ─ newest waits ─┐                         ┌─ player
    say ──── cuts it short ─┴─ engine, a command ─ WAV ┴─ or a file     its timing: inference/timing

A text is given to no shell and is never taken for an option (`speech.engines`). An engine or a player that hangs is
ended with all that it has started, and the next text is spoken.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from perf_inference.errors import ConfigError, EngineError, InputError, RecordingError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.heartbeat import Heartbeat, InputState
from perf_inference.measure.stamps import Arrival, Timing
from perf_inference.nodes.reports.faults import faults_of
from perf_inference.nodes.reports.messages import OK
from perf_inference.nodes.reports.reporter import Report, Reporter
from perf_inference.nodes.ros import runner
from perf_inference.nodes.ros.parameters import declare
from perf_inference.nodes.ros.subscription import Input
from perf_inference.nodes.speech.figures import SpeechFigures, Utterance
from perf_inference.nodes.speech.parameters import SpeechParameters
from perf_inference.nodes.speech.queue import CAPTION, SAY, Queue, Wish
from perf_inference.printable import LINE, shown
from perf_inference.speech.engines import Engine, check_language
from perf_inference.speech.player import Player
from perf_inference.speech.sound_files import SoundFiles
from perf_inference.speech.speaking import Speaker, Synthesis
from perf_inference.speech.text import spoken

_LAST_WORD_S = 0.4
_SAID_S = 10.0  # between two lines on the same fault
_TYPES_EVERY = 4  # heartbeats
_QOS = QoSProfile(depth=10)


class SpeechNode(runner.RunnableNode):
    """caption, say -> sound; the services ~/say_again and ~/mute."""

    def __init__(self, name: str = "speech_node") -> None:
        super().__init__(name)
        p = self._p = declare(self, SpeechParameters)
        self._engine = p.chosen()
        self._player = Player(p.player)
        folder = Path(p.sound_dir or f"runs/speech_{time.strftime('%Y%m%d_%H%M%S')}").expanduser()
        self._files = SoundFiles(folder, p.sound_files)
        self._figures = SpeechFigures(p.target_rtf)
        self._queue = Queue(p.queue_size)
        self._speaker = Speaker(p.timeout_s)
        self._muted, self._problem, self._last = False, "", ""
        self._seq = self._beats = self._dropped = 0
        self._wrong_types: dict[str, str] = {}
        self._inputs = {
            kind: Input(self, String, kind, partial(self._on_text, kind), self._queue.ledgers[kind], _QOS)
            for kind in (CAPTION, SAY)
        }
        self.add_on_set_parameters_callback(self._on_set)
        self.create_service(Trigger, "~/say_again", self._on_say_again)
        self.create_service(SetBool, "~/mute", self._on_mute)
        self.reporter = Reporter(self, self.report)
        self._thread = threading.Thread(target=self._work, name=f"{self.get_name()} voice", daemon=True)
        self._thread.start()
        if missing := self._engine.missing():
            self.get_logger().warning(missing)
        heard = f"by {self._player.name}" if self._player.name else f"as WAV files in {folder} ({self._player.problem})"
        self.get_logger().info(
            f"{self._engine.label} ({self._engine.device}) speaks {self._inputs[CAPTION].topic} and "
            f"{self._inputs[SAY].topic} {heard}"
        )

    def stop(self) -> None:
        """Be silent."""
        self._queue.close()
        self._speaker.cancel(self._speaker.current)

    def finish(self) -> None:
        self._thread.join(_LAST_WORD_S)
        self.reporter.finish()

    def release(self) -> None:
        if not self._thread.is_alive():
            self._speaker.close()

    def report(self) -> Report:
        """Return level, message and figures of now."""
        if self._beats % _TYPES_EVERY == 0:
            self._wrong_types = {kind: source.wrong_types() for kind, source in self._inputs.items()}
        self._beats += 1
        engine, player = self._engine, self._player
        state = "muted" if self._muted else "speaking" if self._speaker.current else "silent"
        if player.problem:
            state += f"; into WAV files in {self._files.folder} ({player.problem})"
        said = Heartbeat(
            engine=engine.label,
            runtime="command",
            device=engine.device,
            inferences=self._figures.spoken,
            inputs={kind: self._input(kind) for kind in self._inputs},
            others={
                **self._figures.values(),
                "muted": int(self._muted),
                "language": engine.language,
                "words_per_minute": engine.rate_wpm,
                "network_time_included": int(engine.asks_a_server),
                "player": player.name,
                "player_failures": player.failures,
                "sound_files": self._files.written,
                "sound_dir": str(self._files.folder),
            },
        )
        troubles = (engine.missing(), self._problem, player.problem if player.failures else "", self._figures.trouble())
        trouble = next(filter(None, (*self._wrong_types.values(), *troubles)), "")
        return Report(OK, state, said.as_values()).with_trouble(trouble)

    def _input(self, kind: str) -> InputState:
        """Return the state of an input; that nothing comes on it is no problem."""
        return replace(self._inputs[kind].state(), problem=self._wrong_types.get(kind) or None)

    def _on_text(self, kind: str, arrival: Arrival) -> None:
        current = self._speaker.current
        self._queue.put(Wish(arrival.message.data, kind, arrival))
        if kind == SAY:
            self._speaker.cancel(current)

    def _on_say_again(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = False, self._last
        if self._muted:
            response.message = f"{self.get_name()} is muted; call ~/mute with false first"
        elif not self._last:
            response.message = "nothing has been said yet"
        else:
            monotonic_ns, system_ns = CLOCKS.pair()
            current = self._speaker.current
            self._queue.again(Wish(self._last, SAY, Arrival(None, monotonic_ns, system_ns)))
            self._speaker.cancel(current)
            response.success = True
        return response

    def _on_mute(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        changed, self._muted = request.data != self._muted, request.data
        if self._muted:
            self._speaker.cancel(self._speaker.current)
        response.success, response.message = True, "muted" if self._muted else "speaking again"
        if changed:
            self.get_logger().info(f"{response.message}, by a request", throttle_duration_sec=1.0)
        return response

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        engine = self._engine
        try:
            for one in parameters:
                if one.name == "language":
                    check_language(str(one.value))
                    engine = replace(engine, language=one.value)
                elif one.name == "rate":
                    engine = replace(engine, rate_wpm=one.value)
        except (ConfigError, TypeError) as error:
            return SetParametersResult(successful=False, reason=shown(error, LINE))
        self._engine = engine
        return SetParametersResult(successful=True)

    def _work(self) -> None:
        """Speak what comes, one text after the other (the voice's thread)."""
        faults = faults_of(self)
        while (taken := self._queue.take()) is not None:
            wish, replaced = taken
            self._dropped += replaced  # stays until a timing says it
            outcome = "failed"
            with faults.watching("speaking"):
                outcome = self._speak(wish)
            self._queue.done(wish, outcome)

    def _speak(self, wish: Wish) -> str:
        """Speak a text; return what became of it, as its ledger counts it."""
        try:
            text, shortened = spoken(wish.text, self._p.max_characters)
        except InputError as error:
            faults_of(self).refused(f"a text on {wish.kind}", error)
            return "rejected"
        engine = self._engine
        self._speaker.begin(wish)
        try:
            if self._muted or self._queue.is_closed:
                return "ignored"
            if self._queue.is_urgent:  # it came after this one was taken, and before this one could be cut
                return "replaced"
            self._last = text
            self._figures.shortened += shortened
            told = partial(self._synthesized, engine, wish, text)
            outcome = self._speaker.speak(engine.invocation(text), self._player.argv, told)
        except EngineError as error:
            self._problem = f"not spoken: {shown(error, LINE)}"
            self.get_logger().error(self._problem, throttle_duration_sec=_SAID_S)
            return "failed"
        finally:
            self._speaker.finish()
        self._figures.cut += outcome.cut
        if outcome.synthesis is None:
            return "replaced"
        self._problem = ""
        if not outcome.cut:
            self._keep_or_play(outcome.synthesis, outcome.problem)
        return "processed"

    def _keep_or_play(self, synthesis: Synthesis, problem: str) -> None:
        """Keep what was not played."""
        if self._player.argv and not problem:
            self._player.played()
            return
        if problem:
            self._player.failed(problem)
            self.get_logger().warning(
                f"{self._player.problem}; what is spoken goes into WAV files in {self._files.folder}, and it is tried "
                "again in 10 s",
                throttle_duration_sec=_SAID_S,
            )
        try:
            self._files.write(synthesis.wav)
        except RecordingError as error:
            self._problem = str(error)
            self.get_logger().error(self._problem, throttle_duration_sec=_SAID_S)

    def _synthesized(self, engine: Engine, wish: Wish, text: str, synthesis: Synthesis) -> None:
        """Tell the timing of a text whose sound is there."""
        arrived_ns = wish.arrival.arrived_ns
        utterance = Utterance.of(synthesis, arrived_ns)
        self._figures.add(utterance)
        self._seq += 1
        replaced, self._dropped = self._dropped, 0
        self.reporter.add(
            Timing(
                node=self.reporter.name,
                engine=engine.label,
                precision=f"pcm{synthesis.form.bits}",
                device=engine.device,
                seq=self._seq,
                stamp_ns=None,
                due_ns=None,
                received_ns=wish.arrival.received_ns,
                arrived_ns=arrived_ns,
                stages_ns={
                    "queue": synthesis.started_ns - arrived_ns,
                    "infer": synthesis.done_ns - synthesis.started_ns,
                },
                total_ns=synthesis.done_ns - arrived_ns,
                latency_ns=None,
                dropped_before=replaced,
                extra={
                    "audio_s": utterance.duration_s,
                    "rtf": utterance.rtf,
                    "first_sound_ms": utterance.first_sound_ms,
                    "engine_first_ms": utterance.engine_first_ms,
                    "characters": len(text),
                    "network_time_included": int(engine.asks_a_server),
                },
            )
        )


def main() -> None:
    """Run the node."""
    runner.main(SpeechNode)


if __name__ == "__main__":
    main()
