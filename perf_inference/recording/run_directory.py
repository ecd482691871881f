"""The files of a run's directory: their names, and the order in which they are read.

session.json                        what was recorded, where, and with what
performance_timings_<time>.jsonl    a line per inference
performance_summary_<time>.json     what the timings of the same time come to
topics_<n>.jsonl                    the segments; topics_<n>.jsonl.zst: one that is complete and compressed
annotated.jpg                       one image of the run, with what was found in it
tegrastats.log, nodes.log           what tegrastats and the nodes printed, where it is kept
starter.yaml                        what the starter sets; `bringup.robot` writes it
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from perf_inference.files.names import natural_order

SESSION, TEGRASTATS_LOG, NODES_LOG, IMAGE = "session.json", "tegrastats.log", "nodes.log", "annotated.jpg"
TIMINGS = "performance_timings_*.jsonl"
"""Pattern of the timings' names."""
_TIMINGS, _SUMMARY, _TOPICS, _PACKED = "performance_timings_", "performance_summary_", "topics_", ".zst"
RECOVERED = "_recovered"
"""How names end, before the suffix, of what `recover` and others' tools bring back of a damaged file."""
_KINDS = {"topics": _TOPICS, "timings": _TIMINGS}
_SEGMENT = re.compile(rf"{_TOPICS}([0-9]+)\.jsonl(\{_PACKED})?")
_MOST_SEGMENTS = 10**18  # a higher number is somebody else's


def timings_path(directory: Path, time: str) -> Path:
    """Return the timings of a recorder that was started at this time (YYYYmmdd_HHMMSS)."""
    return directory / f"{_TIMINGS}{time}.jsonl"


def summary_path(directory: Path, time: str) -> Path:
    """Return the summary of the timings of this time."""
    return directory / f"{_SUMMARY}{time}.json"


def summary_of(timings: Path) -> Path:
    """Return the summary that belongs to these timings."""
    return summary_path(timings.parent, timings.name.removeprefix(_TIMINGS).removesuffix(".jsonl"))


def next_segment(directory: Path) -> Path:
    """Return the path of the next segment: a number that no file has, plain or compressed."""
    numbers = [number for path in directory.iterdir() if (number := segment_number(path) or 0) < _MOST_SEGMENTS]
    return directory / f"{_TOPICS}{max(numbers, default=0) + 1}.jsonl"


def segment_number(path: Path) -> int | None:
    """Return the number of a segment; None: by its name it is none."""
    match = _SEGMENT.fullmatch(path.name)
    return int(match[1]) if match is not None else None


def is_timings(path: Path) -> bool:
    """Return whether these are timings, by the name."""
    return path.match(TIMINGS)


def is_about(path: Path) -> bool:
    """Return whether this is the session's or a summary's file, by the name."""
    return path.name == SESSION or path.match(f"{_SUMMARY}*.json")


def kind(path: Path) -> str:
    """Return `timings` or `topics` by how the name begins, as a copy's does too; empty: neither."""
    return next((each for each, begin in _KINDS.items() if path.name.startswith(begin)), "")


def timings_in(directory: Path) -> list[Path]:
    """Return the timings of a run, in the order of their times; without what `recover` made of one that is there."""
    found = sorted(directory.glob(TIMINGS))
    return [path for path in found if original(path) == path or original(path) not in found]


def original(path: Path) -> Path:
    """Return the path of the file of which `recover` made this one by its name (`topics_1_recovered.jsonl`)."""
    return path.with_name(path.stem.removesuffix(RECOVERED) + path.suffix)


def summaries_in(directory: Path) -> list[Path]:
    """Return the summaries of a run, in the order of their times."""
    return sorted(directory.glob(f"{_SUMMARY}*.json"))


def segments_in(directory: Path) -> list[Path]:
    """Return the segments of a run in the order of their numbers, each once."""
    found = (path for path in directory.glob(f"{_TOPICS}*") if segment_number(path) is not None)
    return once(sorted(found, key=natural_order))


def once(files: Iterable[Path]) -> list[Path]:
    """Return the files without the compressed ones that are there plain as well: those may not be complete yet."""
    files = list(files)
    there = set(files)
    return [file for file in files if file.suffix != _PACKED or plain(file) not in there]


def plain(path: Path) -> Path:
    """Return the path of a file that is not compressed, whichever of the two was given."""
    return path.with_name(path.name.removesuffix(_PACKED))


def packed(path: Path) -> Path:
    """Return the path of the compressed file, whichever of the two was given."""
    return path.with_name(plain(path).name + _PACKED)
