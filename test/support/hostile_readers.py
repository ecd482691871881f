"""The readers, each with one mutated input; what they refuse they refuse in an error of the package's own."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import zstandard

from perf_inference.bringup.robot import read_graph
from perf_inference.commands.analyze.text import run_text, segment_text
from perf_inference.commands.recover import report as recover_report
from perf_inference.engines.onnx.file import read_onnx_file
from perf_inference.engines.onnx.metadata import read_metadata as read_onnx_metadata
from perf_inference.errors import InputError, PerfInferenceError
from perf_inference.files.images import decode_image, read_image
from perf_inference.measure.heartbeat import Heartbeat
from perf_inference.recording.analysis.analysis import RunAnalysis
from perf_inference.recording.analysis.open import open_recording
from perf_inference.recording.bags.metadata import Contents, file_text, read_metadata
from perf_inference.recording.bags.target import target_of
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.cdr.versions import builtin_definition
from perf_inference.recording.convert import convert
from perf_inference.recording.message import Topic
from perf_inference.recording.open import Bag, open_damaged, open_source
from perf_inference.recording.recorder.summary import Summary
from perf_inference.recording.recovery.recovery import read as recovered
from perf_inference.report.report import report as html_report
from perf_inference.telemetry.tegrastats import parse
from support import hostile_mutations as mutations
from support import hostile_seeds

MOST_MESSAGES = 20_000
Reader = Callable[[random.Random, list[bytes], Path], None]


def read_bag(folder: Path, chance: random.Random) -> None:
    """Read a recording in all ways: in the order of the file, in that of time, into another file."""
    _all(*(partial(read, folder, chance) for read in (_stored, _played)))
    if chance.random() < 0.2:
        _converted(folder, chance)


def _all(*reads: Callable[[], None]) -> None:
    """Read in all ways; raise the first refusal."""
    refusals = [error for read in reads if (error := _refusal(read)) is not None]
    if refusals:
        raise refusals[0]


def _refusal(read: Callable[[], None]) -> PerfInferenceError | None:
    try:
        read()
    except PerfInferenceError as error:
        return error
    return None


def _stored(folder: Path, chance: random.Random) -> None:
    files, _ = open_damaged(folder)
    for file in files:
        with closing(file), suppress(PerfInferenceError):
            for message in islice(file.stored(), MOST_MESSAGES):
                assert isinstance(message.data, bytes | memoryview), message
                assert type(message.t_ns) is int, message
        with suppress(AttributeError):
            file.problems()


def _played(folder: Path, chance: random.Random) -> None:
    bag = open_source(folder)
    if isinstance(bag, Bag):
        with closing(bag):
            bag.problems()
            for message in islice(bag.messages(), MOST_MESSAGES):
                assert type(message.t_ns) is int, message


def _converted(folder: Path, chance: random.Random) -> None:
    target = target_of(folder.parent / f"out{chance.choice(('.jsonl', '.mcap', '.db3', ''))}")
    try:
        convert(folder, target)
    finally:
        assert not list(folder.parent.glob("*.part"))
        shutil.rmtree(target.path, ignore_errors=True) if target.folder else target.path.unlink(missing_ok=True)


def mcap(chance: random.Random, seeds: list[bytes], folder: Path) -> None:
    data = mutations.mutated(chance, _one(chance, seeds), chance.choice(seeds))
    if chance.random() < 0.05:
        data = _mcap_bomb(chance)
    _read_file(chance, folder, "a.mcap", data)


def _mcap_bomb(chance: random.Random) -> bytes:
    """Return an MCAP whose chunk unpacks to more than it may."""
    from mcap.records import Chunk
    from mcap.writer import RecordBuilder

    builder = RecordBuilder()
    bomb = mutations.zstd_bomb(chance.choice((1, 64, 400)))
    said = chance.choice((0, 1 << 20, 1 << 40, (1 << 64) - 1))
    Chunk(compression=chance.choice(("zstd", "lz4", "")), data=bomb, message_start_time=0, message_end_time=1,
          uncompressed_crc=0,
          uncompressed_size=said).write(builder)  # fmt: skip
    return b"\x89MCAP0\r\n" + b"\x01\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" + builder.end() + b"\x89MCAP0\r\n"


def db3(chance: random.Random, seeds: list[bytes], folder: Path) -> None:
    data = _one(chance, seeds)
    if chance.random() < 0.5:
        path = folder.parent / "made.db3"
        path.write_bytes(data)
        mutations.database(chance, path)
        data = path.read_bytes()
        if chance.random() < 0.7:
            return _read_file(chance, folder, "a.db3", data)
    data = mutations.mutated(chance, data, chance.choice(seeds))
    if chance.random() < 0.1:
        name = chance.choice(("a.db3-wal", "a.db3-journal"))
        (folder / name).write_bytes(mutations.mutated(chance, b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" * 40, data))
    return _read_file(chance, folder, "a.db3", data)


def packed(chance: random.Random, seeds: list[bytes], folder: Path) -> None:
    """Read what is within zstd: bags as a whole, segments, single messages."""
    if chance.random() < 0.05:
        data = mutations.zstd_bomb(
            chance.choice((1, 32, 300)), chance.choice((bytes(1 << 20), b"a" * (1 << 20), b"{\n" * (1 << 19)))
        )
    else:
        data = zstandard.ZstdCompressor().compress(mutations.mutated(chance, _one(chance, seeds)))
        data = mutations.mutated(chance, data) if chance.random() < 0.5 else data
    _read_file(chance, folder, chance.choice(("a.mcap.zstd", "a.db3.zstd", "topics_1.jsonl.zst")), data)


def jsonl(chance: random.Random, seeds: list[bytes], folder: Path) -> None:
    text = _one(chance, seeds)
    kind = chance.random()
    if kind < 0.65:
        text = mutations.json_lines(chance, text, seal=kind < 0.55)
    if kind > 0.55:
        text = mutations.mutated(chance, text)
    path = folder / "topics_1.jsonl"
    path.write_bytes(text)
    if chance.random() < 0.2:
        (folder / "topics_2.jsonl").write_bytes(mutations.json_lines(chance, seeds[0], seal=True))
    _all(partial(read_bag, folder, chance), partial(_analyse, path), partial(_recover, folder, chance))


def timings(chance: random.Random, seeds: list[bytes], folder: Path) -> None:
    kind = chance.random()
    text = (
        mutations.json_lines(chance, _one(chance, seeds), seal=False)
        if kind < 0.7
        else mutations.mutated(chance, _one(chance, seeds))
    )
    path = folder / "performance_timings_1.jsonl"
    path.write_bytes(text)
    session = {"start_time": "20260101_000000", "host": {"hostname": "a", "cores": 2},
               "counts": {"records": 3, "last_error": ""},
               "software": {"numpy": "2"}, "parameters": {"a": 1}, "gpu": None}  # fmt: skip
    ledger = {"image": {"received": 3, "lost_before": 1, "residual": 0}}
    machine = {"cpu_mhz": {"mean": 1.0}, "power_w": 3.0, "temperature_degc": 50.0}
    summary = {"nodes": {"policy_node": {"counted": 20, "ledger": ledger, "machine": machine}}}
    for name, content in (("session.json", session), ("performance_summary_1.json", summary)):
        if chance.random() < 0.7:
            (folder / name).write_bytes(orjson.dumps(mutations.changed(chance, content)))
    (folder / "topics_1.jsonl").write_bytes(mutations.json_lines(chance, seeds[-1], seal=True))
    Summary().restore(path)
    _all(partial(_analyse, folder), partial(_recover, folder, chance))


def _analyse(path: Path) -> None:
    reader = open_recording(path)
    while reader.poll():
        pass
    reader.finish()
    result = reader.result()
    orjson.dumps(result.as_dict(), option=orjson.OPT_INDENT_2)
    if isinstance(result, RunAnalysis):
        run_text(result)
        html_report(result).encode("utf-8", "replace")
    else:
        segment_text(result)


def _recover(folder: Path, chance: random.Random) -> None:
    found = recovered(folder)
    "\n".join(recover_report(found)).encode("utf-8", "replace")
    out = folder.parent / "recovered"
    try:
        found.write(out)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def metadata_yaml(chance: random.Random, seeds: list[bytes], folder: Path) -> None:
    text = mutations.yaml_text(chance, _one(chance, seeds).decode())
    (folder / "metadata.yaml").write_bytes(text)
    about = read_metadata(folder)
    assert about is not None
    assert about.problem.isprintable(), about.problem
    contents = Contents("mcap", "a.mcap", about)
    topics = [about.completed(Topic(*key)) for key in about.topics]
    file_text(contents.as_dict(topics))
    if about.problem:
        raise InputError(about.problem)


def robot_yaml(chance: random.Random, seeds: list[bytes], folder: Path) -> None:
    path = folder / "robot.yaml"
    path.write_bytes(mutations.yaml_text(chance, _one(chance, seeds).decode()))
    said = [f"yolo_node.rate={chance.choice(mutations.YAML_BITS)}"] if chance.random() < 0.1 else []
    graph = read_graph(path, sim=chance.random() < 0.5, record=False, assignments=said, namespace="robot")
    for node in graph.nodes:
        assert all("\0" not in word for word in graph.command(node))
    graph.container_command()
    graph.close()


def onnx(chance: random.Random, seeds: list[bytes], folder: Path) -> None:
    from perf_inference.engines import Options, load

    path = folder / "a.onnx"
    path.write_bytes(mutations.mutated(chance, chance.choice(seeds)))
    read_onnx_file(path)
    read_onnx_metadata(path)
    load(str(path), "onnx", Options(threads=1, device="cpu")).close()


CODECS = {kind: Codec(definition) for kind in hostile_seeds.TYPES if (definition := builtin_definition(kind))}


def cdr(chance: random.Random, seeds: list[bytes], folder: Path) -> None:
    message = chance.choice(MESSAGES)
    codec = CODECS[message.type]
    if chance.random() < 0.1:
        definition = builtin_definition(message.type)
        assert definition is not None
        text = mutations.mutated(chance, definition.text.encode()).decode("utf-8", "replace")
        codec = Codec(Definition(message.type, definition.encoding, text))
    data = mutations.mutated(chance, message.data)
    codec.stamp_ns(data)
    try:
        fields = codec.decode(data).message
    except InputError:
        fields = CODECS[message.type].decode(message.data).message
    fields = mutations.changed(chance, orjson.loads(orjson.dumps(fields)))
    if isinstance(fields, dict):
        codec.encode(fields)


MESSAGES = hostile_seeds.messages()


def tegrastats(chance: random.Random, seeds: list[bytes], folder: Path) -> None:
    line = mutations.mutated(chance, chance.choice(seeds), chance.choice(seeds)).decode("utf-8", "replace")
    if parse(line) is None:
        raise InputError("no sample")


def heartbeats(chance: random.Random, seeds: list[bytes], folder: Path) -> None:
    values = mutations.changed(chance, hostile_seeds.heartbeat())
    if chance.random() < 0.3:
        values = mutations.changed(chance, values)
    pairs = values.items() if isinstance(values, dict) else ()
    texts = {str(key): one if isinstance(one, str) else orjson.dumps(one).decode() for key, one in pairs}
    summary = Summary()
    try:
        for _ in range(2):
            summary.heartbeat("policy_node", "host/1", Heartbeat.of(_scalars(texts)))
    finally:
        orjson.dumps(summary.as_dict())
    _watch(texts)


def _scalars(texts: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, text in texts.items():
        found[key] = text
        with suppress(orjson.JSONDecodeError):
            read = orjson.loads(text)
            found[key] = read if isinstance(read, int | float | None) else text
    return found


def _watch(texts: dict[str, str]) -> None:
    """Let the monitor judge the heartbeat, where there is a ROS."""
    try:
        from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
    except ImportError:
        return
    from perf_inference.nodes.monitor.watched_node import WatchedNode
    from perf_inference.nodes.monitor_node import MonitorParameters
    from perf_inference.nodes.reports.heard import check_heartbeat

    pairs = [KeyValue(key=_ros(key), value=_ros(text)) for key, text in texts.items()]
    message = DiagnosticStatus(name="policy_node", hardware_id="host/1", values=pairs)
    check_heartbeat(message)
    watched = WatchedNode("policy_node", MonitorParameters().of_nodes())
    for now_s in (1.0, 2.0, 30.0):
        watched.heard(message, now_s)
        watched.statuses(now_s)


def _ros(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def images(chance: random.Random, seeds: list[bytes], folder: Path) -> None:
    data = _one(chance, seeds, own=6)
    kind = chance.random()
    if data.startswith(b"\x89PNG") and kind < 0.6:
        data = mutations.png(chance, data)
    elif kind < 0.9:
        data = mutations.mutated(chance, data, chance.choice(seeds))
    if kind < 0.8:
        decode_image(data)
    else:
        path = folder / "a.png"
        path.write_bytes(data)
        read_image(path, bmp=True)


def _one(chance: random.Random, seeds: list[bytes], own: int = 2) -> bytes:
    """Return a good input: mostly a small one of the tests' own."""
    return chance.choice(seeds[:own] if chance.random() < 0.8 else seeds)


def _read_file(chance: random.Random, folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)
    if chance.random() < 0.1:
        (folder / chance.choice(("²", "a_²", "topics_²", "b³.db3", "10²"))).touch()
    read_bag(folder, chance)


READERS: dict[str, Reader] = {
    "mcap": mcap,
    "db3": db3,
    "packed": packed,
    "jsonl": jsonl,
    "timings": timings,
    "metadata.yaml": metadata_yaml,
    "robot.yaml": robot_yaml,
    "onnx": onnx,
    "cdr": cdr,
    "tegrastats": tegrastats,
    "heartbeats": heartbeats,
    "images": images,
}
SEEDS_OF = {"packed": ("mcap", "db3", "jsonl"), "timings": ("timings", "jsonl")}


def seeds_of(reader: str, seeds: dict[str, list[bytes]]) -> list[bytes]:
    """Return the good inputs that a reader's are made of."""
    return [one for name in SEEDS_OF.get(reader, (reader,)) for one in seeds.get(name, [])]


def run(reader: str, seeds: list[bytes], chance: random.Random, scratch: Path) -> str:
    """Give a reader one input; return `read`, or `refused`."""
    folder = scratch / "input"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    refusal = _refusal(partial(READERS[reader], chance, seeds, folder))
    assert refusal is None or str(refusal), "a refusal must say why"
    return "read" if refusal is None else "refused"
