"""What a command makes is there whole or not at all: after a full disk, and after kill -9 at any moment."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import resource
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.cases import sampled

from perf_inference.commands.build.model import copied
from perf_inference.errors import ConfigError, PerfInferenceError, RecordingError
from perf_inference.files.private import real_path
from perf_inference.files.whole import claimed, whole_file, write_whole
from perf_inference.recording.bags.bag_writer import open_writer
from perf_inference.recording.bags.metadata import Contents, Metadata
from perf_inference.recording.bags.sqlite_file import SqliteFile
from perf_inference.recording.bags.target import target_of
from perf_inference.recording.cdr.versions import builtin_definition
from perf_inference.recording.convert import convert
from perf_inference.recording.message import BagMessage, Topic
from perf_inference.recording.open import open_damaged

STRING = "std_msgs/msg/String"
TARGETS = ("a.mcap", "a.db3", "a.jsonl", "a_folder")


def recording(path: Path, messages: int) -> Path:
    """Write a bag of texts that do not pack well."""
    chance = random.Random(1)
    topic = Topic("/text", STRING, definition=builtin_definition(STRING))
    writer, contents = open_writer(path, "mcap"), Contents("mcap", path.name, Metadata())
    writer.add(topic)
    for n in range(messages):
        data = b"\0\1\0\0" + struct.pack("<I", 801) + chance.randbytes(400).hex().encode() + b"\0"
        message = BagMessage(n, topic.name, topic.type, data)
        contents.count(message)
        writer.write(topic, message)
    writer.close(contents.as_dict([topic]))
    return path


def count(path: Path) -> int:
    files, unreadable = open_damaged(path)
    assert not unreadable
    total = 0
    for file in files:
        with closing(file):
            total += sum(1 for _ in file.stored())
    return total


def on_a_full_disk(do: Callable[[], Any], most_bytes: int = 20_000) -> str:
    """Return what a process says whose files may not grow beyond so much."""

    def run(sink: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            do()
        except PerfInferenceError as error:
            sink.send(str(error))
        except BaseException as error:
            sink.send(f"crash: {error!r}")
        else:
            sink.send("done")

    source, sink = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=run, args=(sink,))
    process.start()
    assert source.poll(60)
    said: str = source.recv()
    process.join()
    return said


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "old")
    path.chmod(0o640)
    with contextlib.suppress(KeyError), whole_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
        raise KeyError
    assert path.read_text() == "old"
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    (tmp_path / "link").symlink_to("a.json")
    write_whole(tmp_path / "link", "through it")
    assert path.read_text() == "through it"
    write_whole(Path(os.devnull), "nowhere")
    assert sorted(os.listdir(tmp_path)) == ["a.json", "link"]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    script = (
        "import sys, time; from pathlib import Path; from perf_inference.files.whole import whole_file\n"
        f"with whole_file(Path({str(path)!r})) as file:\n    file.write(b'x'); file.flush()\n"
        "    print('go', flush=True); time.sleep(60)"
    )
    others = [".a.json.part", ".a.json.1x.part", ".ab.json.7.part", "a.json.7.part"]
    for name in others:
        (tmp_path / name).write_text("mine")
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        write_whole(path, "while it is at work")
        assert (tmp_path / f".a.json.{process.pid}.part").exists()
        process.kill()
    write_whole(path, "after it")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "a.json"])


def test_a_full_disk_leaves_the_old_model_and_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "out").mkdir()
    for suffix in (".xml", ".bin"):
        (tmp_path / "cache" / f"model{suffix}").write_bytes(bytes(10_000 if suffix == ".xml" else 50_000))
        (tmp_path / "out" / f"model{suffix}").write_bytes(b"old")
    said = on_a_full_disk(lambda: copied(tmp_path / "cache" / "model.xml", tmp_path / "out"))
    assert said.endswith("out/model.xml' cannot be written: File too large; what was there is as it was")
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == {
        "model.xml": b"old", "model.bin": b"old",
    }  # fmt: skip
    copied(tmp_path / "cache" / "model.xml", tmp_path / "out")
    assert (tmp_path / "out" / "model.bin").stat().st_size == 50_000
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_full_disk_leaves_the_old_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    assert "what was there is as it was" in on_a_full_disk(lambda: write_whole(path, "x" * 30_000))
    assert "nothing is left of it" in on_a_full_disk(lambda: write_whole(tmp_path / "b.json", "x" * 30_000))
    assert os.listdir(tmp_path) == ["a.json"]
    assert path.read_text() == "old"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
def test_a_small_disk_of_its_own_leaves_the_old_file(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=False, capture_output=True
    ).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        write_whole(disk / "a.json", "old")
        with pytest.raises(PerfInferenceError, match="No space left on device; what was there is as it was"):
            write_whole(disk / "a.json", "x" * 200_000)
        assert [(file.name, file.read_text()) for file in disk.iterdir()] == [("a.json", "old")]
        source = recording(tmp_path / "source.mcap", 500)
        for target in TARGETS:
            with pytest.raises(RecordingError, match="cannot be written"):
                convert(source, target_of(disk / target))
        assert os.listdir(disk) == ["a.json"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("target", sampled(TARGETS))
def test_a_killed_conversion_can_be_run_again(tmp_path: Path, target: str) -> None:
    source = recording(tmp_path / "source.mcap", 3000)
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-m", "perf_inference.cli", "convert", str(source), str(out / target)]
    part = out / f"{target}.part"
    chance = random.Random(target)
    for wanted in (0, 1, chance.randrange(1_500_000)):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            while process.poll() is None and _size(part) < wanted:
                time.sleep(0.001)
            process.kill()
        if (out / target).exists():  # it was faster
            break
    if not (out / target).exists():
        assert part.exists()
        done = subprocess.run(command, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    assert os.listdir(out) == [target]
    assert count(out / target) == 3000


def _size(part: Path) -> int:
    try:
        return sum(file.stat().st_size for file in part.iterdir()) if part.is_dir() else part.stat().st_size
    except FileNotFoundError:
        return -1


@pytest.mark.parametrize("target", ["a.mcap", "a_folder"])
def test_what_is_not_a_conversions_own_is_left_alone(tmp_path: Path, target: str) -> None:
    source = recording(tmp_path / "source.mcap", 3)
    out = tmp_path / "out"
    out.mkdir()
    part = out / f"{target}.part"
    part.write_text("mine")
    with pytest.raises(ConfigError, match=r"is there, and is not known to be left of a conversion; move it away"):
        convert(source, target_of(out / target))
    assert part.read_text() == "mine"
    part.unlink()
    part.mkdir()
    (part / "mine").touch()
    (out / f".{target}.claim").touch()  # as if one had been killed
    with pytest.raises(ConfigError, match="is there, and is not known to be"):
        convert(source, target_of(out / target))
    assert (part / "mine").exists()
    with claimed(out / target), pytest.raises(ConfigError, match="another process is writing"):
        convert(source, target_of(out / target))


def test_a_journal_that_names_another_file_does_not_have_it_deleted(tmp_path: Path) -> None:
    """SQLite deletes the super-journal that a journal names, whatever that file is."""
    bag, victim = tmp_path / "a.db3", tmp_path / "victim"
    victim.write_bytes(b"precious\0")
    with closing(sqlite3.connect(bag)) as database:
        database.execute("CREATE TABLE topics(id, name, type, serialization_format)")
        database.execute("CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id, timestamp, data)")
        database.commit()
    magic, name = bytes.fromhex("d9d505f920a163d7"), bytes(victim)
    head = (magic + struct.pack(">IIIII", 0, 0, bag.stat().st_size // 4096, 512, 4096)).ljust(512, b"\0")
    tail = struct.pack(">I", 0x40000000 // 4096 + 1) + name + struct.pack(">II", len(name), sum(name)) + magic
    (tmp_path / "a.db3-journal").write_bytes(head + tail)
    with pytest.raises(RecordingError, match="its journal belongs to several databases"):
        SqliteFile(bag)
    assert victim.exists()


@pytest.mark.slow
def test_a_killed_recovery_can_be_run_again(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    source = recording(tmp_path / "source.mcap", 3000)
    convert(source, target_of(tmp_path / "run" / "topics_1.jsonl"))
    command = [
        sys.executable,
        "-m",
        "perf_inference.cli",
        "recover",
        str(tmp_path / "run"),
        "--out",
        str(tmp_path / "out"),
    ]
    part = tmp_path / "out.part"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not part.exists():
            pass
        process.kill()
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["out", "run", "source.mcap"]
    assert os.listdir(tmp_path / "out") == ["topics_1.jsonl"]
    assert (tmp_path / "out" / "topics_1.jsonl").read_bytes() == (tmp_path / "run" / "topics_1.jsonl").read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a link of another user")
def test_another_user_s_link_in_a_folder_of_everybody_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "everybody").mkdir()
    os.chmod(tmp_path / "everybody", 0o1777)
    (tmp_path / "home").mkdir()
    precious = tmp_path / "home" / ".profile"
    for name, target in (("report.html", precious), ("folder", tmp_path / "home")):
        (tmp_path / "everybody" / name).symlink_to(target)
        os.chown(tmp_path / "everybody" / name, 12345, 12345, follow_symlinks=False)
    (tmp_path / "mine.html").symlink_to(tmp_path / "everybody" / "report.html")
    for path in ("everybody/report.html", "everybody/folder/.profile", "mine.html"):
        with pytest.raises(PerfInferenceError, match="a link of another user"):
            write_whole(tmp_path / path, b"new")
    assert not precious.exists()
    os.chown(tmp_path / "everybody" / "report.html", 0, 0, follow_symlinks=False)
    write_whole(tmp_path / "mine.html", b"new")
    assert precious.read_bytes() == b"new"
    assert (tmp_path / "mine.html").is_symlink()


def test_a_path_leads_where_the_system_says(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for link, target in (("c", "a/b"), ("a/d", "../c/.."), ("e", tmp_path / "a"), ("f", "nowhere/../x"), ("g", "/")):
        (tmp_path / link).symlink_to(target)
    for path in ("c/../x", "a/d/x", "e/b/../d/y", "f", "g/tmp/x", "./c//z", "nothing/x"):
        assert str(real_path(tmp_path / path)) == os.path.realpath(tmp_path / path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="circle"):
        real_path(tmp_path / "loop")
