"""On a terminal of 80 columns no line of help or of a table is wider; in a pipe each row is one line."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest
from support.cases import sampled

from perf_inference.cli import COMMANDS, main
from perf_inference.commands.bench import BENCHES

_ALL = [*([name] for name in COMMANDS), *(["bench", name] for name in BENCHES)]
_WIDEST = [["bench", "replay"], ["predict"]]
_COMMAND = re.compile(r"^ *(perf-inference|python -m|\$|eval) ")  # one that was folded could not be typed again


def too_wide(text: str) -> list[str]:
    assert "\x1b" not in text
    return [line for line in text.splitlines() if len(line) > 80 and not _COMMAND.match(line)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    sampled([*_WIDEST, *(words for words in _ALL if words not in _WIDEST)], keep=2),
    ids=" ".join,
)
def test_help(words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    assert too_wide(capsys.readouterr().out) == []


def on_a_terminal(words: list[str]) -> str:
    """Return what the command prints on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "40", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "perf_inference.cli", *words]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.DEVNULL, env=env)
    os.close(theirs)
    text = b""
    try:
        while data := os.read(ours, 65536):
            text += data
    except OSError:  # of a terminal whose other side was closed
        pass
    finally:
        os.close(ours)
    assert process.wait(60) in (0, 1, 3)
    return text.decode().replace("\r\n", "\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    sampled(
        [
            ["bench", "ladder", "policy", "--only", "onnx fp32", "--runs", "5"],
            ["bench", "gap", "policy", "--gaps", "0", "0.01", "--rounds", "2"],
            ["bench", "contention", "policy", "policy", "--seconds", "0.2", "--rounds", "1"],
            ["compare", "true", "true", "--pairs", "10"],
            ["check", "--model", "chunk_policy"],
            ["doctor", "--only", "shared_memory", "--seconds", "0.1"],
        ],
        keep=1,
    ),
    ids=" ".join,
)
def test_what_is_printed(words: list[str]) -> None:
    printed = on_a_terminal(words)
    assert printed
    assert too_wide(printed) == []
