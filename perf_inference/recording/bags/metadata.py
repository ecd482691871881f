"""rosbag2's metadata: what a recording's `metadata.yaml` says, and how it is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from perf_inference.recording.bag_file import BagMessage, Topic
from perf_inference.recording.qos import Qos, format_qos, parse_qos, qos_profiles

FILE_NAME = "metadata.yaml"
_VERSION = 8  # with numbers for QoS: what Humble can read, and all since
_NO_START_NS = (1 << 63) - 1  # rosbag2's for a recording without messages
_KEY = "rosbag2_bagfile_information"


@dataclass(frozen=True)
class Metadata:
    """What is of use of a `metadata.yaml`. Its file names are not: they go stale when a folder is renamed."""

    compression_mode: str = ""  # file, message
    ros_distro: str = ""
    custom_data: dict[str, str] = field(default_factory=dict)
    topics: dict[tuple[str, str], tuple[tuple[Qos, ...], str | None]] = field(default_factory=dict)  # by name and type

    def completed(self, topic: Topic) -> Topic:
        """Return the topic with what its file does not tell (older storages have no QoS, or no type hash)."""
        qos, type_hash = self.topics.get((topic.name, topic.type), ((), None))
        return replace(topic, qos=topic.qos or qos, type_hash=topic.type_hash or type_hash)


def read_metadata(folder: Path) -> Metadata | None:
    """Return what the folder's `metadata.yaml` says; None: there is none, or it cannot be read as one."""
    try:
        text = (folder / FILE_NAME).read_text(encoding="utf-8", errors="replace")
        about = yaml.safe_load(text)[_KEY]
        topics = dict(_topic(entry["topic_metadata"]) for entry in about.get("topics_with_message_count") or ())
        custom = about.get("custom_data")
        return Metadata(
            compression_mode=str(about.get("compression_mode") or "").lower(),
            ros_distro=str(about.get("ros_distro") or ""),
            custom_data={str(key): str(value) for key, value in custom.items()} if isinstance(custom, dict) else {},
            topics=topics,
        )
    except (OSError, yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError):
        return None


class Contents:
    """Counts what is written into one file, for its metadata."""

    def __init__(self, storage: str, file_name: str, source: Metadata) -> None:
        """Begin; `source` has what is handed on from the source's metadata."""
        self.messages = 0
        self._storage, self._file_name, self._source = storage, file_name, source
        self._counts: dict[tuple[str, str], int] = {}
        self._first_ns = self._last_ns = 0

    def count(self, message: BagMessage) -> None:
        """Take a message."""
        t_ns = message.t_ns
        self._first_ns = min(self._first_ns, t_ns) if self.messages else t_ns
        self._last_ns = max(self._last_ns, t_ns) if self.messages else t_ns
        self.messages += 1
        key = (message.topic, message.type)
        self._counts[key] = self._counts.get(key, 0) + 1

    def as_dict(self, topics: Iterable[Topic]) -> dict[str, Any]:
        """Return rosbag2's metadata."""
        start = {"nanoseconds_since_epoch": max(0, self._first_ns) if self.messages else _NO_START_NS}
        duration = {"nanoseconds": self._last_ns - self._first_ns}
        file = {"path": self._file_name, "starting_time": start, "duration": duration, "message_count": self.messages}
        return {
            "version": _VERSION,
            "storage_identifier": self._storage,
            "duration": duration,
            "starting_time": start,
            "message_count": self.messages,
            "topics_with_message_count": [
                {
                    "topic_metadata": {
                        "name": topic.name,
                        "type": topic.type,
                        "serialization_format": topic.encoding,
                        "offered_qos_profiles": format_qos(topic.qos),
                        "type_description_hash": topic.type_hash or "",
                    },
                    "message_count": self._counts.get((topic.name, topic.type), 0),
                }
                for topic in topics
            ],
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [self._file_name],
            "files": [file],
            "custom_data": self._source.custom_data or None,
            "ros_distro": self._source.ros_distro,
        }


def embedded_text(about: dict[str, Any]) -> str:
    """Return the metadata as the storages have it within themselves."""
    return _dump(about)


def file_text(about: dict[str, Any]) -> str:
    """Return the metadata as `metadata.yaml` has it."""
    return _dump({_KEY: about})


class _Dumper(yaml.SafeDumper):
    """Without anchors: the same duration is written out twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _dump(about: dict[str, Any]) -> str:
    return yaml.dump(about, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _topic(about: Any) -> tuple[tuple[str, str], tuple[tuple[Qos, ...], str | None]]:
    given = about.get("offered_qos_profiles")
    qos = parse_qos(given) if isinstance(given, str) else qos_profiles(given)
    return (str(about["name"]), str(about["type"])), (qos, about.get("type_description_hash") or None)
