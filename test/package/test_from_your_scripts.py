"""docs/from-your-scripts.md: each of its commands is run, or says what it needs, and prints what the page says."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from support.paths import ROOT
from support.runs import NAME, timing, write
from support.shell_blocks import check_command

import perf_inference
from perf_inference.demo.scenes import random_scene, render

PAGE = ROOT / "docs" / "from-your-scripts.md"
GUIDES = 5
_LONGEST_S = 300
_TRIES = 3  # of a step of seconds: on a busy machine a node may miss the end of the demo
_NUMBER = re.compile(r"(?<![A-Za-z_])[+-]?\d[\d.,:_]*(?:e[+-]?\d+)?%?")
_RUN = re.compile(r"\b(demo|run)_\d{8}_\d{6}\b|\d{8}_\d{6}")
_FOLDER = re.compile(r"(?<!\S)/\S*/(?=\S)")
_SENTENCE = re.compile(r"an? [a-z]+ [a-z]+( [a-z ]+)?")  # of the captioner
_SHELL = {"cp", "wc", "ls", "python", "timeout", "(sleep", "kill", "sleep"}
NEEDS = {  # a word of what a step says it needs: whether it is here
    "espeak-ng": lambda: shutil.which("espeak-ng") is not None,
    "PyTorch": lambda: importlib.util.find_spec("torch") is not None,
    "TensorRT": lambda: importlib.util.find_spec("tensorrt") is not None and shutil.which("nvidia-smi") is not None,
    "Jetson": lambda: Path("/etc/nv_tegra_release").exists(),
    "wav2vec2": lambda: Path("wav2vec2").is_dir(),
    "captioner.pth": lambda: Path("captioner.pth").is_file(),
}


class Step(NamedTuple):
    """A fenced block: its language, what else its first line says, and its lines."""

    kind: str
    said: str
    lines: tuple[str, ...]

    def commands(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield each command with the lines that it is to print."""
        starts = [number for number, line in enumerate(self.lines) if line.startswith("$ ")]
        for begin, end in zip(starts, [*starts[1:], len(self.lines)], strict=True):
            yield self.lines[begin][2:], self.lines[begin + 1 : end]


def steps(text: str) -> list[Step]:
    blocks = re.findall(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Step(kind, said, tuple(body.splitlines())) for kind, said, body in blocks]


STEPS = steps(PAGE.read_text())


def plain(line: str) -> str:
    """Return a line without its numbers, the time of a run, folders, and the width of its columns."""
    line = _FOLDER.sub("", _RUN.sub("#", line))
    line = re.sub(r"\[(INFO|WARN)\] \[[\d.]+\] \[(\w+)\]:", r"\2:", line)
    return " ".join("#" if word == "-" else word for word in _NUMBER.sub("#", line).split())


def missing(expected: tuple[str, ...], printed: str) -> str | None:
    """Return the first expected line that was not printed after those before it; `...` is any lines."""
    lines = iter([plain(line) for line in printed.splitlines() if line.strip()])
    for line in expected:
        if line.strip() in ("", "..."):
            continue
        wanted = plain(line)
        if not any(wanted == came or _alike(wanted, came) for came in lines):
            return line
    return None


def _alike(wanted: str, came: str) -> bool:
    """Return whether a line of the page is a line that has other texts where the two are data: who, what was seen."""
    if _SENTENCE.fullmatch(wanted) and _SENTENCE.fullmatch(came):
        return True
    begin, colon, _ = wanted.partition(": ")
    return bool(colon) and begin.endswith(("caption", "of sound", "[ACTION ##]")) and came.startswith(begin)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with photo.jpg, and the commands of this checkout in the search path."""
    cv2.imwrite(str(tmp_path / "photo.jpg"), render(random_scene(np.random.default_rng(5))))
    (tmp_path / "bin").mkdir()
    for name, module in (("perf-inference", " -m perf_inference.cli"), ("python", "")):
        path = tmp_path / "bin" / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}"{module} "$@"\n')
        path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")  # tables of one line a row, as on the page
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    monkeypatch.setenv("MODELS", str(Path(perf_inference.__file__).parent / "models"))
    yield tmp_path
    with suppress(OSError, ValueError):  # of a step that failed before its robot was ended
        pid = int((tmp_path / "robot.pid").read_text())
        if Path(os.readlink(f"/proc/{pid}/cwd")) == tmp_path:
            os.kill(pid, signal.SIGINT)


def follow(all_steps: list[Step]) -> int:
    """Do the steps in the working directory; return how many commands were run."""
    done = 0
    for step in all_steps:
        if step.kind == "python":
            Path(step.said).write_text("\n".join(step.lines) + "\n")
            continue
        if step.said.startswith("needs") and not _is_here(step.said):
            print(f"not run: {step.lines[0]}: {step.said}")
            continue
        for command, expected in step.commands():
            for left in reversed(range(_TRIES if step.said == "long" else 1)):
                wrong = _done_wrong(command, expected)
                if not wrong:
                    break
                assert left, wrong
                if "perf-inference demo" in command:
                    shutil.rmtree("runs")  # the next steps read the one run that is there
            done += 1
    return done


def _done_wrong(command: str, expected: tuple[str, ...]) -> str:
    """Run a command; return what is wrong with its status or its output, or nothing."""
    ended = subprocess.run(
        ["bash", "-c", command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, timeout=_LONGEST_S, errors="replace",
    )  # fmt: skip
    most = 2 if "perf-inference doctor" in command else 0  # its status is what it found
    absent = missing(expected, ended.stdout)
    if not 0 <= ended.returncode <= most:
        return f"$ {command}\nstatus {ended.returncode}\n{ended.stdout}"
    return "" if absent is None else f"$ {command}\nnot printed: {absent}\n{ended.stdout}"


def _is_here(said: str) -> bool:
    return all(is_here() for word, is_here in NEEDS.items() if word in said)


def test_every_guide_is_there_and_every_step_is_run_or_says_what_it_needs() -> None:
    sections = re.split(r"^## \d\. ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    assert len(sections) == GUIDES
    for section in sections:
        blocks = [step for step in steps(section) if step.kind == "console"]
        assert len(blocks) >= 2, section[:60]
        assert any(not step.said.startswith("needs") for step in blocks), f"nothing of it is run: {section[:60]}"
        for step in blocks:
            assert step.said in ("", "long") or any(word in step.said for word in NEEDS), step.said
            assert list(step.commands()), "a block without a command"


def _ours() -> list[str]:
    commands = [command for step in STEPS if step.kind == "console" for command, _ in step.commands()]
    found = [command[command.index("perf-inference ") :] for command in commands if "perf-inference " in command]
    return [re.split(r" [>&|;]", command)[0] for command in found]


@pytest.mark.parametrize("command", _ours())
def test_each_command_and_flag_is_one_that_there_is(command: str) -> None:
    """Also those that are not run here: for a GPU, for a Jetson."""
    check_command(command)


def test_the_commands_are_those_of_a_shell_that_is_there() -> None:
    commands = [command for step in STEPS if step.kind == "console" for command, _ in step.commands()]
    assert {command.split()[0] for command in commands} <= {"perf-inference", *_SHELL}


def test_what_a_page_says_is_compared_line_by_line() -> None:
    printed = "runs/demo_20261126_132335: 931 inferences\n\n  ms      n    mean\n  infer  70  57.855  -\nend"
    assert missing(("runs/demo_20200101_000000: 5 inferences", "...", "infer 1 2 3"), printed) is None
    assert missing(("infer 1 2 3", "...", "runs/demo_20200101_000000: 5 inferences"), printed) is not None
    assert missing(("runs/demo_20200101_000000: 5 actions",), printed) is not None
    assert missing(("infer 1 2",), printed) is not None


@pytest.mark.thorough
@pytest.mark.slow
def test_the_quick_steps(folder: Path) -> None:
    """On a run of the demo that is made by hand; the demo itself is run by the next test."""
    run = folder / "runs" / "demo_20260102_030405"
    records = [
        timing(seq, 100 * seq, node=node, engine=engine, infer_ms=1.5, latency_ms=2.5)
        for node, engine in (("caption_node", "captioner"), ("policy_node", "policy"), ("yolo_node", "detector"))
        for seq in range(1, 40)
    ]
    write(run / NAME, records)
    quick = [step for step in STEPS if step.kind == "python" or not step.said]
    without_topics = [step for step in quick if not any("convert" in line for line in step.lines)]
    assert follow(without_topics) >= 5


@pytest.mark.long
@pytest.mark.parametrize("page", [PAGE.name])
def test_your_scripts_step_by_step(folder: Path, domain: int, page: str) -> None:
    pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
    assert follow(STEPS) >= 15
