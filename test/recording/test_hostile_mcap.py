"""MCAP files that are small and ask for much: what is held at once is bounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import pytest
from mcap.records import ChunkIndex, Message
from mcap.writer import CompressionType, Writer

from perf_inference.errors import RecordingError
from perf_inference.recording.bags import mcap_chunks, mcap_file
from perf_inference.recording.open import open_damaged

DATA = b"\0\1\0\0" + bytes(20_000)


def recording(
    path: Path,
    messages: int,
    forge: Callable[[list[ChunkIndex]], Sequence[ChunkIndex]] = list,
    chunk_bytes: int = 1,
    data: bytes = DATA,
) -> Path:
    """Write a file of messages that pack well; `forge` changes the index of its chunks."""
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=chunk_bytes, compression=CompressionType.ZSTD)
        writer.start("ros2", "test")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
        channel = writer.register_channel("/a", "cdr", schema)
        for number in range(messages):
            writer.add_message(channel, number, data, number)
        index = writer._Writer__chunk_indices
        index[:] = forge(index)
        writer.finish()
    return path


def times(path: Path) -> list[int]:
    (file,), failed = open_damaged(path)
    assert not failed
    return [message.t_ns for message in islice(file.messages(), 10_000)]


def test_a_chunk_is_unpacked_once_however_often_the_index_has_it(tmp_path: Path) -> None:
    assert times(recording(tmp_path / "plain.mcap", 4)) == [0, 1, 2, 3]
    assert times(recording(tmp_path / "bomb.mcap", 4, forge=lambda index: index * 1000)) == [0, 1, 2, 3]


def test_chunks_that_all_begin_at_once_are_not_all_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(index: list[ChunkIndex]) -> list[ChunkIndex]:
        for chunk in index:
            chunk.message_start_time = 0
        return index

    path = recording(tmp_path / "a.mcap", 20, forge=at_once)
    assert times(path) == list(range(20))
    monkeypatch.setattr(mcap_file, "_MOST_HELD_BYTES", 10 * len(DATA))
    with pytest.raises(RecordingError, match="begin at one time"):
        times(path)
    assert times(recording(tmp_path / "b.mcap", 20)) == list(range(20))


def test_a_chunk_of_nothing_but_heads_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcap_chunks, "_MOST_RECORDS", 100)
    assert len(times(recording(tmp_path / "a.mcap", 90, chunk_bytes=1 << 20, data=b""))) == 90
    assert len(times(recording(tmp_path / "b.mcap", 90, chunk_bytes=1 << 20, data=bytes(1000)))) == 90
    with pytest.raises(RecordingError, match="100 records at most"):
        times(recording(tmp_path / "c.mcap", 200, chunk_bytes=1 << 20, data=b""))
    assert 9 + len(_fields_of_an_empty_message()) == mcap_chunks._LEAST_BYTES


def _fields_of_an_empty_message() -> bytes:
    from mcap.writer import RecordBuilder

    builder = RecordBuilder()
    Message(channel_id=0, data=b"", log_time=0, publish_time=0, sequence=0).write(builder)
    return bytes(builder.end())[9:]
