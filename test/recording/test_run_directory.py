"""The files of a run's directory: what they are called, which are taken, and in what order."""

from __future__ import annotations

from pathlib import Path

import pytest

from perf_inference.recording import run_directory as run

OURS = (
    "session.json", "performance_timings_20260102_030405.jsonl", "performance_timings_20260101_000000.jsonl",
    "performance_summary_20260102_030405.json", "topics_2.jsonl", "topics_10.jsonl", "topics_1.jsonl.zst",
    "topics_2.jsonl.zst", "topics_9.jsonl.zst",
)  # fmt: skip
FOREIGN = (
    "topics_a.jsonl", "topics_.jsonl", "topics_3.jsonl.part", ".topics_4.jsonl.zst.part", "topics_5.json",
    "my_topics_6.jsonl", "topics_7_recovered.jsonl", "topics_8.jsonl\n", "topics_\u0663.jsonl",
    "performance_timings_1.json", "a_performance_timings_1.jsonl", "performance_summary_1.jsonl",
    "session.json.part", "my_session.json", "tegrastats.log", "nodes.log", "starter.yaml", "annotated.jpg",
)  # fmt: skip


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in (*OURS, *FOREIGN):
        (tmp_path / name).touch()
    return tmp_path


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_the_names_of_what_a_recorder_writes(tmp_path: Path) -> None:
    made = (
        run.timings_path(tmp_path, "20260102_030405"), run.summary_path(tmp_path, "20260102_030405"),
        run.next_segment(tmp_path), run.packed(run.next_segment(tmp_path)),
    )  # fmt: skip
    assert names(list(made)) == [
        "performance_timings_20260102_030405.jsonl", "performance_summary_20260102_030405.json", "topics_1.jsonl",
        "topics_1.jsonl.zst",
    ]  # fmt: skip
    assert {path.parent for path in made} == {tmp_path}
    assert (run.SESSION, run.TEGRASTATS_LOG, run.NODES_LOG) == ("session.json", "tegrastats.log", "nodes.log")


def test_segments_come_in_the_order_of_their_numbers_and_once(directory: Path) -> None:
    assert names(run.segments_in(directory)) == [
        "topics_1.jsonl.zst", "topics_2.jsonl", "topics_9.jsonl.zst", "topics_10.jsonl"
    ]  # fmt: skip


def test_timings_and_summaries_come_in_the_order_of_their_times(directory: Path) -> None:
    assert names(run.timings_in(directory)) == [OURS[2], OURS[1]]
    assert names(run.summaries_in(directory)) == [OURS[3]]


def test_timings_that_were_recovered_beside_themselves_are_there_once(tmp_path: Path) -> None:
    for name in ("1", "1_recovered", "2_recovered"):
        run.timings_path(tmp_path, name).touch()
    found = names(run.timings_in(tmp_path))
    assert found == ["performance_timings_1.jsonl", "performance_timings_2_recovered.jsonl"]


def test_files_of_others_are_not_taken(directory: Path) -> None:
    files = [directory / name for name in FOREIGN]
    assert not any(map(run.is_timings, files))
    assert not any(map(run.is_about, files))
    assert {run.segment_number(path) for path in files} == {None}
    assert [run.is_about(directory / name) for name in OURS] == [True, False, False, True, *[False] * 5]
    assert [run.is_timings(directory / name) for name in OURS] == [False, True, True, *[False] * 6]


def test_a_new_segment_has_a_number_that_no_file_has(directory: Path) -> None:
    assert run.next_segment(directory).name == "topics_11.jsonl"
    (directory / "topics_12.jsonl.zst").touch()
    assert run.next_segment(directory).name == "topics_13.jsonl"
    (directory / f"topics_{'9' * 200}.jsonl").touch()
    assert run.next_segment(directory).name == "topics_13.jsonl"


def test_timings_find_the_summary_of_their_time(directory: Path) -> None:
    assert run.summary_of(directory / OURS[1]) == directory / OURS[3]
    assert run.summary_of(directory / "copy.jsonl").name == "performance_summary_copy.json"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("topics_1_recovered.jsonl", "topics"), ("performance_timings_x_recovered.jsonl", "timings"), ("a.jsonl", "")],
)
def test_a_copy_is_known_by_how_its_name_begins(name: str, kind: str) -> None:
    assert run.kind(Path(name)) == kind


@pytest.mark.parametrize("name", ["topics_1.jsonl", "topics_1.jsonl.zst"])
def test_the_plain_and_the_compressed_file(name: str) -> None:
    path = Path("run") / name
    assert (run.plain(path), run.packed(path)) == (Path("run/topics_1.jsonl"), Path("run/topics_1.jsonl.zst"))
    assert run.segment_number(path) == 1
