"""`perf-inference COMMAND`: what a word that is no command gets, and what a command does not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from perf_inference import cli
from perf_inference.commands import completion

LOADED = """
import sys
from pathlib import Path
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


@pytest.mark.parametrize("value", ["-5", "0", "nan", "inf", "long"])
def test_a_duration_that_is_none_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo", "--duration", value])
    assert ended.value.code == 2
    assert f"must be a number of seconds above 0, got '{value}'" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["convert", "none", "a.mcap"], ["recover", "none"], ["analyze", "none"]])
def test_a_missing_recording_is_status_1(
    command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(command) == 1
    assert "none" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("given", "meant"),
    [(["bench", "laddr"], "ladder"), (["run", "--checkpoint", "m", "--model-type", "chunks"], "chunk")],
)
def test_what_was_meant_is_said(given: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(given)
    assert ended.value.code == 2
    assert f"did you mean '{meant}'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "word", "wanted"),
    [("", "an", {"analyze"}), ("bench", "la", {"ladder"}), ("run", "--li", {"--like"}),
     ("completion", "", {"bash", "zsh"}),
     ("bench vision --times 5", "--js", {"--json"}), ("analyze runs/x", "--ht", {"--html"})],
)  # fmt: skip
def test_bash_completes(line: str, word: str, wanted: set[str]) -> None:
    words = ["perf-inference", *line.split(), word]
    array = " ".join(f"'{one}'" for one in words)
    said = completion.script() + f"COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; _perf_inference\n"
    result = subprocess.run(["bash", "-c", said + 'printf "%s\\n" "${COMPREPLY[@]}"'], capture_output=True, text=True,
                            check=True)  # fmt: skip
    assert set(result.stdout.split()) - {"-h", "--help"} == wanted


@pytest.mark.parametrize("domain_id", ["abc", "-1", "233", "1e3", "٣"])
def test_a_domain_that_is_none_is_one_sentence(
    domain_id: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rclpy")
    monkeypatch.setenv("ROS_DOMAIN_ID", domain_id)
    assert cli.main(["nodes"]) == 78
    said = capsys.readouterr().err
    assert said.startswith("perf-inference nodes: ROS_DOMAIN_ID must be a whole number from 0 to 232, got '")
    assert said.count("\n") == 1


def test_a_pattern_that_found_several_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["analyze", str(tmp_path), str(tmp_path)])
    assert ended.value.code == 2
    assert "one file or folder more than it takes; a pattern such as runs/* may have found several" in (
        capsys.readouterr().err
    )
