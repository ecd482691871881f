"""Good inputs to begin with: real ones where they are there, and such as the tests make themselves."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
import pytest
from mcap.writer import CompressionType, Writer
from rosbags.typesys import Stores, get_typestore

import perf_inference
from perf_inference.bringup.robot import default_config
from perf_inference.recording.bags.bag_writer import open_writer
from perf_inference.recording.bags.metadata import Contents, Metadata, file_text
from perf_inference.recording.cdr.versions import builtin_definition
from perf_inference.recording.message import BagMessage, Topic
from perf_inference.recording.qos import Qos

MODELS = Path(perf_inference.__file__).parent / "models"
FLOAT = 1  # TensorProto's
STORE = get_typestore(Stores.ROS2_HUMBLE)
TYPES = ("std_msgs/msg/String", "sensor_msgs/msg/JointState", "diagnostic_msgs/msg/DiagnosticArray",
         "trajectory_msgs/msg/JointTrajectory", "sensor_msgs/msg/Imu")  # fmt: skip
MOST_BYTES = 2_000_000  # of a real file


def messages() -> list[BagMessage]:
    """Return messages of several types, in CDR."""
    types = STORE.types
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](1, 2), "base")
    values, nine = np.arange(3, dtype=np.float64), np.zeros(9)
    pair, status = types["diagnostic_msgs/msg/KeyValue"], types["diagnostic_msgs/msg/DiagnosticStatus"]
    statuses = [status(0, "monitor_node: m/host", "ok", "host", [pair("cpu_pct", "12.5")])]
    after = types["builtin_interfaces/msg/Duration"](1, 2)
    point = types["trajectory_msgs/msg/JointTrajectoryPoint"](values, values, values, values, after)
    vector, turn = types["geometry_msgs/msg/Vector3"](1, 2, 3), types["geometry_msgs/msg/Quaternion"](0, 0, 0, 1)
    made: tuple[Any, ...] = (
        types[TYPES[0]]("a text"),
        types[TYPES[1]](header, ["a", "b", "c"], values, values, values),
        types[TYPES[2]](header, statuses),
        types[TYPES[3]](header, ["a", "b", "c"], [point]),
        types[TYPES[4]](header, turn, nine, vector, nine, vector, nine),
    )
    names = ("/text", "/joints", "/diagnostics", "/path", "/imu")
    return [
        BagMessage(n * 10, name, kind, bytes(STORE.serialize_cdr(one, kind)), n * 10 - 1, n)
        for n in range(1, 7)
        for name, kind, one in zip(names, TYPES, made, strict=True)
    ]


def heartbeat() -> dict[str, str]:
    """Return the keys and values of an engine node's heartbeat."""
    return {
        "engine": "policy", "device": "cpu", "driven_by": "image", "inferences": "17", "rate_hz": "9.9",
        "expected_hz": "10", "deadline_ms": "100.0", "deadline_misses": "3", "deadlines": "17", "directory": "runs",
        "input.image.topic": "/image", "input.image.expected_hz": "30.0", "input.image.rate_hz": "29.5",
        "image_age_s": "0.03", "ledger.image.received": "20", "ledger.image.processed": "17",
        "ledger.image.replaced": "2", "ledger.image.lost_before": "null", "ledger.image.residual": "0",
        "ledger.image.rejected": "1", "ledger.image.failed": "0",
    }  # fmt: skip


def make(folder: Path, data: Path | None) -> dict[str, list[bytes]]:
    """Return good inputs by reader.

    Args:
        folder: where files are made meanwhile.
        data: where real ones are; None: nowhere.
    """
    seeds = {
        "mcap": [_recording(folder, ".mcap"), _plain_mcap(folder / "plain.mcap")],
        "db3": [_recording(folder, ".db3")],
        "jsonl": [_recording(folder, ".jsonl")],
        "timings": [_timings()],
        "metadata.yaml": [(folder / "metadata.yaml").read_bytes()],
        "robot.yaml": [default_config().read_bytes()],
        "onnx": [_small_onnx(), (MODELS / "policy.onnx").read_bytes()],
        "images": _images(),
        "tegrastats": [
            b"RAM 2448/7772MB (lfb 1x4MB) SWAP 0/3886MB CPU [12%@1420,0%@1420,off] EMC_FREQ 3%@1600 GR3D_FREQ 0%@76 "
            b"VDD_IN 3000mW/3000mW CPU@40C GPU@38.5C"
        ],
    }
    if data is not None:
        _add_real(seeds, data)
    return seeds


def chance_of(seed: str, reader: str, index: int) -> random.Random:
    """Return the random numbers of one input, always the same."""
    return random.Random(f"{seed}/{reader}/{index}")


def _timings() -> bytes:
    """Return a file of timings of two nodes."""
    lines = []
    for seq in range(1, 15):
        for node in ("policy_node", "yolo_node"):
            record: dict[str, Any] = {
                "node": node, "engine": "onnx", "precision": "fp32", "device": "cpu", "seq": seq,
                "stamp_ns": seq * 10**8, "due_ns": None, "received_ns": seq * 10**8 + 5, "arrived_ns": seq * 10**8,
                "queue_ms": 0.1, "infer_ms": 2.5, "total_ms": 3.0, "latency_ms": 4.0, "dropped_before": seq % 3,
                "warmup": seq == 1,
            }  # fmt: skip
            lines.append(orjson.dumps(record | ({"robot_fill": 1} if node == "policy_node" else {})))
    return b"\n".join(lines) + b"\n"


def _recording(folder: Path, suffix: str) -> bytes:
    storage = {".mcap": "mcap", ".db3": "sqlite3", ".jsonl": "jsonl"}[suffix]
    path = folder / f"seed{suffix}"
    path.unlink(missing_ok=True)
    topics = {
        (one.topic, one.type): Topic(one.topic, one.type, qos=(Qos(depth=3),), definition=builtin_definition(one.type))
        for one in messages()
    }
    writer, contents = open_writer(path, storage), Contents(storage, path.name, Metadata())
    for topic in topics.values():
        writer.add(topic)
    for message in messages():
        contents.count(message)
        writer.write(topics[message.topic, message.type], message)
    about = contents.as_dict(topics.values())
    writer.close(about)
    (folder / "metadata.yaml").write_text(file_text(about))
    return path.read_bytes()


def _plain_mcap(path: Path) -> bytes:
    """Return an MCAP without compression and checksums, so that a change is seen by the parser."""
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=600, compression=CompressionType.NONE, enable_crcs=False)
        writer.start(profile="ros2")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        channel = writer.register_channel("/text", "cdr", schema, {"offered_qos_profiles": "- depth: 3"})
        for n in range(30):
            writer.add_message(channel, n, messages()[0].data, n, n)
        writer.finish()
    return path.read_bytes()


def _images() -> list[bytes]:
    smooth = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8), (64, 48))
    progressive, restarts = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
    kinds = ((".jpg", ()), (".jpg", progressive), (".jpg", restarts), (".png", ()), (".bmp", ()))
    wide = bytes(cv2.imencode(".png", smooth.astype(np.uint16) * 257)[1])
    return [*(bytes(cv2.imencode(kind, smooth, options)[1]) for kind, options in kinds), wide]


def _small_onnx() -> bytes:
    """Return a model of two operators, with metadata."""
    helper = pytest.importorskip("onnx.helper")
    values = [helper.make_tensor_value_info(name, FLOAT, ["n", 3]) for name in "xy"]
    weights = helper.make_tensor("w", FLOAT, [3, 3], [float(n) for n in range(9)])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Relu", ["z"], ["y"])]
    graph = helper.make_graph(nodes, "small", values[:1], values[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"task": "policy", "vocabulary": '["a"]'})
    return bytes(model.SerializeToString())


def _add_real(seeds: dict[str, list[bytes]], data: Path) -> None:
    for path in sorted((data / "bags").rglob("*")):
        if path.suffix in (".mcap", ".db3") and path.stat().st_size <= MOST_BYTES:
            seeds[path.suffix[1:]].append(path.read_bytes())
        elif path.name == "metadata.yaml":
            seeds["metadata.yaml"].append(path.read_bytes())
    seeds["images"] += [path.read_bytes() for path in sorted((data / "vision").glob("*.jpg"))]
    lines = (data / "tegrastats" / "lines.jsonl").read_text(encoding="utf-8").splitlines()
    seeds["tegrastats"] += [str(json.loads(line)["line"]).encode() for line in lines]
