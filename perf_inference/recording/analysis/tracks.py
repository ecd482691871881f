"""Clocks, temperatures, power and load over the time of a run, from the /diagnostics that were recorded with it."""

from __future__ import annotations

import re
from array import array
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import InputError, RecordingError
from perf_inference.recording.analysis.analysis import as_mapping
from perf_inference.recording.analysis.growing_file import GrowingFile
from perf_inference.recording.analysis.segment_reader import compressed_lines, segment_record
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.jsonl.line import LineError
from perf_inference.recording.run_directory import packed, segments_in

_PART = re.compile(r".*/(host|platform|gpu[0-9]+)$", re.DOTALL)
_GPC = re.compile(r"gpu_gpc([0-9]+)_mhz")
_MAX_TRACKS = 64
_Found = dict[tuple[str, str, str], tuple["array[int]", "array[float]"]]  # (kind, host, label): times, values
# part: key: kind, label
_KEYS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "host": {"cpu_pct": ("load", "CPU")},
    "platform": {
        "cpu_mhz": ("clock", "CPU mean"),
        "temperature_degc": ("temperature", "hottest sensor"),
        "power_w": ("power", "board"),
        "gpu_pct": ("load", "GPU"),
    },
    "gpu": {
        "sm_mhz": ("clock", "SM"),
        "temperature_degc": ("temperature", ""),
        "power_w": ("power", ""),
        "utilisation_pct": ("load", ""),
    },
}


@dataclass(frozen=True)
class Track:
    """Readings of one thing, in the order of their time."""

    kind: str  # clock [MHz], temperature [degC], power [W], load [%]
    label: str
    times_ns: NDArray[np.int64]  # system time
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Tracks:
    """What was found in a run's segments."""

    tracks: tuple[Track, ...]
    messages: int  # of /diagnostics
    unread: int  # of them or their lines, damaged or in a form that has no fields
    problems: tuple[str, ...]  # files that could not be read to the end


def read_tracks(directory: Path) -> Tracks:
    """Return the tracks of a run's directory; a segment that is there twice is read once."""
    found: _Found = {}
    messages = unread = 0
    problems = []
    for path in segments_in(directory):
        serialized = _Serialized()
        try:
            for line in _lines(path):
                if b'/diagnostics"' not in line:  # spares the reading of everything else
                    continue
                try:
                    record = segment_record(line)
                except LineError:
                    unread += 1
                    continue
                if record.get("record") == "topic":
                    serialized.learn(record)
                if "record" in record or not str(record.get("topic")).endswith("/diagnostics"):
                    continue
                messages += 1
                unread += not _add(found, record.get("t"), serialized.fields(record))
        except (OSError, RecordingError) as error:
            problems.append(str(error))
    hosts = {host for _, host, _ in found}
    tracks = [
        Track(
            kind=kind,
            label=f"{label} ({host})" if len(hosts) > 1 else label,
            times_ns=np.array(times, np.int64),
            values=np.array(values, np.float64),
        )
        for (kind, host, label), (times, values) in found.items()
    ]
    return Tracks(tuple(tracks), messages, unread, tuple(problems))


class _Serialized:
    """Decodes the messages of one segment that have no fields."""

    def __init__(self) -> None:
        self._codecs: dict[tuple[str, int | None], Codec | None] = {}

    def learn(self, record: Mapping[str, Any]) -> None:
        """Take a topic record; messages name its id unless it is the first of its name."""
        definition = as_mapping(record.get("definition"))
        words = [str(text) for text in (record.get("type"), definition.get("encoding"), definition.get("text"))]
        try:
            codec = Codec(Definition(*words)) if definition else None
        except RecordingError:
            codec = None
        name = str(record.get("topic"))
        self._codecs[name, _id(record)] = codec
        self._codecs.setdefault((name, None), codec)

    def fields(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the message's fields; empty: they cannot be read."""
        codec = self._codecs.get((str(record.get("topic")), _id(record)))
        if "message" in record or codec is None:
            return as_mapping(record.get("message"))
        try:
            return codec.decode(b64decode(str(record.get("cdr")), validate=True)).message
        except (InputError, ValueError):
            return {}


def _id(record: Mapping[str, Any]) -> int | None:
    number = record.get("id")
    return number if isinstance(number, int) else None


def _lines(path: Path) -> Iterator[bytes]:
    if not path.exists():  # it was compressed just now
        path = packed(path)
    return compressed_lines(path) if path.suffix == ".zst" else GrowingFile(path).lines()


def _add(found: _Found, t_ns: Any, message: Mapping[str, Any]) -> bool:
    """Add the machine's figures of one message; False: it has no fields, or no time."""
    statuses = message.get("status")
    if type(t_ns) is not int or not 0 <= t_ns < 1 << 63 or not isinstance(statuses, list):
        return False
    for status in map(as_mapping, statuses):
        part = _PART.match(str(status.get("name")))
        if part is None:
            continue
        # a GPU's hardware_id is the GPU's own; the monitor that tells of it tells its host elsewhere
        host = str(status.get("hardware_id")) if not part[1].startswith("gpu") else ""
        for kind, label, value in _readings(part[1], status):
            key = kind, host or _host_of(statuses, str(status.get("name"))), label
            if key in found or len(found) < _MAX_TRACKS:
                times, values = found.setdefault(key, (array("q"), array("d")))
                times.append(t_ns)
                values.append(value)
    return True


def _host_of(statuses: list[Any], name: str) -> str:
    platform = name.rpartition("/")[0] + "/platform"
    return next((str(s.get("hardware_id")) for s in map(as_mapping, statuses) if s.get("name") == platform), "")


def _readings(part: str, status: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Yield (kind, label, value) of what one status of the machine says."""
    values = status.get("values")
    for entry in map(as_mapping, values if isinstance(values, list) else ()):
        key, text = str(entry.get("key")), str(entry.get("value"))
        gpc = _GPC.fullmatch(key)
        if gpc is not None and part == "platform":
            kind, label = "clock", f"GPU GPC{gpc[1]}"
        elif part.startswith("gpu") and key in _KEYS["gpu"]:
            kind, label = _KEYS["gpu"][key]
            label = f"GPU {part[3:]} {label}".strip()
        elif part in _KEYS and key in _KEYS[part]:
            kind, label = _KEYS[part][key]
        else:
            continue
        try:
            value = float(text)
        except ValueError:  # null: not known here
            continue
        if np.isfinite(value):
            yield kind, label, value
