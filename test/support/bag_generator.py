"""Makes bags of all sorts, without the writers of the package: what each holds is known beforehand."""

from __future__ import annotations

import random
import sqlite3
import struct
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
import zstandard
from mcap.writer import CompressionType, IndexType, Writer

TIMES = {"mcap": (0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1), "sqlite3": (-(1 << 63), -1, 0, (1 << 63) - 1)}
T0 = 1_700_000_000_000_000_000
_SEPARATOR = b"=" * 80


@dataclass(frozen=True)
class Channel:
    """A topic as a bag describes it."""

    topic: str
    type: str
    encoding: str
    schema: tuple[str, bytes] | None  # encoding, data; None: none
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Recorded:
    """A message that was written."""

    t_ns: int
    channel: Channel
    data: bytes
    publish_ns: int | None = None
    sequence: int | None = None


@dataclass
class GeneratedBag:
    """A bag and what is in it, in the order of its files."""

    path: Path
    messages: list[Recorded]
    notes: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    attachments: list[tuple[str, bytes]] = field(default_factory=list)
    ros_distro: str = ""
    custom_data: dict[str, str] = field(default_factory=dict)
    kind: str = ""


def string(text: str) -> bytes:
    raw = text.encode() + b"\0"
    return b"\0\1\0\0" + struct.pack("<I", len(raw)) + raw


def pair(first: float, second: float) -> bytes:
    return b"\0\1\0\0" + struct.pack("<dd", first, second)


def channels(chance: random.Random, storage: str) -> list[tuple[Channel, Any]]:
    """Return channels, each with what makes its messages' bytes of a number."""
    text = ("ros2msg", b"string data\n")
    event = _SEPARATOR + b"\nSRV: std_srvs/srv/SetBool\nbool data\n---\nbool success\nstring message\n"
    nested = b"Inner[] inner\n" + _SEPARATOR + b"\nMSG: my_msgs/Inner\nint32 n\nfloat64 x\n"
    idl = b"IDL: my_msgs/msg/Wide\nmodule my_msgs { module msg { struct Wide { wchar c; octet o; }; }; };\n"
    made: list[tuple[Channel, Any]] = [
        (Channel("/text", "std_msgs/msg/String", "cdr", text), lambda n: string(f"text {n}")),
        (Channel("/text/more", "std_msgs/msg/String", "cdr", text), lambda n: string("é漢" * (n % 7))),
        (Channel("/odd", "std_msgs/msg/String", "cdr", text), lambda n: string("x")[: 4 + n % 9]),
        (Channel("/spare", "std_msgs/msg/String", "cdr", text), lambda n: string("x") + b"\7" * (n % 3)),
        (Channel("/trigger", "my_msgs/msg/Trigger", "cdr", ("ros2msg", b"")), lambda n: b"\0\1\0\0\0"),
        (Channel("/std", "std_msgs/msg/Empty", "cdr", ("ros2msg", b"")), lambda n: b"\0\1\0\0\0"),
        (Channel("/unknown", "nobody/msg/Knows", "cdr", None), lambda n: b"\0\1\0\0" + bytes([n % 256])),
        (Channel("/nested", "my_msgs/msg/Nested", "cdr", ("ros2msg", nested)),
         lambda n: b"\0\1\0\0\1\0\0\0" + struct.pack("<id", n, n / 3)),
        (Channel("/set/_service_event", "std_srvs/srv/SetBool_Event", "cdr", ("ros2msg", event)),
         lambda n: b"\0\1\0\0" + bytes(40) + struct.pack("<II", 0, 0)),
        (Channel("/wide", "my_msgs/msg/Wide", "cdr", ("ros2idl", b"%b\n%b" % (_SEPARATOR, idl))),
         lambda n: b"\0\1\0\0" + struct.pack("<HB", n % 65536, n % 256)),
        (Channel("/json", "J", "json", ("jsonschema", b'{"type":"object"}')), lambda n: b'{"n":%d}' % n),
    ]  # fmt: skip
    for first in (b"float64 x\nfloat64 y\n", b"float64 y\nfloat64 x\n"):
        order = pair if first.startswith(b"float64 x") else (lambda x, y: pair(y, x))
        made.append((Channel("/two", "my_msgs/msg/Two", "cdr", ("ros2msg", first)), lambda n, order=order: order(1, 2)))
    if storage == "mcap":
        proto = b"\n\xe1\x01\n\xce\x01p" + bytes(range(256))
        made += [
            (Channel("/proto", "P", "protobuf", ("protobuf", proto)), lambda n: bytes([8, n % 128])),
            (Channel("/none", "", "json", None), lambda n: b"[%d]" % n),
            (Channel("/none", "", "msgpack", None), lambda n: bytes([n % 128])),
            (Channel("/about", "std_msgs/msg/String", "cdr", text, (("camera", "front"), ("k", "v"))),
             lambda n: string("a")),
            (Channel("/about", "std_msgs/msg/String", "cdr", text, (("camera", "rear"),)), lambda n: string("b")),
        ]  # fmt: skip
    else:  # one definition a type
        made = [entry for entry in made if entry[0].topic != "/two" or entry[0].schema == made[-1][0].schema]
    return chance.sample(made, chance.randint(1, len(made)))


def messages(chance: random.Random, storage: str, count: int) -> list[Recorded]:
    """Return messages in the order of writing: by time, topic after topic, or any; with times at the limits."""
    known = channels(chance, storage)
    order = chance.choice(("time", "topics", "any", "limits"))
    made = []
    for number in range(count):
        channel, data = chance.choice(known)
        t_ns = T0 + number * 1_000_003
        if order == "limits" and chance.random() < 0.3:
            t_ns = chance.choice(TIMES[storage])
        publish_ns = sequence = None
        if storage == "mcap":
            publish_ns = chance.choice((None, t_ns, max(t_ns - 5, 0))) or None
            sequence = chance.choice((None, number + 1, (1 << 32) - 1))
        made.append(Recorded(t_ns, channel, data(number), publish_ns, sequence))
    if order == "topics":
        made.sort(key=lambda message: message.channel.topic)
    if order == "any":
        chance.shuffle(made)
    return made


def generate(seed: int, folder: Path) -> GeneratedBag:
    """Write the bag of a seed below a folder."""
    chance = random.Random(seed)
    storage = chance.choice(("mcap", "sqlite3"))
    split, packed, alone = chance.choice((1, 1, 2, 4)), chance.random() < 0.3, chance.random() < 0.2
    bag = GeneratedBag(folder / "bag", [], kind=f"{storage}, {split} files{', packed' if packed else ''}")
    bag.path.mkdir()
    suffix = ".mcap" if storage == "mcap" else ".db3"
    for number in range(split):
        found = messages(chance, storage, chance.choice((0, 1, 30, 200) if split > 1 else (1, 30, 200)))
        path = bag.path / f"bag_{number}{suffix}"
        if storage == "mcap":
            write_mcap(chance, path, found, bag)
        else:
            write_sqlite(chance, path, found)
        bag.messages += found
        if packed:
            path.with_name(path.name + ".zstd").write_bytes(zstandard.compress(path.read_bytes()))
            if chance.random() < 0.5:  # `ros2 bag play` leaves the file that it has unpacked
                path.unlink()
    if split == 1 and alone and not packed:
        bag.path = bag.path / f"bag_0{suffix}"
    elif chance.random() < 0.6:
        write_metadata(chance, bag, storage, packed)
    return bag


def write_mcap(chance: random.Random, path: Path, found: list[Recorded], bag: GeneratedBag) -> None:
    options: dict[str, Any] = {
        "compression": chance.choice(list(CompressionType)),
        "chunk_size": chance.choice((300, 5000, 1 << 20)),
    }
    odd = {
        "use_chunking": False,
        "index_types": IndexType.NONE,
        "use_statistics": False,
        "repeat_schemas": False,
        "repeat_channels": False,
        "enable_crcs": False,
        "use_summary_offsets": False,
    }
    options |= {option: value for option, value in odd.items() if chance.random() < 0.2}
    ids: dict[Channel, int] = {}
    schemas: dict[tuple[str, tuple[str, bytes] | None], int] = {}
    with open(path, "wb") as stream:
        writer = Writer(stream, **options)
        writer.start(chance.choice(("ros2", "")))
        extras = chance.random() < 0.3
        if extras:
            note = (f"note of {path.name}", {"serial": "7", "who": "é"})
            writer.add_metadata(*note)
            bag.notes.append(note)
        for number, message in enumerate(found):
            channel = message.channel
            if channel not in ids:
                key = channel.type, channel.schema
                if key not in schemas:
                    encoding, data = channel.schema or ("", b"")
                    schemas[key] = writer.register_schema(channel.type, encoding, data) if channel.type else 0
                ids[channel] = writer.register_channel(
                    channel.topic, channel.encoding, schemas[key], dict(channel.metadata)
                )
            writer.add_message(ids[channel], message.t_ns, message.data, message.publish_ns or 0, message.sequence or 0)
            if extras and number == len(found) // 2:
                attachment = (f"{path.stem}.yaml", chance.randbytes(chance.randint(0, 2000)))
                writer.add_attachment(5, 6, attachment[0], "text/yaml", attachment[1])
                bag.attachments.append(attachment)
        writer.finish()


def write_sqlite(chance: random.Random, path: Path, found: list[Recorded]) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT, "
            "offered_qos_profiles TEXT);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB);"
            "CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT, encoding TEXT, "
            "encoded_message_definition TEXT, type_description_hash TEXT);"
        )
        ids: dict[Channel, int] = {}
        types: set[str] = set()
        for message in found:
            channel = message.channel
            if channel not in ids:
                ids[channel] = len(ids) + 1
                row = (ids[channel], channel.topic, channel.type, channel.encoding, "")
                database.execute("INSERT INTO topics VALUES(?, ?, ?, ?, ?)", row)
                if channel.schema is not None and channel.type not in types:
                    types.add(channel.type)
                    encoding, data = channel.schema
                    database.execute(
                        "INSERT INTO message_definitions VALUES(NULL, ?, ?, ?, '')",
                        (channel.type, encoding, data.decode()),
                    )
            database.execute("INSERT INTO messages VALUES(NULL, ?, ?, ?)", (ids[channel], message.t_ns, message.data))
        database.commit()


def write_metadata(chance: random.Random, bag: GeneratedBag, storage: str, packed: bool) -> None:
    if chance.random() < 0.5:
        bag.ros_distro, bag.custom_data = "jazzy", {"robot": "arm 7", "é": "漢"}
    about = {
        "version": 8, "storage_identifier": storage, "duration": {"nanoseconds": 1},
        "starting_time": {"nanoseconds_since_epoch": 1}, "message_count": len(bag.messages),
        "topics_with_message_count": [], "relative_file_paths": ["renamed_0.mcap"], "files": [],
        "compression_format": "zstd" if packed else "", "compression_mode": "FILE" if packed else "",
        "custom_data": bag.custom_data or None, "ros_distro": bag.ros_distro,
    }  # fmt: skip
    text = yaml.safe_dump({"rosbag2_bagfile_information": about}, allow_unicode=True)
    (bag.path / "metadata.yaml").write_text(text)
