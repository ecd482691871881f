"""perf-inference recover: every whole line of a recording that was cut or partly overwritten."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

from perf_inference.commands.help import KeptLines
from perf_inference.errors import RecordingError
from perf_inference.files.private import share_no_more_than
from perf_inference.printable import printable
from perf_inference.recording.jsonl.pieces import CUT, DAMAGED, FOREIGN, TORN, Piece
from perf_inference.recording.recovery import ranges
from perf_inference.recording.recovery.loss import Start, explained
from perf_inference.recording.recovery.recovery import Recovery, read
from perf_inference.recording.recovery.repair import found_topics
from perf_inference.recording.recovery.survey import SegmentPart, Survey
from perf_inference.recording.recovery.timings_survey import TimingsSurvey

NEEDS_ROS = False
LOSS = 3  # exit status
_WORDS = {TORN: "torn", DAMAGED: "damaged", FOREIGN: "foreign"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.formatter_class = KeptLines
    parser.add_argument(
        "source",
        metavar="SRC",
        type=Path,
        help="a run's directory, a topics_<n>.jsonl[.zst] or its timings; never changed",
    )
    parser.add_argument(
        "--out",
        metavar="DST",
        type=Path,
        help="where the clean recording is written: a file for a file, a directory for a directory; nothing there is "
        "overwritten (default: SRC_recovered beside the source, and nothing at all where nothing is lost)",
    )
    parser.epilog = (
        "exit status:\n"
        "  0  nothing is lost (a missing footer alone is no loss)\n"
        "  3  recovered, but lines are lost or sequence numbers are missing\n"
        "  1  nothing to recover, or it cannot be read or written\n"
        "What came after the last line that is there cannot be known."
    )


def run(options: argparse.Namespace) -> int:
    """Say what there is, and write it; status 0, or 3 with loss."""
    source: Path = options.source.expanduser().absolute()
    share_no_more_than(source)
    found = read(source)
    for line in report(found):
        print(printable(line))
    if not found.complete and not found.records:
        raise RecordingError(f"nothing to recover: {source} has no whole message")
    if options.out is None and found.complete:
        print("nothing is lost, so nothing was written (--out writes a copy)")
        return 0
    out = options.out.expanduser().absolute() if options.out is not None else beside(source)
    made = found.write(out)
    print(f"written: {printable(out)}" + (f" ({len(made)} files)" if source.is_dir() else ""))
    print("nothing is lost" if found.complete else "recovered with loss")
    return 0 if found.complete else LOSS


def beside(source: Path) -> Path:
    """Return the default output: `run_1_recovered`, `topics_1_recovered.jsonl`."""
    if source.is_dir():
        return source.with_name(source.name + "_recovered")
    stem, dot, rest = source.name.partition(".jsonl")
    return source.with_name(f"{stem}_recovered{dot}{rest}")


def report(found: Recovery) -> Iterator[str]:
    """Yield what is there and what is missing, line by line."""
    starts = found.starts()
    for segment in found.segments:
        yield f"{segment.path.name}: {_contents(segment)}"
        for part in segment.parts:
            yield from _orphans(segment, part, found, starts)
    for timings in found.timings:
        yield f"{timings.path.name}: {', '.join([_records(timings.records), *_faults(timings.faults)])}"
        yield from _timings_missing(timings)
    for start in starts:
        yield from _start(start)


def _contents(segment: Survey) -> str:
    said = [_records(segment.records)]
    seqs = [seq for part in segment.parts for seq in part.seqs.ranges()]
    if seqs:
        said[0] += f", seq {min(seqs).first} to {max(seqs, key=lambda each: each.last).last}"
    said += _faults(segment.faults)
    said += [f"the torn line was seq {part.torn_seq}" for part in segment.parts if part.torn_seq is not None]
    if segment.lines:
        said += ["the header is lost" for part in segment.parts if part.header is None]
        said += ["no footer" for part in segment.parts if part.footer is None]
    return "; ".join(said)


def _faults(faults: dict[str, tuple[int, Piece]]) -> list[str]:
    return [
        first.line.decode(errors="replace")
        if fault == CUT
        else f"{count} {_WORDS[fault]} line{_s(count)} (the first at byte {first.at})"
        for fault, (count, first) in faults.items()
    ]


def _orphans(segment: Survey, part: SegmentPart, found: Recovery, starts: list[Start]) -> Iterator[str]:
    if not part.orphans:
        return
    topics = found_topics(segment, part, found.segments, starts)
    for key, count in part.orphans.items():
        known = topics.get(key)
        outcome = (
            f"taken from another segment ({known['type']})"
            if known is not None
            else "known nowhere: the lines are kept, but readers cannot tell their type"
        )
        yield f"  {key[0]}: the topic record of {count} message{_s(count)} is lost; {outcome}"


def _timings_missing(timings: TimingsSurvey) -> Iterator[str]:
    for node, missing in timings.missing().items():
        yield f"  {node}: missing: {ranges.text(missing)}"


def _start(start: Start) -> Iterator[str]:
    missing = start.missing()
    name = f"start {start.name}" if start.name is not None else "a start whose header is lost"
    again = f"; {_records(start.again)} come more than once" if start.again else ""
    gone = ranges.text(missing) if missing else "none"
    yield f"{name}: {_records(start.records - start.again)}; missing: {gone}{again}"
    drops = [drop for part in start.parts for drop in part.drops]
    if missing and drops:
        yield from _explained(missing, drops)
    if start.first_seq is None and start.records:
        yield "  what came before its first record cannot be known: the header is lost"
    spans = [part.span[1] for part in start.parts if part.span is not None]
    if spans:
        last = max(spans, key=lambda line: line.seq)
        closed = start.parts[-1].footer is not None
        rest = "closed in order" if closed else "what may have come after it cannot be known"
        yield f"  the last is seq {last.seq} at {_time(last.t_ns)}; {rest}"


def _explained(missing: list[ranges.Range], drops: list[dict[str, object]]) -> Iterator[str]:
    why = explained(missing, drops)
    by: dict[str, int] = {}
    for drop in drops:
        key = f"{drop['topic']} ({drop.get('reason')})"
        by[key] = by.get(key, 0) + int(str(drop["count"]))
    told = ", ".join(f"{count} of {key}" for key, count in by.items())
    yield f"  {why.dropped} of them the recorder itself had dropped: {told}"
    lost = [ranges.text(why.lost)] if why.lost else []
    lost += [f"{count} within {first}-{last}" for count, (first, last) in why.lost_within]
    if lost:
        yield f"  not explained: {'; '.join(lost)}"


def _records(count: int) -> str:
    return f"{count} record{_s(count)}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _time(t_ns: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=t_ns // 10**9)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{t_ns % 10**9:09d}Z"
