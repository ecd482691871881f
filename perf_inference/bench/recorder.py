"""The recorder without ROS: how long its end takes, what hand-over costs, how many messages a second it writes.

Each comparison is interleaved within one run. Times are wall-clock times of `time.perf_counter_ns`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import orjson
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter

from perf_inference.bench.results.printed import keep
from perf_inference.quantities import positive
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.versions import builtin_definition
from perf_inference.recording.jsonl.segment import Channel
from perf_inference.recording.message import BagMessage, Topic
from perf_inference.recording.recorder.segments import Segments
from perf_inference.recording.recorder.session import Session
from perf_inference.recording.recorder.summary import Summary
from perf_inference.recording.recorder.writer import Writer

COUNTS = (100, 500, 1000, 100_000)
INTERVALS = (1, 5, 10, 20)
JOINTS = 7
ROUND = 20_000
_TYPE = "sensor_msgs/msg/JointState"
_T0_NS = 1_700_000_000_000_000_000
_BURST = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    parser.add_argument("--rounds", type=positive, default=5, help="interleaved rounds of messages per second (5)")
    parser.add_argument(
        "--records", type=positive, default=1_000_000, help="the long run of the table of ends (1000000)"
    )
    parser.add_argument("--directory", type=Path, help="where to write (default: a temporary directory)")


def run(options: argparse.Namespace) -> int:
    """Print the tables."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}")
    with TemporaryDirectory(dir=options.directory) as folder:
        print_ends(Path(folder))
        print_growth(Path(folder), options.records)
        print_hand_over(Path(folder))
        print_rates(Path(folder), options.rounds)
    return 0


def joint_state(number: int) -> bytes:
    """Return the CDR of a JointState of 7 named joints with position, velocity and effort."""
    stamp_ns = _T0_NS + number * 1_000_000
    data = bytearray(struct.pack("<4xiI", *divmod(stamp_ns, 1_000_000_000)))
    data[0:4] = b"\x00\x01\x00\x00"
    _add_text(data, "base_link")
    _align(data, 4)
    data += struct.pack("<I", JOINTS)
    for joint in range(JOINTS):
        _align(data, 4)
        _add_text(data, f"panda_joint{joint + 1}")
    for offset in (0.0, 1.0, 2.0):
        _align(data, 4)
        data += struct.pack("<I", JOINTS)
        _align(data, 8)
        data += struct.pack(f"<{JOINTS}d", *(np.sin(offset + number * 0.01 + np.arange(JOINTS)).tolist()))
    return bytes(data)


def channel() -> Channel:
    """Return how such messages are recorded."""
    definition = builtin_definition(_TYPE)
    assert definition is not None
    return Channel(Topic("/joint_states", _TYPE, definition=definition), Codec(definition))


def timing(seq: int) -> dict[str, Any]:
    """Return a record of one inference."""
    record: dict[str, Any] = {"node": "policy_node", "engine": "policy", "precision": "fp32", "device": "cpu"}
    record |= {"seq": seq, "stamp_ns": _T0_NS + seq, "received_ns": _T0_NS + seq, "arrived_ns": seq * 1_000_000}
    stages = ("queue", "decode", "preprocess", "infer", "postprocess", "publish", "total", "latency")
    return record | {f"{stage}_ms": 1.0 + (seq * 7919 % 1000) / 1000 for stage in stages} | {"dropped_before": 0}


class Run:
    """A run's directory and all that writes into it, as in recorder_node."""

    def __init__(self, folder: Path, save_every: int = 10, queue_size: int = 10_000) -> None:
        session = Session(str(folder), "bench", "", {})
        self.writer = Writer(save_every, queue_size=queue_size)
        self.segments = Segments(self.writer, session.next_topics, session.about)
        self.summary = Summary()
        self._session = session
        self._timings = self.writer.open(session.timings)

    def add_timing(self, record: dict[str, Any]) -> None:
        """Write a timing (on the writer's thread)."""
        if self.summary.timing(record):
            self.writer.add(self._timings, orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))

    def wait(self) -> None:
        """Wait until all but what waits for its interval is saved."""
        while self.writer.counts().waiting >= 20:
            time.sleep(0.001)

    def close(self) -> int:
        """End as recorder_node does; return how long it took [ns]."""
        start = time.perf_counter_ns()
        self.writer.close(self.segments.close)
        self._session.summary.write_bytes(orjson.dumps(self.summary.as_dict()))
        return time.perf_counter_ns() - start


def print_ends(folder: Path) -> None:
    """Print how long the end takes, for each count and save interval, beside one batch `json.dump`."""
    print("\nthe end of a run of timings [ms]: recorder, by save interval (records); batch: one json.dump at the end")
    print(f"{'records':>10}" + "".join(f"{f'every {n}':>12}" for n in INTERVALS) + f"{'batch':>12}")
    for count in COUNTS:
        row = [_end_ms(folder, count, interval) for interval in INTERVALS] + [_batch_end_ms(folder, count)]
        print(f"{count:>10}" + "".join(f"{value:>12.2f}" for value in row), flush=True)
    print("lost by kill -9: at most what the interval has not saved yet; batch: everything")


def _end_ms(folder: Path, count: int, interval: int) -> float:
    bench = Run(folder / f"{count}_{interval}", interval)
    for seq in range(count):
        while not bench.writer.put(bench.add_timing, timing(seq)):
            time.sleep(0.001)
    bench.wait()
    return bench.close() / 1e6


def _batch_end_ms(folder: Path, count: int) -> float:
    records = [timing(seq) for seq in range(count)]
    start = time.perf_counter_ns()
    with open(folder / f"batch_{count}.json", "w", encoding="utf-8") as file:
        json.dump(records, file)
    return (time.perf_counter_ns() - start) / 1e6


def print_growth(folder: Path, records: int) -> None:
    """Print end and memory of a short and a long run of timings and messages, each in a process of its own."""
    print(f"\n{'records':>10}{'end [ms]':>12}{'peak memory [MB]':>18}")
    peaks = []
    for count in (100, 10_000, records):
        command = [
            sys.executable,
            "-c",
            f"from perf_inference.bench.recorder import grow; grow({str(folder)!r}, {count})",
        ]
        end_ns, peak_kb = map(int, subprocess.run(command, check=True, capture_output=True).stdout.split())
        peaks.append(peak_kb * 1024 / 1e6)
        print(f"{count:>10}{end_ns / 1e6:>12.2f}{peaks[-1]:>18.1f}", flush=True)
    print(f"memory grows by {peaks[-1] - peaks[-2]:.1f} MB from 10000 to {records} records")


def grow(folder: str, count: int) -> None:
    """Record `count` records, half of them timings; print how long the end took [ns] and the peak memory [kB]."""
    bench = Run(Path(folder) / f"grow_{count}", queue_size=1000)
    how = channel()
    for seq in range(1, count // 2 + 1):
        data = joint_state(seq % 1000)
        message = BagMessage(_T0_NS + seq, "/joint_states", _TYPE, data)
        while not bench.writer.put(bench.segments.message, how, seq, message, size_bytes=len(data)):
            time.sleep(0.0005)
        while not bench.writer.put(bench.add_timing, timing(seq)):
            time.sleep(0.0005)
    bench.wait()
    end_ns = bench.close()
    status = Path("/proc/self/status").read_text()  # getrusage's peak begins with that of the parent
    print(end_ns, *re.findall(r"VmHWM:\s*(\d+) kB", status))


def print_hand_over(folder: Path) -> None:
    """Print what handing over a message costs the ROS thread, while the writer's thread writes."""
    bench, how, data = Run(folder / "hand_over"), channel(), joint_state(1)
    message = BagMessage(_T0_NS, "/joint_states", _TYPE, data)
    put, clock = bench.writer.put, time.perf_counter_ns
    taken: list[int] = []
    for seq in range(ROUND):
        start = clock()
        put(bench.segments.message, how, seq, message, size_bytes=len(data))
        taken.append(clock() - start)
        if seq % _BURST == 0:  # as they come out of a reader that is emptied now and then
            time.sleep(0.0005)
    bench.close()
    keep("hand-over of a message", (ns / 1e3 for ns in taken), "us")
    p50, p99 = np.percentile(taken, (50, 99)) / 1e3
    print(
        f"\nhand-over of a message: p50 {p50:.2f} us, p99 {p99:.2f} us, max {max(taken) / 1e3:.0f} us, n {len(taken)}"
    )


def print_rates(folder: Path, rounds: int) -> None:
    """Print messages per second on one core, decoded and undecoded."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        datas = [joint_state(number) for number in range(ROUND)]
        how = channel()
        rates: dict[str, list[float]] = {"recorder": [], "mcap, undecoded": [], "mcap, undecoded, zstd": []}
        for number in range(rounds):
            rates["recorder"].append(_recorder_rate(folder / f"rate_{number}", how, datas))
            path = folder / f"rate_{number}.mcap"
            rates["mcap, undecoded"].append(_mcap_rate(path, datas, CompressionType.NONE))
            rates["mcap, undecoded, zstd"].append(_mcap_rate(path, datas, CompressionType.ZSTD))
    finally:
        os.sched_setaffinity(0, cores)
    print(f"\n{JOINTS}-joint JointState, messages/s on one core, {rounds} interleaved rounds of {ROUND}")
    print(f"{'':<24}{'min':>10}{'median':>10}{'max':>10}")
    for name, values in rates.items():
        keep(name, values, "messages/s")
        print(f"{name:<24}{min(values):>10.0f}{np.median(values):>10.0f}{max(values):>10.0f}")


def _recorder_rate(folder: Path, how: Channel, datas: Sequence[bytes]) -> float:
    """Return messages per second from hand-over to the kernel, all threads on this core."""
    bench = Run(folder, queue_size=1000)
    start = time.perf_counter_ns()
    for seq, data in enumerate(datas, 1):
        message = BagMessage(_T0_NS + seq, "/joint_states", _TYPE, data, _T0_NS + seq - 1000, seq)
        while not bench.writer.put(bench.segments.message, how, seq, message, size_bytes=len(data)):
            time.sleep(0.001)
    bench.writer.close(bench.segments.close)
    return len(datas) / ((time.perf_counter_ns() - start) / 1e9)


def _mcap_rate(path: Path, datas: Sequence[bytes], compression: CompressionType) -> float:
    start = time.perf_counter_ns()
    with open(path, "wb") as stream:
        writer = McapWriter(stream, compression=compression)
        writer.start("ros2")
        schema = writer.register_schema(_TYPE, "ros2msg", b"")
        number = writer.register_channel("/joint_states", "cdr", schema)
        for seq, data in enumerate(datas, 1):
            writer.add_message(number, _T0_NS + seq, data, _T0_NS + seq - 1000, seq)
        writer.finish()
    return len(datas) / ((time.perf_counter_ns() - start) / 1e9)


def _add_text(data: bytearray, text: str) -> None:
    data += struct.pack("<I", len(text) + 1) + text.encode() + b"\x00"


def _align(data: bytearray, size: int) -> None:
    data += bytes(-(len(data) - 4) % size)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m perf_inference.bench.recorder", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
