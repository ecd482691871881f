"""Texts that become sound by commands: what they are, what they cost, and what ends them."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
from support import voice
from support.paths import ROOT
from support.processes import wait_until

from perf_inference.errors import ConfigError, EngineError, InputError, RecordingError
from perf_inference.speech import speaking
from perf_inference.speech.engines import Engine, Invocation
from perf_inference.speech.player import Player
from perf_inference.speech.sound import SoundStream, pcm16
from perf_inference.speech.sound_files import SoundFiles
from perf_inference.speech.speaking import Speaker, Synthesis, synthesize
from perf_inference.speech.text import spoken
from perf_inference.tasks.audio.sound_file import read_sound

VOICE = shlex.join([sys.executable, "-I", "-S", voice.__file__])
NEEDS_ESPEAK = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
TEXT = "a red circle and a blue square"


def _engine(mode: str = "tone", *more: str) -> Engine:
    return Engine("command", command=f"{VOICE} {mode} {shlex.join(more)}")


# texts ---------------------------------------------------------------------------------------------------------------


def test_a_text_is_one_line_without_controls() -> None:
    assert spoken("a  cup\non\ta\r\ntable\x01300s \x1b[2J\x00\u202e", 500) == ("a cup on a table 300s [2J", False)
    assert spoken("Grüße, 你好!", 500) == ("Grüße, 你好!", False)
    assert spoken("\ud800 lone", 500)[0] == "lone"
    assert spoken("\N{THUMBS UP SIGN}", 500)[0] == "\N{THUMBS UP SIGN}", "espeak-ng says `thumbs up`"


@pytest.mark.parametrize("text", ["", " \n", "...", "\x00\x01", "\u202e", "?!"])
def test_a_text_without_a_letter_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="a letter, digit or sign"):
        spoken(text, 500)


@pytest.mark.parametrize(
    ("most", "cut"), [(10, "one two"), (7, "one two"), (6, "one"), (2, "on"), (13, "one two three")]
)
def test_a_long_text_is_cut_after_a_whole_word(most: int, cut: str) -> None:
    assert spoken("one two three four", most) == (cut, True)
    assert len(spoken("x" * 10_000_000, most)[0]) == most


# engines -------------------------------------------------------------------------------------------------------------


def test_espeak_gets_its_text_on_standard_input_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: program)
    engine = Engine(language="de", rate_wpm=120)
    monkeypatch.setattr(Engine, "missing", lambda self: "")
    call = engine.invocation("--version; $(reboot)")
    assert call == Invocation(("espeak-ng", "-v", "de", "-s", "120", "--stdin", "--stdout"), b"--version; $(reboot)\n")


def test_piper_gets_voice_and_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "missing", lambda self: "")
    engine = Engine("piper", voice=str(tmp_path / "v.onnx"), rate_wpm=350)
    call = engine.invocation("hi")
    assert (call.argv[3:], call.raw_hz) == (("--length_scale", "0.500", "--output_file", "-"), 0)
    (tmp_path / "v.onnx.json").write_text('{"audio": {"sample_rate": 22050}}')
    call = engine.invocation("hi")
    assert (call.argv[-1], call.raw_hz, call.stdin) == ("--output_raw", 22050, b"hi\n")


@pytest.mark.parametrize(
    "language", ["", "-w/etc/x", "--path", "../../etc/passwd", "/etc/x", "en us", "en\n", "e" * 100]
)
def test_a_language_is_a_name(language: str) -> None:
    with pytest.raises(ConfigError, match="language must be a name"):
        Engine(language=language)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "command"}, "go together"),
        ({"command": "cat"}, "go together"),
        ({"name": "command", "command": "say {text}"}, "after `--`"),
        ({"name": "command", "command": "say -- x{text}"}, "word of its own"),
        ({"name": "command", "command": "say {text} --"}, "after `--`"),
        ({"name": "command", "command": "say 'x"}, "not a command line"),
        ({"name": "piper"}, "needs a voice"),
        ({"name": "piper", "voice": "--debug"}, "needs a voice"),
    ],
)
def test_what_does_not_go_together_is_said(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Engine(**settings)  # type: ignore[arg-type]


def test_an_engine_that_asks_a_server_says_so() -> None:
    assert "network time included" in Engine("gtts").device
    assert Engine("command", command="edge-tts --write-media -").asks_a_server
    assert Engine("command", command="own", server=True).device == Engine("gtts").device
    assert not Engine().asks_a_server
    assert "network" not in _engine().device


def test_what_is_not_installed_is_said_with_the_command_that_installs_it() -> None:
    gone = Engine().missing(which=lambda program: None)
    assert gone == "nothing is spoken: 'espeak-ng' is not installed: apt install espeak-ng, or choose another engine"
    with pytest.raises(EngineError, match="'/nowhere/voice' is not installed"):
        Engine("command", command="/nowhere/voice").invocation("hi")


# one text on its way -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["tone", "unknown_size"])
def test_a_text_becomes_sound(mode: str, tmp_path: Path) -> None:
    made = synthesize(_engine(mode), TEXT)
    assert made.duration_s == pytest.approx(len(TEXT) * voice.SECONDS_A_CHARACTER)
    assert made.started_ns < made.first_ns <= made.done_ns
    assert made.sound_ns is None
    assert made.rtf == pytest.approx((made.done_ns - made.started_ns) / 1e9 / made.duration_s)
    (tmp_path / "x.wav").write_bytes(made.wav)
    sound = read_sound(tmp_path / "x.wav")
    assert (sound.rate_hz, sound.duration_s) == (voice.RATE_HZ, pytest.approx(made.duration_s))
    assert float(np.sqrt(np.mean(sound.samples**2))) == pytest.approx(0.5 / 2**0.5, abs=0.01)


@pytest.mark.parametrize(
    "text", ["--help", "-w /tmp/x", "$(touch {})", "`touch {}`", "; touch {}", "| touch {} #", "x\n-y"]
)
def test_a_text_is_no_option_and_runs_nothing(text: str, tmp_path: Path) -> None:
    there, text = tmp_path / "made", text.replace("{}", str(tmp_path / "made"))
    kept = tmp_path / "texts"
    synthesize(_engine("tone", str(kept)), text)
    assert kept.read_text() == " ".join(text.split()) + "\n"
    words = tmp_path / "words"
    synthesize(Engine("command", command=f"{VOICE} arguments {words} {{rate}} -- {{text}}"), text)
    assert words.read_text().split("\n")[:3] == ["175", "--", " ".join(text.split())]
    assert not there.exists()


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("fail", r"ended with status 1 \(no such voice\)"),
        ("cut", "its sound was cut"),
        ("raw", "a WAV was expected"),
    ],
)
def test_an_engine_that_fails_says_why(mode: str, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        synthesize(_engine(mode), TEXT)


def test_an_engine_that_writes_for_ever_is_ended() -> None:
    speaker = Speaker(timeout_s=30, most_bytes=1 << 20)
    with pytest.raises(EngineError, match="more than 1 MiB"):
        speaker.speak(Invocation(("cat", "/dev/zero"), b"", raw_hz=16_000))
    speaker.close()


@pytest.mark.slow
def test_an_engine_that_hangs_is_ended_with_what_it_has_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    failures: list[EngineError] = []

    def run() -> None:
        with pytest.raises(EngineError) as caught:
            synthesize(_engine("child", str(pids)), TEXT, timeout_s=5)
        failures.append(caught.value)

    thread = threading.Thread(target=run)
    thread.start()
    assert wait_until(lambda: pids.exists() and pids.read_text().endswith("\n"))
    parent = psutil.Process(int(pids.read_text()))
    family = [parent, *parent.children(recursive=True)]
    thread.join(30)
    assert len(family) == 2
    assert "gave no end of a sound within 5 s" in str(failures[0])
    assert wait_until(lambda: not any(one.is_running() and one.status() != "zombie" for one in family))


@pytest.mark.slow
def test_a_player_hears_the_first_samples_while_the_engine_works(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    made: list[Synthesis] = []
    speaker = Speaker()
    engine = _engine("slow", "0.5")
    outcome = speaker.speak(engine.invocation(TEXT), shlex.split(f"{VOICE} player {heard}"), made.append)
    speaker.close()
    assert made[0] is outcome.synthesis
    assert not outcome.cut
    assert outcome.problem == ""
    assert made[0].sound_ns is not None
    assert made[0].first_ns <= made[0].sound_ns < made[0].done_ns
    assert heard.read_bytes()[44:] == made[0].wav[44:]  # a size that was not known, and the same samples


def test_a_player_that_takes_nothing_costs_the_engine_no_time(tmp_path: Path) -> None:
    speaker = Speaker()
    text = "x" * 1000  # 20 s, 320 kB: more than the pipe holds
    outcome = speaker.speak(_engine().invocation(text), ("sleep", "0.5"))
    speaker.close()
    assert outcome.synthesis is not None
    assert outcome.synthesis.duration_s == pytest.approx(20)


@pytest.mark.parametrize(
    ("player", "said"),
    [(f"{VOICE} bad_player", r"status 3 \(cannot open the card\)"), ("/nowhere/player", "player")],
)
def test_a_player_that_fails_is_told_and_the_sound_is_there(player: str, said: str) -> None:
    speaker = Speaker()
    outcome = speaker.speak(_engine().invocation(TEXT), shlex.split(player))
    speaker.close()
    assert outcome.synthesis is not None
    assert re.search(said, outcome.problem)


@pytest.mark.slow
def test_a_player_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaking, "_ENDING_S", 0.1)
    speaker = Speaker()
    outcome = speaker.speak(_engine().invocation(TEXT), ("sleep", "100"))
    speaker.close()
    assert outcome.synthesis is not None
    assert (outcome.cut, outcome.problem) == (False, "it was ended 0.1 s after the end of the sound")


@pytest.mark.parametrize(("mode", "there"), [("hang", False), ("tone", True)])
def test_another_thread_cuts_a_text_short(mode: str, there: bool, tmp_path: Path) -> None:
    speaker, wish = Speaker(timeout_s=60), object()
    made: list[Synthesis] = []
    outcomes = []
    started = tmp_path / "started"
    engine = _engine(mode, str(started))

    def run() -> None:
        speaker.begin(wish)
        outcomes.append(speaker.speak(engine.invocation(TEXT), ("sleep", "60"), made.append))
        speaker.finish()

    thread = threading.Thread(target=run)
    thread.start()
    assert wait_until(lambda: bool(made) if there else started.exists())
    speaker.cancel(object())  # another
    assert not outcomes
    speaker.cancel(wish)
    thread.join(30)
    assert outcomes[0].cut
    assert (outcomes[0].synthesis is not None) is there
    assert speaker.current is None
    speaker.begin(wish)
    assert not speaker.speak(_engine().invocation(TEXT)).cut, "the next one is not cut by what was before it"
    speaker.close()


def test_nothing_is_left_open(tmp_path: Path) -> None:
    speaker = Speaker(timeout_s=0.3)
    before = len(os.listdir("/proc/self/fd"))
    for mode in ("tone", "fail", "hang"):
        with contextlib.suppress(EngineError):
            speaker.speak(_engine(mode).invocation(TEXT), shlex.split(f"{VOICE} bad_player"))
    assert len(os.listdir("/proc/self/fd")) <= before
    speaker.close()


# sound ---------------------------------------------------------------------------------------------------------------


def test_a_wav_is_read_in_pieces_of_any_size() -> None:
    whole = voice.wav(TEXT)
    listed = whole[:12] + b"LIST\x05\x00\x00\x00abcde\x00" + whole[12:] + b"LIST\x02\x00\x00\x00xy"
    for step in (1, 7, 43, 10_000):
        for data in (whole, listed):
            stream = SoundStream()
            for at in range(0, len(data), step):
                stream.feed(data[at : at + step])
            stream.end()
            assert bytes(stream.samples) == whole[44:]
            assert stream.wav() == whole


def _whole(stream: SoundStream, data: bytes) -> None:
    stream.feed(data)
    stream.end()


@pytest.mark.parametrize("data", [b"", b"RIFF", b"hello, world", b"RIFF\0\0\0\0WAVEdata\x04\0\0\0aaaa",
                                  voice.wav("")[:44], b"RIFF\0\0\0\0WAVExxxx\xff\xff\xff\xff"])  # fmt: skip
def test_what_is_no_sound_is_refused(data: bytes) -> None:
    stream = SoundStream()
    with pytest.raises(EngineError):
        _whole(stream, data)


def test_packed_sound_says_what_reads_it() -> None:
    stream = SoundStream()
    stream.feed(b"ID3\x04" + bytes(100))
    with pytest.raises(EngineError, match=r"soundfile|damaged"):
        stream.end()


@pytest.mark.parametrize(("form", "kind"), [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("FLAC", "PCM_16")])
def test_packed_sound_is_read_where_soundfile_is(form: str, kind: str) -> None:
    soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 24_000)
    file = io.BytesIO()
    soundfile.write(file, tone, 24_000, format=form, subtype=kind)
    stream = SoundStream()
    for at in range(0, len(file.getvalue()), 777):
        stream.feed(file.getvalue()[at : at + 777])
    stream.end()
    assert stream.form == pcm16(24_000)
    assert stream.duration_s == pytest.approx(2.0, abs=0.1)
    samples = np.frombuffer(bytes(stream.samples), "<i2") / 2**15
    assert float(np.sqrt(np.mean(samples**2))) == pytest.approx(0.5 / 2**0.5, abs=0.02)


def test_raw_samples_are_whole_blocks() -> None:
    stream = SoundStream(raw_hz=16_000)
    stream.feed(b"\1\2\3")
    stream.end()
    assert (bytes(stream.samples), stream.form) == (b"\1\2", pcm16(16_000))


# players and files ---------------------------------------------------------------------------------------------------


def test_which_player_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PULSE_SERVER", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    cards = tmp_path / "cards"

    def player(*programs: str) -> Player:
        return Player(which=lambda program: program if program in programs else None, cards=cards)

    assert (player().argv, player().problem) == ((), "no player: apt install alsa-utils")
    assert (player("aplay", "paplay").argv, player("aplay").problem) == ((), "no sound card")
    cards.write_text("--- no soundcards ---\n")
    assert player("aplay").argv == ()
    cards.write_text(" 0 [PCH            ]: HDA-Intel\n")
    assert player("aplay", "ffplay").argv == ("aplay", "-q", "-")
    assert player("ffplay").name == "ffplay"
    monkeypatch.setenv("PULSE_SERVER", "tcp:host")
    assert player("aplay", "paplay").name == "paplay"
    assert Player("none").problem == "player is none"
    for wrong in ("/nowhere/player", "'x", " "):
        with pytest.raises(ConfigError, match="player"):
            Player(wrong)


def test_a_player_that_failed_is_tried_again_later() -> None:
    now_ns = [0]
    player = Player("cat", monotonic_ns=lambda: now_ns[0])
    player.failed("no card")
    assert (player.argv, player.problem) == ((), "'cat' does not play: no card")
    now_ns[0] = 10_000_000_000
    assert player.argv == ("cat",)
    player.played()
    assert player.problem == ""


def test_sounds_are_numbered_and_the_oldest_go(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "speech"
    folder.parent.mkdir()
    folder.parent.chmod(0o750)  # whatever the umask is
    files = SoundFiles(folder, most=2)
    assert not folder.exists()
    names = [files.write(bytes([number])).name for number in range(3)]
    assert names == ["000001.wav", "000002.wav", "000003.wav"]
    assert sorted(path.name for path in folder.iterdir()) == names[1:]
    assert folder.stat().st_mode & 0o777 == 0o750
    assert SoundFiles(folder, most=2).write(b"").name == "000004.wav", "one that is started again goes on"
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="sound_dir"):
        SoundFiles(tmp_path / "file", 2).write(b"")


# espeak-ng -----------------------------------------------------------------------------------------------------------


@NEEDS_ESPEAK
def test_espeak_speaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = synthesize(Engine(), TEXT)
    (tmp_path / "x.wav").write_bytes(made.wav)
    sound = read_sound(tmp_path / "x.wav")
    assert 1.0 < sound.duration_s < 5.0
    loudness = float(np.sqrt(np.mean(sound.samples**2)))
    assert loudness > 0.02
    assert synthesize(Engine(rate_wpm=350), TEXT).duration_s < 0.75 * made.duration_s
    with pytest.raises(EngineError, match="voice does not exist"):
        synthesize(Engine(language="xx-none"), TEXT)
    with capsys.disabled():
        print(f"\nespeak-ng: {sound.duration_s:.2f} s, loudness {loudness:.3f}, real-time factor {made.rtf:.3f}")


@NEEDS_ESPEAK
@pytest.mark.long
def test_the_time_to_the_first_sound(capsys: pytest.CaptureFixture[str]) -> None:
    made = [synthesize(Engine(), TEXT) for _ in range(100)]
    first_ms = [(one.first_ns - one.started_ns) / 1e6 for one in made]
    with capsys.disabled():
        print(f"\nespeak-ng, first samples after {statistics.median(first_ms):.1f} ms (median of 100, "
              f"{min(first_ms):.1f} to {max(first_ms):.1f}); real-time factor "
              f"{statistics.median(one.rtf for one in made):.3f}")  # fmt: skip
    assert all(0 < one.first_ns - one.started_ns <= one.done_ns - one.started_ns for one in made)


@pytest.mark.slow
def test_the_table_of_the_guide_is_printed(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "speech.md").read_text(), re.DOTALL)
    (tmp_path / "espeak-ng").write_text(f"#!/bin/sh\nexec {VOICE}\n")
    (tmp_path / "espeak-ng").chmod(0o755)
    run = subprocess.run(
        [sys.executable, "-c", example], env={**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}, text=True,
        capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    lines = run.stdout.splitlines()
    assert run.returncode == 0, run.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[0] for row in rows] == [*["espeak-ng (cpu)"] * 3, "espeak-ng, mean", "piper", "gtts"]
    for row in rows[:3]:
        assert float(row[3]) == pytest.approx(int(row[1]) * voice.SECONDS_A_CHARACTER, abs=0.006)
        assert float(row[5].partition(":")[0]) == pytest.approx(float(row[2]) / float(row[3]), rel=0.02, abs=0.002)
    assert "pipx install piper-tts" in rows[4][1]
