"""The chunks of an MCAP file, unpacked within bounds: what one says of its own size is not believed."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import IO, Any

import zstandard
from mcap.exceptions import McapError
from mcap.records import Chunk, ChunkIndex
from mcap.stream_reader import breakup_chunk

from perf_inference.recording.bags.mcap_layout import CHUNK, HEAD_BYTES, Place, parsed

MOST_BYTES = 1 << 28  # of a chunk, unpacked; writers close theirs after some MiB, or one message
_MOST_RECORDS = 1 << 20  # of a chunk; each becomes an object
_LEAST_BYTES = HEAD_BYTES + 22  # of a message
_CHUNK_HEAD = struct.Struct("<QQQII")  # first and last time, size, checksum, bytes of the compression's name
_U64 = struct.Struct("<Q")
_PART_BYTES = 1 << 16


def records_of(chunk: Chunk) -> list[Any]:
    """Return a chunk's records; what it says of its checksum is checked.

    Raises:
        Exception: whatever damaged bytes make of the parser and the decompressors.
    """
    if chunk.uncompressed_size > MOST_BYTES:
        raise McapError(f"a chunk must have {MOST_BYTES >> 20} MiB at most, but says {chunk.uncompressed_size} bytes")
    if chunk.compression in ("zstd", "lz4"):
        data = (_from_zstd if chunk.compression == "zstd" else _from_lz4)(chunk.data, chunk.uncompressed_size)
        chunk = replace(chunk, compression="", data=data)
    if len(chunk.data) > _MOST_RECORDS * _LEAST_BYTES:
        _check_count(chunk.data)
    records: list[Any] = breakup_chunk(chunk, validate_crc=True)
    return records


def records_at(stream: IO[bytes], place: Place) -> Iterator[Any]:
    """Yield the records of a place; of a chunk within which the file ends, those that are whole.

    Raises:
        Exception: as `records_of`.
    """
    if not place.is_chunk:
        yield from parsed(stream, place.at, place.size)
        return
    if place.size > MOST_BYTES + (1 << 20) and place.whole:
        raise McapError(f"a chunk must have {MOST_BYTES >> 20} MiB at most, but says {place.size} bytes")
    stream.seek(place.at)
    data = stream.read(min(place.size, MOST_BYTES + (1 << 20)))
    if data[:1] != bytes((CHUNK,)):
        raise McapError("the index leads to what is no chunk")
    chunk, said = _chunk(data[HEAD_BYTES:])
    if len(chunk.data) == said:
        yield from records_of(chunk)
        return
    for record in _whole_records(_part_of(chunk)):
        yield from breakup_chunk(replace(chunk, compression="", data=record))
    raise McapError(f"the file ends within it, at byte {len(chunk.data)} of {said}")


def _chunk(data: bytes) -> tuple[Chunk, int]:
    """Return a chunk as far as it is there, and how many bytes its records have as they are packed."""
    start_ns, end_ns, size, crc, name_bytes = _CHUNK_HEAD.unpack_from(data)
    at = _CHUNK_HEAD.size + name_bytes
    compression = data[_CHUNK_HEAD.size : at].decode()
    (said,) = _U64.unpack_from(data, at)
    at += _U64.size
    return Chunk(
        compression=compression,
        data=data[at : at + said],
        message_end_time=end_ns,
        message_start_time=start_ns,
        uncompressed_crc=crc,
        uncompressed_size=size,
    ), said


def _part_of(chunk: Chunk) -> bytes:
    """Return what can be unpacked of a chunk that is not whole: its checksum cannot be checked."""
    if chunk.compression == "zstd":
        made = bytearray()
        unpacker = zstandard.ZstdDecompressor().decompressobj()
        with suppress(zstandard.ZstdError):
            for at in range(0, len(chunk.data), _PART_BYTES):
                made += unpacker.decompress(chunk.data[at : at + _PART_BYTES])
                if len(made) > MOST_BYTES:
                    break
        return bytes(made)
    if chunk.compression == "lz4":
        import lz4.frame

        unpacked: bytes = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=MOST_BYTES)
        return unpacked
    data: bytes = chunk.data
    return data


def _whole_records(data: bytes) -> Iterator[bytes]:
    at = count = 0
    while at + HEAD_BYTES <= len(data) and count < _MOST_RECORDS:
        end = at + HEAD_BYTES + int.from_bytes(data[at + 1 : at + HEAD_BYTES], "little")
        if end > len(data):
            return
        yield data[at:end]
        at, count = end, count + 1


def do_overlap(chunks: Sequence[ChunkIndex]) -> bool:
    """Return whether an index leads to the same bytes twice: each time they would be unpacked again."""
    spans = sorted((chunk.chunk_start_offset, chunk.chunk_start_offset + chunk.chunk_length) for chunk in chunks)
    return any(begin < end for (_, end), (begin, _) in pairwise(spans))


def _check_count(data: bytes) -> None:
    at = count = 0
    while at < len(data):
        at += HEAD_BYTES + int.from_bytes(data[at + 1 : at + HEAD_BYTES], "little")
        count += 1
        if count > _MOST_RECORDS:
            raise McapError(f"a chunk must have {_MOST_RECORDS} records at most")


def _from_zstd(data: bytes, size: int) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as stream:
        made: bytes = stream.read(size + 1)
    return _checked(made, size)


def _from_lz4(data: bytes, size: int) -> bytes:
    import lz4.frame

    return _checked(lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size + 1), size)


def _checked(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise McapError(f"a chunk must unpack to the {size} bytes that it says, got {len(data)} or more")
    return data
