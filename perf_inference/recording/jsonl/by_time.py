"""The lines of messages of a segment in the order of their log times, however it was written."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, NamedTuple

from perf_inference.errors import RecordingError
from perf_inference.files.regular import open_regular
from perf_inference.recording.jsonl.head import head
from perf_inference.recording.jsonl.pieces import pieces
from perf_inference.recording.jsonl.text_file import CutError, is_packed, stretches
from perf_inference.recording.jsonl.topic_records import TopicRecords
from perf_inference.recording.message import Topic


class Line(NamedTuple):
    """A whole line of a message."""

    text: bytes
    t_ns: int
    topic: Topic


def lines(path: Path) -> Iterator[Line]:
    """Yield the lines of messages as they were written.

    Raises:
        RecordingError: the file cannot be read.
    """
    records = TopicRecords()
    for piece in pieces(path):
        about = None if piece.fault else head(piece.line)
        topic = records.follow(about) if about is not None else None
        if about is not None and topic is not None:
            yield Line(piece.line, about.t_ns, topic)


def lines_by_time(path: Path) -> Iterator[Line]:
    """Yield the lines of messages by log time, those of one moment as they were written.

    Their places are held (some 30 bytes a message), not the messages; of a packed file a temporary copy is made.

    Raises:
        RecordingError: the file, or a copy of it, cannot be read.
    """
    records = TopicRecords()
    times: list[int] = []
    places, sizes, numbers = array("q"), array("I"), array("I")
    topics: dict[int, tuple[int, Topic]] = {}  # by their id; with the topic, so that it stays
    for piece in pieces(path):
        about = None if piece.fault else head(piece.line)
        topic = records.follow(about) if about is not None else None
        if about is not None and topic is not None:
            times.append(about.t_ns)
            places.append(piece.at)
            sizes.append(len(piece.line) - 1)  # in a damaged file there is not always a newline
            numbers.append(topics.setdefault(id(topic), (len(topics), topic))[0])
    known = [topic for _, topic in topics.values()]
    try:
        with ExitStack() as opened:
            stream = _text_of(path, opened)
            for number in sorted(range(len(times)), key=times.__getitem__):
                stream.seek(places[number])
                yield Line(stream.read(sizes[number]) + b"\n", times[number], known[numbers[number]])
    except OSError as error:
        raise RecordingError(f"{path} cannot be read by time: {error.strerror}") from error


def _text_of(path: Path, opened: ExitStack) -> IO[bytes]:
    if not is_packed(path):
        return opened.enter_context(open_regular(path))
    copy: IO[bytes] = tempfile.TemporaryFile(prefix="perf_inference_")  # noqa: SIM115
    opened.callback(copy.close)
    with suppress(CutError):  # what came before is there, and the rest is told by who looked first
        for stretch in stretches(path):
            copy.write(stretch.text)
    return copy
