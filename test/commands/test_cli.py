"""`perf-inference COMMAND`: what a word that is no command gets, and what a command does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

from perf_inference import cli

LOADED = """
import sys
from perf_inference import cli
try:
    cli.main(sys.argv[1:])
except SystemExit:
    pass
print(*sorted(name for name in sys.modules if name.startswith("perf_inference.commands.") or name in ("numpy", "cv2")))
"""


def loaded_by(*arguments: str) -> list[str]:
    ended = subprocess.run([sys.executable, "-c", LOADED, *arguments], text=True, capture_output=True, check=True)
    return ended.stdout.splitlines()[-1].split()


def test_only_the_command_that_is_wanted_is_loaded() -> None:
    assert loaded_by("--version") == []
    assert loaded_by("--help") == []
    assert {name for name in loaded_by("run", "--help") if "commands" in name} == {"perf_inference.commands.run"}


@pytest.mark.parametrize(("word", "meant"), [("anlyze", "analyze"), ("docter", "doctor"), ("convret", "convert")])
def test_a_misspelt_command_is_answered_with_the_one_that_was_meant(
    word: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([word])
    assert ended.value.code == 2
    assert f"there is no command '{word}'; did you mean '{meant}'?" in capsys.readouterr().err


def test_a_word_like_no_command_is_answered_with_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["xyzzy"])
    assert ended.value.code == 2
    assert "'analyze'" in capsys.readouterr().err
