"""speech_node: captions to sound, `say` at once, a voice that is muted, hangs, or is not installed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
from support import voice
from support.processes import Process, Ros

from perf_inference.measure.performance_monitor import PerformanceMonitor
from perf_inference.nodes.monitor.watched_node import WatchedNode
from perf_inference.nodes.monitor_node import MonitorParameters
from perf_inference.nodes.reports.messages import from_key_values, level
from perf_inference.nodes.reports.reporter import STATUS_QOS, TIMING_QOS
from perf_inference.tasks.audio.sound_file import read_sound

VOICE = shlex.join([sys.executable, "-I", "-S", voice.__file__])
Start = Callable[..., Process]


class Listener:
    """What speech_node says of itself, and who talks to it."""

    def __init__(self, ros: Ros) -> None:
        self.ros = ros
        self._beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
        self._timings = ros.collect(DiagnosticArray, "inference/timing", TIMING_QOS)
        self._publishers = {topic: ros.node.create_publisher(String, topic, 10) for topic in ("caption", "say")}

    def ready(self) -> None:
        publishers = self._publishers.values()
        assert self.ros.spin_until(lambda: all(one.get_subscription_count() for one in publishers) and self._beats)

    def send(self, topic: str, text: str) -> None:
        """Publish a text, and wait until the node has it."""
        had = self.count(topic, "received")
        self._publishers[topic].publish(String(data=text))
        assert self.ros.spin_until(lambda: self.count(topic, "received") > had), f"'{text}' did not arrive"

    def count(self, topic: str, what: str) -> int:
        return int(self.beat.get(f"ledger.{topic}.{what}", 0))

    def until(self, key: str, value: Any) -> None:
        assert self.ros.spin_until(lambda: self.beat.get(key) == value), f"{key} is {self.beat.get(key)}, not {value}"

    @property
    def beat(self) -> dict[str, Any]:
        return from_key_values(self.status.values) if self._beats else {}

    @property
    def status(self) -> DiagnosticStatus:
        return self._beats[-1]

    @property
    def timings(self) -> list[dict[str, Any]]:
        return [from_key_values(status.values) for array in self._timings for status in array.status]


@pytest.fixture
def listener(ros: Ros) -> Listener:
    return Listener(ros)


def _start(start_node: Start, *parameters: str, env: dict[str, str] | None = None) -> Process:
    node = start_node("speech_node", *(word for one in parameters for word in ("-p", one)), env=env)
    node.wait_for(" speaks ")
    return node


def _set(ros: Ros, name: str, value: Any) -> Any:
    given = (
        ParameterValue(type=4, string_value=value)
        if isinstance(value, str)
        else ParameterValue(type=2, integer_value=value)
    )
    wish = SetParameters.Request(parameters=[Parameter(name=name, value=given)])
    return ros.call(SetParameters, "speech_node/set_parameters", wish).results[0]


def test_the_newest_waits_say_cuts_and_mute_is_silent(
    ros: Ros, listener: Listener, start_node: Start, tmp_path: Path
) -> None:
    # caption  first     second third                          fourth
    # say                             stop
    # service                              say_again  mute on, off
    # spoken   [- first, cut by ------][stop][- stop --]  third is ignored   [fourth]
    texts, heard = tmp_path / "texts", tmp_path / "heard"
    _start(
        start_node, "engine:=command", f"command:={VOICE} tone {texts}", f"player:={VOICE} player {heard} 300",
        f"sound_dir:={tmp_path}/sounds",
    )  # fmt: skip
    listener.ready()

    def again() -> tuple[bool, str]:
        said = ros.call(Trigger, "speech_node/say_again", Trigger.Request())
        return said.success, said.message

    assert again() == (False, "nothing has been said yet")
    spoken = lambda: texts.read_text().split("\n")[:-1] if texts.exists() else []  # noqa: E731
    listener.send("caption", "first")
    listener.until("inferences", 1)
    listener.send("caption", "second")
    listener.send("caption", "third")
    listener.until("ledger.caption.waiting", 1)
    listener.send("say", "stop")
    listener.until("inferences", 2)
    assert again() == (True, "stop")
    listener.until("inferences", 3)
    ros.call(SetBool, "speech_node/mute", SetBool.Request(data=True))
    listener.until("ledger.caption.ignored", 1)
    assert spoken() == ["first", "stop", "stop"]
    assert again()[1].startswith("speech_node is muted")
    ros.call(SetBool, "speech_node/mute", SetBool.Request(data=False))
    listener.send("caption", "fourth")
    listener.until("inferences", 4)
    assert spoken()[3:] == ["fourth"]
    counts = {key: listener.count("caption", key) for key in ("received", "replaced", "ignored", "residual")}
    assert counts == {"received": 4, "replaced": 1, "ignored": 1, "residual": 0}
    assert listener.count("say", "received") == listener.count("say", "processed") == 1
    assert not (tmp_path / "sounds").exists(), "what is played is not kept"


@pytest.mark.thorough
def test_hanging_hostile_and_long_texts_cost_themselves_only(
    ros: Ros, listener: Listener, start_node: Start, tmp_path: Path
) -> None:
    sounds = tmp_path / "run" / "speech"
    node = _start(
        start_node, "engine:=command", f"command:={VOICE} hang_at wait", "player:=none", "timeout_s:=6.0",
        "server:=true", f"sound_dir:={sounds}", "max_characters:=200",
    )  # fmt: skip
    listener.ready()
    listener.send("caption", "please wait")
    assert ros.spin_until(lambda: "gave no end of a sound within 6 s" in listener.status.message), node.output()
    assert level(listener.status) == DiagnosticStatus.WARN
    listener.until("ledger.caption.failed", 1)
    made = tmp_path / "made"
    texts = ["a red cup", f"$(touch {made})", "--version", "word " * 100]
    for number, text in enumerate(texts):
        listener.send("caption", text)
        listener.until("inferences", number + 1)
    listener.send("caption", "...")
    listener.until("ledger.caption.rejected", 1)
    assert ros.spin_until(lambda: len(listener.timings) == 4)
    assert not made.exists()
    files = sorted(sounds.iterdir())
    assert [file.name for file in files] == [f"00000{number}.wav" for number in (1, 2, 3, 4)]
    for timing, file in zip(listener.timings, files, strict=True):
        sound = read_sound(file)
        assert sound.duration_s == pytest.approx(timing["characters"] * voice.SECONDS_A_CHARACTER)
        assert float(np.sqrt(np.mean(sound.samples**2))) == pytest.approx(0.35, abs=0.01)
        assert timing["audio_s"] == pytest.approx(sound.duration_s)
        rtf = PerformanceMonitor.calculate_rtf(timing["infer_ms"] / 1e3, timing["audio_s"])
        assert timing["rtf"] == pytest.approx(rtf, abs=1e-5)
        assert timing["network_time_included"] == 1
        assert timing["device"] == "a server, network time included"
        assert 0 <= timing["queue_ms"] <= timing["first_sound_ms"] <= timing["total_ms"]
    assert [timing["characters"] for timing in listener.timings] == [9, len(texts[1]), 9, 199]
    listener.until("shortened", 1)
    assert listener.beat["rtf"] > 0
    watched = WatchedNode("speech_node", MonitorParameters().of_nodes())
    watched.heard(listener.status, 1.0)
    names = [status.name for status in watched.statuses(1.0)]
    assert names[0] == "monitor_node: speech_node/engine"
    values = from_key_values(watched.statuses(1.0)[0].values)
    assert (values["rtf_target"], values["network_time_included"]) == (0.5, 1)
    assert values["first_sound_p50_ms"] > 0


def test_an_engine_that_is_not_there_is_said_and_is_found_when_it_comes(
    ros: Ros, listener: Listener, start_node: Start, tmp_path: Path
) -> None:
    programs, texts = tmp_path / "bin", tmp_path / "texts"
    programs.mkdir()
    node = _start(start_node, f"sound_dir:={tmp_path}/sounds", "target_rtf:=0.001", env={"PATH": str(programs)})
    assert f"as WAV files in {tmp_path}/sounds (no player: apt install alsa-utils)" in node.output()
    listener.ready()
    listener.send("caption", "hello")
    listener.until("ledger.caption.failed", 1)
    said = "'espeak-ng' is not installed: apt install espeak-ng"
    assert said in listener.status.message
    assert said in node.output()
    refused = _set(ros, "language", "-w/tmp/x")
    assert (refused.successful, "language must be a name" in refused.reason) == (False, True)
    assert not _set(ros, "rate", 0).successful
    assert _set(ros, "language", "de").successful
    assert _set(ros, "rate", 120).successful
    words = tmp_path / "words"
    (programs / "espeak-ng").write_text(f'#!/bin/sh\necho "$@" >{words}\nexec {VOICE} tone {texts}\n')
    (programs / "espeak-ng").chmod(0o755)
    listener.send("caption", "hello again")
    listener.until("inferences", 1)
    assert ros.spin_until((tmp_path / "sounds" / "000001.wav").exists)
    assert (words.read_text(), texts.read_text()) == ("-v de -s 120 --stdin --stdout\n", "hello again\n")
    assert ros.spin_until(lambda: "the real-time factor is" in listener.status.message), listener.status.message
    assert node.alive
