"""The bash blocks of a page, run as they stand in a fresh clone.

What the first line of a block says after `bash`: nothing, it is run; `until Ctrl-C`, it goes on until it is ended so;
`while it runs`, its lines are typed in a second terminal beside the simulated robot, and those that go on are ended;
`needs ...`, it is not run. A block of another language with a file's name behind it is written into that file.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from perf_inference.cli import COMMANDS
from support.paths import ROOT

GOES_ON, BESIDE = "until Ctrl-C", "while it runs"
_LONGEST_S = 3600.0
_GOES_ON_S = 25.0
_ROBOT = ".venv/bin/perf-inference run --sim"


class Block(NamedTuple):
    """A fenced block: its language, what else its first line says, and its text."""

    language: str
    said: str
    text: str

    @property
    def is_run(self) -> bool:
        return self.language == "bash" and not self.said.startswith("needs ")


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page that is there."""
    found = re.findall(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(*one) for one in found]


def commands(block: Block) -> list[str]:
    """Return a block's lines without comments."""
    lines = (re.sub(r"\s+#.*", "", line) for line in block.text.splitlines())
    return [line for line in lines if line]


class Clone:
    """A fresh clone of this checkout; TUTORIAL_VENV names a ready `.venv`, instead of a download."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
        drop = ("PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")
        self._environment = {name: value for name, value in os.environ.items() if name not in drop}
        self._ready = os.environ.get("TUTORIAL_VENV")
        if self._ready:
            (folder / ".venv").symlink_to(self._ready)
            self._environment["PYTHONPATH"] = str(folder)

    def follow(self, page: list[Block]) -> None:
        """Do what the page says, block by block."""
        for block in page:
            if block.language != "bash" and block.said:
                (self.folder / block.said).write_text(block.text)
            elif not block.is_run:
                continue
            elif block.said == BESIDE:
                self._beside(block)
            elif block.said == GOES_ON:
                self._typed(block.text)
            else:
                self._run(block.text)

    def _beside(self, block: Block) -> None:
        robot = self._start(_ROBOT)
        try:
            self._run(f"{_ROBOT.split()[0]} nodes --seconds 60")
            for line in commands(block):
                self._typed(line)
        finally:
            printed = self._ended(robot, 30.0)
        self._check(_ROBOT, robot.returncode, printed)

    def _run(self, text: str) -> None:
        process = self._start(text)
        printed, _ = process.communicate(timeout=_LONGEST_S)
        self._check(text, process.returncode, printed)

    def _typed(self, text: str) -> None:
        """Run it; what goes on is ended by Ctrl-C."""
        process = self._start(text)
        try:
            printed, _ = process.communicate(timeout=_GOES_ON_S)
        except subprocess.TimeoutExpired:
            printed = self._ended(process, 60.0)
        self._check(text, process.returncode, printed)

    @staticmethod
    def _ended(process: subprocess.Popen[str], limit_s: float) -> str:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        try:
            return process.communicate(timeout=limit_s)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.communicate()[0] + "\ndid not end"

    def _start(self, text: str) -> subprocess.Popen[str]:
        self._begun_s = time.monotonic()
        options = ["bash", "-euo", "pipefail", "-c", self._adapted(text)]
        return subprocess.Popen(options, cwd=self.folder, env=self._environment, text=True, start_new_session=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)  # fmt: skip

    def _adapted(self, text: str) -> str:
        if not self._ready:
            return text
        text = re.sub(r"^make demo(?: DURATION=\d+)?.*$", "perf-inference demo --duration 15", text, flags=re.MULTILINE)
        text = re.sub(r"^make test\b", "make -n test", text, flags=re.MULTILINE)
        return re.sub(r"(?:\.venv/bin/)?\bperf-inference (?=[a-z])", ".venv/bin/python -m perf_inference.cli ", text)

    def _check(self, text: str, status: int, printed: str) -> None:
        first = text.strip().splitlines()[0]
        print(f"\n{time.monotonic() - self._begun_s:.0f} s: {first} ... {status}", flush=True)
        assert status == 0, f"{text}\n{printed[-3000:]}"
        assert "Traceback" not in printed, f"{text}\n{printed[-3000:]}"


def check_command(line: str) -> None:
    """Fail where a line's command or one of its flags is none of ours; nothing is run."""
    name, *arguments = shlex.split(line)[1:]
    assert name in COMMANDS
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(f"perf_inference.commands.{name}").add_arguments(parser)
    parser.parse_args(arguments)
