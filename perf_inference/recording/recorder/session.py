"""The directory of one run and the names in it."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from perf_inference._version import VERSION, installed
from perf_inference.errors import ConfigError
from perf_inference.files.private import own_folder, replace_file
from perf_inference.recording import run_directory
from perf_inference.recording.jsonl.line import FORMAT_VERSION
from perf_inference.telemetry.host import describe_host

ACCESS = {"owner": 0o700, "group": 0o750, "everybody": 0o755}
"""Mode of a run's directory; its files are as readable as it is."""
TIME_FORMAT = "%Y%m%d_%H%M%S"
_START = "start.json"  # of `perf-inference run`
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SOFTWARE = ("numpy", "onnxruntime", "orjson", "rclpy", "rosbags", "mcap", "torch")


class Session:
    """`OUTPUT_DIR/SESSION_YYYYmmdd_HHMMSS/`."""

    def __init__(
        self,
        output_dir: str,
        session: str,
        start_time: str,
        parameters: Mapping[str, Any],
        access: str = "owner",
        rmw: str | None = None,
    ) -> None:
        """Make the directory, or go on in it.

        Args:
            start_time: YYYYmmdd_HHMMSS, or nothing for now.
            access: who may read the run, one of ACCESS.
            rmw: the middleware in force; None: as RMW_IMPLEMENTATION says.

        Raises:
            ConfigError: a name or time that cannot be one, or a directory that cannot be written.
        """
        time_ = start_time or time.strftime(TIME_FORMAT)
        if not re.fullmatch(r"[0-9]{8}_[0-9]{6}", time_):
            raise ConfigError(f"start_time must be YYYYmmdd_HHMMSS or empty for now, got '{start_time}'")
        if not re.fullmatch(r"[\w.-]+", session):
            raise ConfigError(f"session must be a name of letters, digits, '_', '-' and '.', got '{session}'")
        self.directory = Path(output_dir).expanduser().absolute() / f"{session}_{time_}"
        self.timings = run_directory.timings_path(self.directory, time_)
        self.summary = run_directory.summary_path(self.directory, time_)
        self._about = {
            "format_version": FORMAT_VERSION,
            "session": session,
            "start_time": time_,
            "recorder_started_ns": time.time_ns(),
            "host": describe_host(),
            "software": _software(rmw),
            "gpu": None,
            "parameters": dict(parameters),
            "start": None,
        }
        try:
            own_folder(self.directory, ACCESS[access])
            self._about["start"] = self._started()
            self.describe({})
        except OSError as error:
            if error.errno in _FULL and (self.directory / run_directory.SESSION).exists():
                return  # begun before, by a recorder that has died: the disk may have room again, as for one that runs
            raise ConfigError(
                f"output_dir must be a directory that can be written, got '{output_dir}': "
                f"{error.strerror} ({error.filename}); choose another output_dir or make this one writable"
            ) from error

    def _started(self) -> Any:
        """Return what the starter wrote of the start; None: nothing that can be read."""
        try:
            return orjson.loads((self.directory / _START).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return None

    def next_topics(self) -> Path:
        """Return the path of the next `topics_<n>.jsonl`: one that is not there yet."""
        return run_directory.next_segment(self.directory)

    @property
    def about(self) -> dict[str, Any]:
        """What the header of a segment says of the run."""
        return {key: self._about[key] for key in ("host", "software", "parameters")}

    def describe(self, counts: Mapping[str, Any]) -> None:
        """Write `session.json` with these counts."""
        self._about["start"] = self._started() or self._about["start"]
        replace_json(self.directory / run_directory.SESSION, {**self._about, "counts": dict(counts)})


def replace_json(path: Path, value: Any) -> None:
    """Write a JSON file so that a reader sees the old one or the new one, never half."""
    replace_file(path, orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _software(rmw: str | None) -> dict[str, str | None]:
    versions: dict[str, str | None] = {"perf_inference": VERSION}
    versions.update({name: installed(name) for name in _SOFTWARE})
    versions["ros_distro"] = os.environ.get("ROS_DISTRO")
    versions["rmw"] = rmw or os.environ.get("RMW_IMPLEMENTATION")
    return versions
