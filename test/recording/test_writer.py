"""The writer's thread and the files that grow by lines."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from support.processes import wait_until

from perf_inference.errors import RecordingError
from perf_inference.recording.jsonl.line import sealed
from perf_inference.recording.recorder.free_space import FreeSpace
from perf_inference.recording.recorder.line_file import LineFile
from perf_inference.recording.recorder.writer import Writer


def lines(path: Path) -> list[int]:
    return [orjson.loads(line)["seq"] for line in path.read_bytes().splitlines()]


def adder(writer: Writer, path: Path) -> Callable[[int], bool]:
    """Return what puts a record with this number."""
    file = writer.open(path)

    def work(number: int) -> None:
        writer.add(file, sealed({"seq": number}))

    return lambda number: writer.put(work, number, size_bytes=100)


def test_every_interval_is_saved_while_the_run_goes_on(tmp_path: Path) -> None:
    saves: list[int] = []
    writer, path = Writer(save_every=10, save_period_s=60.0, saved=saves.append), tmp_path / "a.jsonl"
    put = adder(writer, path)
    assert all(put(number) for number in range(25))
    assert wait_until(lambda: len(saves) == 2)
    assert lines(path) == list(range(20)), "20..24 wait for the rest of their ten"
    assert wait_until(lambda: writer.counts().waiting == 5)
    counts = writer.close()
    assert saves == [10, 10, 5]
    assert (counts.records, counts.waiting, counts.dropped, counts.bytes) == (25, 0, 0, path.stat().st_size)
    assert lines(path) == list(range(25))


def test_the_period_saves_what_the_interval_does_not(tmp_path: Path) -> None:
    writer, path = Writer(save_every=1000, save_period_s=0.05), tmp_path / "a.jsonl"
    adder(writer, path)(1)
    assert wait_until(lambda: path.stat().st_size > 0, 5.0)
    writer.close()


def held(writer: Writer) -> threading.Event:
    """Keep the writer's thread busy until the event is set."""
    begun, release = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        release.wait(10.0)

    writer.call(hold)
    writer.wake()
    assert begun.wait(10.0)
    return release


@pytest.mark.parametrize("bounds", [{"queue_size": 3}, {"queue_bytes": 350}])
def test_a_full_queue_drops_the_newest_and_counts(tmp_path: Path, bounds: dict[str, int]) -> None:
    writer = Writer(save_every=1, **bounds)
    put = adder(writer, tmp_path / "a.jsonl")
    release = held(writer)
    assert [put(number) for number in range(5)] == [True, True, True, False, False]
    called: list[str] = []
    assert writer.call(called.append, "what is no record finds room")
    release.set()
    counts = writer.close()
    assert (counts.records, counts.dropped) == (3, 2)
    assert not put(9), "closed"
    assert lines(tmp_path / "a.jsonl") == [0, 1, 2]
    assert called


def test_what_is_written_makes_room_in_the_queue(tmp_path: Path) -> None:
    writer = Writer(save_every=1, queue_bytes=350)
    put = adder(writer, tmp_path / "a.jsonl")
    for number in range(9):
        assert wait_until(lambda: writer.counts().records == number)  # noqa: B023
        assert put(number)
    assert writer.close().dropped == 0


def test_one_record_larger_than_the_queue_is_written(tmp_path: Path) -> None:
    writer = Writer(queue_bytes=10)
    assert adder(writer, tmp_path / "a.jsonl")(1)
    assert writer.close().records == 1


def test_a_record_that_cannot_be_formatted_is_counted_and_the_next_one_written(tmp_path: Path) -> None:
    writer = Writer(save_every=1)
    put = adder(writer, tmp_path / "a.jsonl")
    empty: dict[str, int] = {}
    writer.put(lambda: empty["missing"])
    put(1)
    counts = writer.close()
    assert (counts.records, counts.failed, counts.error) == (1, 1, "")
    assert "KeyError: 'missing'" in counts.last_error


class Disk:
    """A disk that refuses at will: one byte less than a line goes through before it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.full = threading.Event()
        self._real, self._folder = os.write, str(folder)
        monkeypatch.setattr(os, "write", self._write)

    def _write(self, fd: int, data: bytes) -> int:
        if self.full.is_set() and os.readlink(f"/proc/self/fd/{fd}").startswith(self._folder):
            if len(data) > 7:
                return self._real(fd, bytes(data[:7]))  # a torn line ...
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._real(fd, data)


def test_a_disk_that_refuses_is_reported_and_nothing_is_lost_when_it_takes_records_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    writer = Writer(save_every=2, save_period_s=0.02)
    put = adder(writer, path)
    disk = Disk(monkeypatch, tmp_path)
    disk.full.set()
    for number in range(4):
        put(number)
    assert wait_until(lambda: f"{path} cannot be written: No space left" in writer.counts().error)
    assert writer.counts().records == 0
    disk.full.clear()
    assert wait_until(lambda: writer.counts().records == 4)
    counts = writer.close()
    assert (counts.error, counts.dropped) == ("", 0)
    assert "No space left" in counts.last_error
    assert lines(path) == list(range(4)), "... that was made whole"


def test_while_there_is_a_problem_nothing_is_written(tmp_path: Path) -> None:
    problems = ["little is left"]
    path = tmp_path / "a.jsonl"
    writer = Writer(save_every=100, save_period_s=0.02, problem=lambda: "".join(problems))
    adder(writer, path)(1)
    assert wait_until(lambda: writer.counts().error == "little is left")
    assert path.stat().st_size == 0
    problems.clear()
    assert wait_until(lambda: writer.counts().records == 1)
    assert writer.close().error == ""


def test_the_end_saves_whatever_the_problem(tmp_path: Path) -> None:
    writer = Writer(save_period_s=0.02, problem=lambda: "little is left")
    adder(writer, tmp_path / "a.jsonl")(1)
    assert wait_until(lambda: writer.counts().error != "")
    assert writer.close().records == 1


def test_free_space_is_named_with_what_is_kept(tmp_path: Path) -> None:
    assert FreeSpace(tmp_path, 0).problem() == ""
    assert FreeSpace(tmp_path, 1).problem() == ""
    assert "min_free_bytes keeps 1000000000000.0 MB" in FreeSpace(tmp_path, 10**18).problem()


def test_a_directory_that_is_taken_away_is_a_problem_and_not_the_end_of_the_writer(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    writer = Writer(save_every=100, save_period_s=0.02, problem=FreeSpace(run, 1).problem)
    put = adder(writer, run / "a.jsonl")
    run.rename(tmp_path / "elsewhere")
    put(1)
    assert wait_until(lambda: "run cannot be looked at: No such file" in writer.counts().error)
    (tmp_path / "elsewhere").rename(run)
    assert wait_until(lambda: writer.counts().records == 1)
    assert writer.close().error == ""


def test_what_finds_no_room_even_so_is_counted_and_the_last_thing_is_always_done() -> None:
    writer = Writer(queue_size=1)
    done: list[int] = []
    release = held(writer)
    taken = [writer.call(done.append, number) for number in range(1100)]
    assert taken.count(True) == 1001
    release.set()
    counts = writer.close(lambda: done.append(-1))
    assert (counts.dropped, len(done), done[-1]) == (99, 1002, -1)


def test_a_retired_file_is_complete_and_closed_while_the_next_one_grows(tmp_path: Path) -> None:
    writer = Writer(save_every=100, save_period_s=60.0)
    first, second = writer.open(tmp_path / "1.jsonl"), writer.open(tmp_path / "2.jsonl")
    closed: list[Path] = []
    writer.put(writer.add, first, b"1\n")
    writer.put(writer.retire, first, closed.append)
    writer.put(writer.add, second, b"2\n")
    assert writer.close().records == 2
    assert closed == [first.path]
    assert (first.path.read_bytes(), second.path.read_bytes()) == (b"1\n", b"2\n")


def test_a_retired_file_stays_open_until_the_disk_has_taken_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(save_every=100, save_period_s=0.02)
    file = writer.open(tmp_path / "1.jsonl")
    closed: list[Path] = []
    disk = Disk(monkeypatch, tmp_path)
    disk.full.set()
    writer.put(writer.add, file, b"1234567\n")
    writer.put(writer.retire, file, closed.append)
    assert wait_until(lambda: writer.counts().error != "")
    assert not closed
    disk.full.clear()
    assert wait_until(lambda: closed == [file.path])
    assert writer.close().records == 1
    assert file.path.read_bytes() == b"1234567\n"


def test_a_torn_last_line_is_cut_before_the_next_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"seq":1}\n{"se')
    writer = Writer()
    adder(writer, path)(2)
    writer.close()
    assert lines(path) == [1, 2]


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"missing/a\.jsonl must be a file that can be written: No such file"):
        LineFile(tmp_path / "missing" / "a.jsonl")


def test_a_durable_line_counts_as_saved_after_the_disk_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = [OSError(errno.EIO, "Input/output error")]
    real, synced = os.fdatasync, []

    def fdatasync(fd: int) -> None:
        if refuse:
            raise refuse.pop()
        real(fd)
        synced.append(fd)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    file = LineFile(tmp_path / "a.jsonl", durable=True)
    file.add(b"1\n", records=1)
    with pytest.raises(OSError, match="Input/output"):
        file.save()
    assert file.path.read_bytes() == b"1\n"
    assert file.save() == (1, 2), "asked again, though the kernel has it"
    assert file.save() == (0, 0)
    assert len(synced) == 1
    file.close()


def test_kill_9_leaves_whole_lines(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from perf_inference.recording.jsonl.line import sealed
from perf_inference.recording.recorder.writer import Writer
writer, n = Writer(queue_size=1000), 0
file = writer.open(Path(sys.argv[1]))
def work(n):
    writer.add(file, sealed({"seq": n, "text": "x" * 200}))
while True:
    n += writer.put(work, n)
"""
    for moment in range(1, 4):
        path = tmp_path / f"{moment}.jsonl"
        process = subprocess.Popen([sys.executable, "-c", script, str(path)])
        try:
            assert wait_until(lambda: path.exists() and path.stat().st_size > moment * 100_000, 20.0)  # noqa: B023
        finally:
            process.kill()
            process.wait()
        assert lines(path) == list(range(len(lines(path))))
