"""The chunks of an MCAP file, unpacked within bounds: what one says of its own size is not believed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import IO, Any

import zstandard
from mcap.exceptions import McapError
from mcap.records import Chunk, ChunkIndex
from mcap.stream_reader import StreamReader, breakup_chunk

MOST_BYTES = 1 << 28  # of a chunk, unpacked; writers close theirs after some MiB, or one message
_MOST_RECORDS = 1 << 20  # of a chunk; each becomes an object
_HEAD_BYTES = 9  # of a record: its kind, and its length
_LEAST_BYTES = _HEAD_BYTES + 22  # of a message


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


def chunk_at(stream: IO[bytes], index: ChunkIndex) -> list[Any]:
    """Return the records of the chunk that an index tells of.

    Raises:
        Exception: as `records_of`.
    """
    stream.seek(index.chunk_start_offset)
    limit = min(index.chunk_length, MOST_BYTES + (1 << 20))
    chunk = next(StreamReader(stream, skip_magic=True, emit_chunks=True, record_size_limit=limit).records)
    if not isinstance(chunk, Chunk):
        raise McapError("the index leads to what is no chunk")
    return records_of(chunk)


def do_overlap(chunks: Sequence[ChunkIndex]) -> bool:
    """Return whether an index leads to the same bytes twice: each time they would be unpacked again."""
    spans = sorted((chunk.chunk_start_offset, chunk.chunk_start_offset + chunk.chunk_length) for chunk in chunks)
    return any(begin < end for (_, end), (begin, _) in pairwise(spans))


def _check_count(data: bytes) -> None:
    at = count = 0
    while at < len(data):
        at += _HEAD_BYTES + int.from_bytes(data[at + 1 : at + _HEAD_BYTES], "little")
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
