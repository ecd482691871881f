"""The parameters of recorder_node."""

from __future__ import annotations

from dataclasses import dataclass

from perf_inference.nodes.ros.parameters import ManagedParameters, parameter
from perf_inference.recording.recorder.session import ACCESS
from perf_inference.telemetry.tegrastats_process import DEFAULT_COMMAND


@dataclass(frozen=True)
class RecorderParameters(ManagedParameters):
    """Parameters of recorder_node."""

    topics: tuple[str, ...] = parameter(
        ("all",), "topics to record, by name or glob pattern; all: those of the node's namespace, but no images"
    )
    exclude: tuple[str, ...] = parameter((), "topics to leave out, by name or glob pattern")
    output_dir: str = parameter("runs", "where the run's directory is made")
    session: str = parameter("run", "first part of the directory's name")
    start_time: str = parameter("", "second part of the directory's name, YYYYmmdd_HHMMSS; empty: now")
    access: str = parameter("owner", "who else on this machine may read the run's directory and files",
                            choices=tuple(ACCESS))  # fmt: skip
    encoding: tuple[str, ...] = parameter(
        ("json",), "how topics are written: json (nested fields), cdr (serialized), PATTERN=json or PATTERN=cdr"
    )
    auto_save_interval: int = parameter(10, "records after which they are saved", at_least=1)
    auto_save_period_s: float = parameter(1.0, "time after which they are, if that comes first [s]", at_least=0.01)
    durability: str = parameter(
        "process",
        "what saved records survive: process (its end, kill -9: the kernel has them), power (its loss: the disk does)",
        choices=("process", "power"),
    )
    max_segment_bytes: int = parameter(0, "size at which the next file of topics begins; 0: never [bytes]", at_least=0)
    max_segment_s: float = parameter(0.0, "age at which the next file of topics begins; 0: never [s]", at_least=0.0)
    min_free_bytes: int = parameter(
        0, "recording stops while less is free on the disk; 0: it stops when the disk is full [bytes]", at_least=0
    )
    compression: str = parameter(
        "none",
        "of closed files of topics: none, zstd (the last stays as it is, so that the end takes no time)",
        choices=("none", "zstd"),
    )
    keep_image: bool = parameter(
        True, "keep the first image of a topic `annotated` beside the run, in annotated.jpg; `exclude` is respected"
    )
    tegrastats_command: str = parameter(DEFAULT_COMMAND, "what prints a Jetson's figures; empty: nothing")
    tegrastats_log: bool = parameter(False, "keep its raw lines beside the run, in tegrastats.log")
    queue_size: int = parameter(10_000, "records that may wait for the disk; more are dropped", at_least=1)
    queue_bytes: int = parameter(64 << 20, "bytes that may wait for the disk; more are dropped", at_least=1)
