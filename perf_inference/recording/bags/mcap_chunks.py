"""The chunks of an MCAP file, unpacked within bounds: what one says of its own size is not believed."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import IO, Any

import zstandard
from mcap.exceptions import McapError
from mcap.records import Chunk, ChunkIndex
from mcap.stream_reader import StreamReader, breakup_chunk

MOST_BYTES = 1 << 28  # of a chunk, unpacked; writers close theirs after some MiB, or one message


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
