"""Writes a recording as Parquet: a folder with one file a topic, and one for the timings (docs/format.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perf_inference.errors import InputError, RecordingError
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.message import About, Attachment, BagMessage, Note, Topic, TopicKey
from perf_inference.recording.parquet.columns import Column, column
from perf_inference.recording.parquet.library import pyarrow
from perf_inference.recording.parquet.table_file import TableFile
from perf_inference.recording.parquet.timings import TIMINGS, write_timings

SUFFIX = ".parquet"
_OTHER = re.compile(r"[^A-Za-z0-9_.-]")
_MOST_LETTERS = 100  # of a topic's name in the file's
_TIMES = range(-(1 << 63), 1 << 63)
_ROW_BYTES = 100  # of a message besides its data


class ParquetWriter:
    """A folder of tables. What a message's fields do not give back is beside them as CDR, as in JSON lines."""

    def __init__(self, folder: Path, source: About | None = None) -> None:
        """Write into a folder that is there.

        Raises:
            ConfigError: pyarrow is not installed.
        """
        self.undecoded = self.refused = self.inexact = 0
        self.lost: list[str] = []
        self._arrow = pyarrow()
        self._folder, self._about = folder, source or About()
        self._names = {TIMINGS}
        self._topics: dict[TopicKey, _TopicTable] = {}
        self._beyond = 0

    def add(self, topic: Topic) -> None:
        self._topics[topic.key] = _TopicTable(self._arrow, self._path(topic.name), topic, self._about)

    def extra(self, extra: Note | Attachment) -> None:
        self.lost.append(f"{extra}: Parquet has no place for it")

    def write(self, topic: Topic, message: BagMessage) -> None:
        table = self._topics[topic.key]
        fields, exact, stamp_ns = table.decoded(message.data)
        self.undecoded += table.codec is None
        self.refused += table.codec is not None and fields is None
        self.inexact += fields is not None and not exact
        times = [message.t_ns, stamp_ns, message.publish_ns, message.publish_seq]
        kept = [time if time is None or time in _TIMES else None for time in times]
        self._beyond += kept != times
        row = (*kept, *table.values(fields), None if exact else message.data)
        table.file.add(row, len(message.data) * (1 if exact else 2) + _ROW_BYTES)

    def timings(self, paths: Sequence[Path]) -> list[str]:
        """Take the timings of a run; return a sentence about each file of which not all could be read."""
        return write_timings(self._folder / f"{TIMINGS}{SUFFIX}", paths)

    def close(self, about: dict[str, Any]) -> None:
        for table in self._topics.values():
            table.file.close()
        if self._beyond:
            self.lost.append(f"times and numbers of {self._beyond} messages: the columns have 63 bits; they are null")

    def abort(self) -> None:
        for table in self._topics.values():
            table.file.abort()

    def _path(self, topic: str) -> Path:
        """Return the file of a topic: `left__force.parquet` of `/left/force`; with a number where that is taken."""
        words = _OTHER.sub("_", topic.strip("/").replace("/", "__"))[:_MOST_LETTERS].lstrip(".-") or "topic"
        name, number = words, 1
        while name.lower() in self._names:
            number += 1
            name = f"{words}_{number}"
        self._names.add(name.lower())
        return self._folder / f"{name}{SUFFIX}"


class _TopicTable:
    """The file of a topic."""

    def __init__(self, arrow: Any, path: Path, topic: Topic, about: About) -> None:
        self.codec = _codec(topic)
        self._message: Column | None = None
        columns = dict.fromkeys(("t", "stamp", "publish_t", "publish_seq"), arrow.int64())
        if self.codec is not None and self.codec.root.fields:
            self._message = column(arrow, self.codec.root)
            columns["message"] = self._message.type
        columns["cdr" if topic.encoding == "cdr" else "data"] = arrow.binary()
        self.file = TableFile(path, columns, _said_of(topic, about))

    def decoded(self, data: bytes) -> tuple[dict[str, Any] | None, bool, int | None]:
        """Return a message's fields (None: it has none that can be read), whether they are all, and the stamp [ns]."""
        if self.codec is None:
            return None, False, None
        try:
            return self.codec.decode(data)
        except InputError:  # not what its type says: kept as it came
            return None, False, None

    def values(self, fields: dict[str, Any] | None) -> tuple[Any, ...]:
        if self._message is None:
            return ()
        return (None if fields is None else self._message.value(fields),)


def _codec(topic: Topic) -> Codec | None:
    if topic.definition is None or topic.encoding != "cdr":
        return None
    try:
        return Codec(topic.definition)
    except RecordingError:  # kept serialized, and counted as such
        return None


def _said_of(topic: Topic, about: About) -> dict[str, str | bytes]:
    """Return what a file tells of its topic besides the messages."""
    definition = topic.definition
    return {
        "topic": topic.name,
        "type": topic.type,
        "encoding": topic.encoding,
        "qos": json.dumps([qos.as_dict() for qos in topic.qos]),
        "type_hash": topic.type_hash or "",
        "definition_encoding": definition.encoding if definition is not None else "",
        "definition": definition.data if definition is not None else b"",
        "metadata": json.dumps(dict(topic.metadata)),
        "ros_distro": about.ros_distro,
        "custom_data": json.dumps(dict(about.custom_data)),
    }
