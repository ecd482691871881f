"""Files of a run, made by hand: timings, and diagnostics as a recorder would have them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import zstandard

from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.versions import builtin_definition
from perf_inference.recording.jsonl.segment import Channel, Segment
from perf_inference.recording.message import BagMessage, Topic

MS = 1_000_000
T0 = 1_700_000_000_000_000_000
NAME = "performance_timings_20260102_030405.jsonl"


def timing(seq: int, t_ms: float, node: str = "policy_node", **more: Any) -> dict[str, Any]:
    t_ns = round(t_ms * MS)
    return {
        "node": node, "engine": "policy", "precision": "fp32", "device": "cpu", "seq": seq,
        "received_ns": T0 + t_ns, "arrived_ns": 5_000 * MS + t_ns, "dropped_before": 0, "warmup": False, **more,
    }  # fmt: skip


def write(path: Path, records: Iterable[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    return path


def append(path: Path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def diagnostics(cpu_mhz: object, gpu_degc: object, host: str = "orin") -> dict[str, Any]:
    def status(part: str, hardware_id: str, **values: object) -> dict[str, Any]:
        pairs = [{"key": key, "value": str(value)} for key, value in values.items()]
        return {"level": 0, "name": f"monitor_node: robot/monitor_node/{part}", "message": "",
                "hardware_id": hardware_id, "values": pairs}  # fmt: skip

    return {
        "header": {"stamp": {"sec": 0, "nanosec": 0}, "frame_id": ""},
        "status": [
            status("platform", host, cpu_mhz=cpu_mhz, temperature_degc="null", gpu_gpc0_mhz=900, governor="x"),
            status("gpu0", "GPU-1", temperature_degc=gpu_degc, sm_mhz="nan"),
            status("image", host, cpu_mhz=7),
        ],
    }


def write_diagnostics(path: Path, form: str) -> None:
    messages = [(200, diagnostics(2200, 50)), (700, diagnostics(1500, 51.5)), (1200, diagnostics("null", 52))]
    name = "diagnostic_msgs/msg/DiagnosticArray"
    definition = builtin_definition(name)
    assert definition is not None
    if form == "old":
        write(path, [{"seq": n, "t": T0 + t * MS, "topic": "/diagnostics", "type": name, "stamp": None, "message": m}
                     for n, (t, m) in enumerate(messages)])  # fmt: skip
        return
    codec = Codec(definition)
    channel = Channel(Topic("/diagnostics", name, definition=definition), codec, nested=form == "nested")
    made = Segment("s", 1, 1, {})
    lines = [made.header()]
    for n, (t_ms, fields) in enumerate(messages):
        lines.append(
            made.message(channel, n + 1, BagMessage(T0 + t_ms * MS, "/diagnostics", name, codec.encode(fields)))
        )
    data = b"".join([*lines, made.footer()])
    path.write_bytes(data)
    if form == "packed":
        path.with_name(f"{path.name}.zst").write_bytes(zstandard.ZstdCompressor().compress(data))
        path.unlink()


def assert_agrees(run: dict[str, Any], expected: dict[str, Any]) -> None:
    """Every figure of the summary file is among the run's, and equal."""
    for key in ("total_actions", "elapsed_s", "average_hz"):
        assert run[key] == expected[key], key
    assert run["nodes"].keys() == expected["nodes"].keys()
    for name, node in expected["nodes"].items():
        mine = run["nodes"][name]
        assert {key: mine[key] for key in ("inferences", "hz", "warmup", "ledger", "machine")} == {
            key: node[key] for key in ("inferences", "hz", "warmup", "ledger", "machine")
        } or node["machine"] is None
        for key in ("latency_ms", "due_latency_ms", "dropped_age_ms"):
            assert node[key].items() <= mine[key].items(), (name, key)
        for stage, figures in node["stages_ms"].items():
            assert figures.items() <= mine["stages_ms"][stage].items(), (name, stage)
