"""rosbag2's metadata: what a recording's `metadata.yaml` says, and how it is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from perf_inference.files.bounded_yaml import MOST_BYTES, read_yaml
from perf_inference.files.regular import open_regular
from perf_inference.recording.message import About, BagMessage, Topic, TopicKey
from perf_inference.recording.qos import Qos, format_qos, parse_qos, qos_profiles

FILE_NAME = "metadata.yaml"
EMBEDDED = "rosbag2"
"""Name of the metadata record that MCAP files have of rosbag2."""
_VERSION = 8  # with numbers for QoS: what Humble can read, and all since
_NO_START_NS = (1 << 63) - 1  # rosbag2's for a recording without messages
_KEY = "rosbag2_bagfile_information"


@dataclass(frozen=True)
class Metadata:
    """What is of use of a `metadata.yaml`. Its file names are not: they go stale when a folder is renamed."""

    compression_mode: str = ""  # file, message
    ros_distro: str = ""
    custom_data: Mapping[str, str] = field(default_factory=dict)
    messages: int | None = None  # in all files
    topics: dict[tuple[str, str], tuple[tuple[Qos, ...], str | None]] = field(default_factory=dict)  # by name and type
    problem: str = ""  # why the file is not used

    def completed(self, topic: Topic) -> Topic:
        """Return the topic with what its file does not tell (older storages have no QoS, or no type hash)."""
        qos, type_hash = self.topics.get((topic.name, topic.type), ((), None))
        return replace(topic, qos=topic.qos or qos, type_hash=topic.type_hash or type_hash)


def read_metadata(folder: Path) -> Metadata | None:
    """Return what the folder's `metadata.yaml` says, or why it cannot be used; None: there is none."""
    path = folder / FILE_NAME
    try:
        with open_regular(path) as file:
            text = file.read(MOST_BYTES + 1).decode(errors="replace")
        return _metadata(read_yaml(text))
    except FileNotFoundError:
        return None
    except OSError as error:
        return Metadata(problem=f"{path} is not used: it cannot be read: {error.strerror}")
    except ValueError as error:  # YamlError too
        return Metadata(problem=f"{path} is not used: it must be rosbag2's metadata: {error}")


def embedded_about(text: str) -> About:
    """Return what the metadata within a storage say of the recording; nothing where they cannot be read."""
    try:
        found = _metadata({_KEY: read_yaml(text)})
    except ValueError:  # YamlError too
        return About()
    return About(found.ros_distro, found.custom_data, found.messages)


def _metadata(content: Any) -> Metadata:
    """Return what is of use of a file's content.

    Raises:
        ValueError: it is no metadata.
    """
    about = _mapping(content, "the file").get(_KEY)
    about = _mapping(about, _KEY)
    entries = about.get("topics_with_message_count") or []
    if not isinstance(entries, list):
        raise ValueError(f"topics_with_message_count must be a list, got {type(entries).__name__}")
    custom = about.get("custom_data")
    messages = about.get("message_count")
    return Metadata(
        messages=messages if type(messages) is int else None,
        compression_mode=_word(about, "compression_mode").lower(),
        ros_distro=_word(about, "ros_distro"),
        custom_data={str(key): str(value) for key, value in custom.items()} if isinstance(custom, dict) else {},
        topics=dict(_topic(_mapping(entry, "a topic").get("topic_metadata")) for entry in entries),
    )


def _mapping(value: Any, name: str) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be names and values, got {'nothing' if value is None else type(value).__name__}")
    return value


def _word(about: Mapping[Any, Any], key: str) -> str:
    """Return a word; empty: none."""
    value = about.get(key)
    if isinstance(value, list | dict):
        raise ValueError(f"{key} must be a word, got a {type(value).__name__}")
    return "" if value is None else str(value)


class Contents:
    """Counts what is written into one file, for its metadata."""

    def __init__(self, storage: str, file_name: str, source: About | Metadata) -> None:
        """Begin; `source` has what is handed on of the source's metadata."""
        self.messages, self.ros_distro = 0, source.ros_distro
        self._storage, self._file_name, self._source = storage, file_name, source
        self._counts: dict[TopicKey | tuple[str, str], int] = {}
        self._first_ns = self._last_ns = 0

    def count(self, message: BagMessage, topic: Topic | None = None) -> None:
        """Take a message; `topic` is the target's, where there may be several of its name and type."""
        t_ns = message.t_ns
        self._first_ns = min(self._first_ns, t_ns) if self.messages else t_ns
        self._last_ns = max(self._last_ns, t_ns) if self.messages else t_ns
        self.messages += 1
        key = topic.key if topic is not None else (message.topic, message.type)
        self._counts[key] = self._counts.get(key, 0) + 1

    def as_dict(self, topics: Iterable[Topic]) -> dict[str, Any]:
        """Return rosbag2's metadata."""
        start = {
            "nanoseconds_since_epoch": min(max(0, self._first_ns), _NO_START_NS) if self.messages else _NO_START_NS
        }
        duration = {"nanoseconds": min(self._last_ns - self._first_ns, _NO_START_NS)}
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
                    "message_count": self._counts.get(topic.key) or self._counts.get((topic.name, topic.type), 0),
                }
                for topic in topics
            ],
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [self._file_name],
            "files": [file],
            "custom_data": dict(self._source.custom_data) or None,
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


def _topic(content: Any) -> tuple[tuple[str, str], tuple[tuple[Qos, ...], str | None]]:
    about = _mapping(content, "topic_metadata")
    given = about.get("offered_qos_profiles")
    qos = parse_qos(given) if isinstance(given, str) else qos_profiles(given)
    return (_word(about, "name"), _word(about, "type")), (qos, _word(about, "type_description_hash") or None)
