"""config/camera.yaml as it is started: a folder as the camera, captions, a voice (make prove PROVE=speaking)."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from support.paths import ROOT
from support.processes import Process, wait_until

from perf_inference.demo.scenes import Item, Scene, render
from perf_inference.tasks.audio.sound_file import read_sound

pytestmark = pytest.mark.long
UTTERANCES = 100
COLOURS = ("red", "blue", "green")


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_captions_of_a_folder_are_spoken_by_espeak(
    start_command: Callable[..., Process], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    for number, colour in enumerate(COLOURS):
        scene = Scene((Item("circle", colour, 200, 240, 48.0), Item("square", "blue", 460, 250, 37.0)), seed=number)
        cv2.imwrite(str(scenes / f"{number}.png"), render(scene))
    robot = start_command(
        "run", "--config", str(ROOT / "config" / "camera.yaml"), "--set", f"camera_node.source={scenes}",
        "--set", "camera_node.rate=5.0", "--set", "caption_node.rate=2.0", "--set", "speech_node.player=none",
        "--set", f"recorder_node.output_dir={tmp_path}/runs",
    )  # fmt: skip
    spoken = lambda: list((tmp_path / "runs").glob("*/speech/*.wav"))  # noqa: E731
    assert wait_until(lambda: len(spoken()) >= UTTERANCES or not robot.alive, 300), robot.output()
    assert robot.stop(timeout_s=60) == 0, robot.output()
    (run,) = (tmp_path / "runs").iterdir()
    lines = [
        json.loads(line) for file in run.glob("performance_timings_*.jsonl") for line in file.read_text().splitlines()
    ]
    timings = [line for line in lines if line["node"] == "speech_node"]
    assert len(timings) >= UTTERANCES
    for wav, timing in zip(sorted(spoken()), timings, strict=False):
        sound = read_sound(wav)
        assert sound.duration_s == pytest.approx(timing["audio_s"], abs=0.001)
        assert 0.5 < sound.duration_s < 10
        assert float(np.sqrt(np.mean(sound.samples**2))) > 0.02, "it is heard"
    assert {(one["engine"], one["device"]) for one in timings} == {("espeak-ng", "cpu")}
    (summary,) = (json.loads(file.read_text())["nodes"] for file in run.glob("performance_summary_*.json"))
    assert summary["speech_node"]["counted"] == summary["speech_node"]["recorded"] == len(timings)
    first_ms, engine_ms, rtf = (
        [one[key] for one in timings[:UTTERANCES]] for key in ("first_sound_ms", "engine_first_ms", "rtf")
    )
    assert all(0 < engine <= first for engine, first in zip(engine_ms, first_ms, strict=True))
    analysis = start_command("analyze", str(run))
    assert analysis.wait(120) == 0
    assert "espeak-ng pcm16 on cpu; real-time factor 0." in analysis.output()
    with capsys.disabled():
        print(f"\n{len(timings)} captions spoken; first sound after {statistics.median(first_ms):.1f} ms (median of "
              f"{UTTERANCES}), of which the engine {statistics.median(engine_ms):.1f} ms; real-time factor "
              f"{statistics.median(rtf):.3f}, at most {max(rtf):.3f}")  # fmt: skip
