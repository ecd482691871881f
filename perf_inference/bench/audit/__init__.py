"""What published results cannot say: `perf-inference bench audit DIR`.

Reads result files of ros2_benchmark (NVIDIA; the results of isaac_ros_benchmark are such files) and names, file by
file, what a reader would need and does not find, and what does not fit together. It changes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import orjson

from perf_inference.bench.audit.result import Audit, audit
from perf_inference.bench.results.outputs import Outputs, add_example, add_output_arguments
from perf_inference.bench.results.progress import Progress
from perf_inference.errors import InputError, PerfInferenceError
from perf_inference.printable import printable
from perf_inference.report.document import Document, Part, Table, Words, figure

_LARGEST = 16 << 20  # of a result file
_MOST_FILES = 20_000
_MOST_NAMED = 20
_KINDS = {  # part of a remark: what those with it have in common
    "were missed": "more than 1 % of a run's frames were missed",
    "came out of": "more came out than was played",
    "N - 1 intervals": "a rate that is over 1 % too high, by N frames over N - 1 intervals",
    "edge of the search": "the answer lies at the edge of the search",
    "negative": "a negative latency",
    "queue was growing": "the last frame took over twice the first",
    "less used than before": "processor or device are less used than before the run",
    "above its maximum": "a mean above its maximum",
    "one message": "one message is played again and again",
    "no warm-up": "no warm-up before a trial",
    "are left out": "the best and the worst run are left out",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    add_example(
        parser,
        "git clone https://github.com/NVIDIA-ISAAC-ROS/isaac_ros_benchmark",
        "perf-inference bench audit isaac_ros_benchmark/results --markdown audit.md",
    )
    parser.add_argument(
        "directory", metavar="DIR", type=Path, help="result files (*.json), in folders too; or one file"
    )
    add_output_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Audit all files; 0, or 3 where some could not be read, or 1 where none is a result."""
    source: Path = options.directory
    files = sorted(source.rglob("*.json"))[:_MOST_FILES] if source.is_dir() else [source]
    if not files or not source.exists():
        raise PerfInferenceError(f"'{source}' must be a result file of ros2_benchmark, or a folder with some (*.json)")
    outputs = Outputs("audit", options, {})
    progress = Progress("audit", len(files))
    audits, unread = [], []
    for number, file in enumerate(files):
        name = str(file.relative_to(source)) if source.is_dir() else file.name
        try:
            audits.append(audit(name, _content(file)))
            outputs.record("file", **_as_record(audits[-1]))
        except (InputError, RecursionError) as error:
            unread.append(f"{name}: {error}")
        progress.show(number + 1)
    progress.close()
    for line in unread[:_MOST_NAMED]:
        print(f"perf-inference bench audit: {printable(line)}", file=sys.stderr)
    if len(unread) > _MOST_NAMED:
        print(f"perf-inference bench audit: {len(unread) - _MOST_NAMED} more are no results", file=sys.stderr)
    if not audits:
        outputs.close()
        raise PerfInferenceError(f"'{source}': none of {len(files)} files is a result of ros2_benchmark")
    verdict, parts = report(audits)
    outputs.finish(Document(f"Audit of {len(audits)} result files of ros2_benchmark", verdict, parts))
    return 3 if unread else 0


def report(audits: Sequence[Audit]) -> tuple[str, list[Part]]:
    """Return the verdict and the parts of the report."""
    n = len(audits)
    missing = Counter(what for one in audits for what in one.missing)
    peaks = [run for one in audits for run in one.runs if run.name == "peak"]
    lost = sum((run.lost_pct or 0.0) > 1.0 for run in peaks)
    one_image = sum(one.images == 1 for one in audits)
    no_warmup = sum(one.warmup_s == 0 for one in audits)
    kinds = Counter(_kind(words) for one in audits for words in set(one.odd))
    rows = [
        (
            one.name.removesuffix(".json"),
            *_peak(one),
            "-" if one.images is None else str(one.images),
            figure(one.warmup_s),
            ", ".join(one.missing) or "-",
            "; ".join(one.odd) or "-",
        )
        for one in audits
    ]
    header = ("file", "Hz", "played Hz", "frames", "lost %", "images", "warm-up s", "cannot say", "odd")
    parts: list[Part] = [
        Table("What files cannot say", ("", "files", "of"),
              [(what, str(k), str(n)) for what, k in missing.most_common()]),
        Table("What is odd", ("", "times"), [(kind, str(count)) for kind, count in kinds.most_common()]),
        Words("Taken together", (
            f"{lost} of {len(peaks)} peak results missed more than 1 % of the frames",
            f"{one_image} of {n} files replay one message",
            f"{no_warmup} of {n} files have no warm-up before a trial",
        )),
        Table("File by file", header, rows, "images: how many different messages were played; frames: sent at the peak",
              at_length=True),
    ]  # fmt: skip
    without = [what for what in ("percentiles", "clock", "power", "temperature") if missing[what] == n]
    verdict = f"of {n} files none has {', '.join(without)}; " if without else f"{n} files; "
    return f"{verdict}{lost} of {len(peaks)} peak results missed more than 1 % of the frames", parts


def _peak(one: Audit) -> tuple[str, str, str, str]:
    run = next((run for run in one.runs if run.name == "peak"), None)
    if run is None:
        return ("-", "-", "-", "-")
    names = ("MEAN_FRAME_RATE", "MEAN_PLAYBACK_FRAME_RATE", "NUM_FRAMES_SENT")
    rate, played, sent = (figure(run.values.get(name)) for name in names)
    return rate, played, sent, figure(run.lost_pct)


def _kind(words: str) -> str:
    """Return a remark without its figures, so that those of one kind can be counted."""
    return next((kind for part, kind in _KINDS.items() if part in words), words)


def _as_record(one: Audit) -> dict[str, object]:
    runs = {run.name: {**run.values, "lost_pct": run.lost_pct} for run in one.runs}
    return {"name": one.name, "missing": one.missing, "odd": one.odd, "images": one.images, "warmup_s": one.warmup_s,
            "repeats": one.repeats, "runs": runs}  # fmt: skip


def _content(file: Path) -> object:
    try:
        if not file.is_file():
            raise InputError("it is no file")
        with file.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except OSError as error:
        raise InputError(f"it cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST:
        raise InputError(f"it is larger than {_LARGEST >> 20} MiB")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InputError(f"it is no JSON ({error})") from error
