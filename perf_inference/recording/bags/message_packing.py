"""Messages that are packed with zstd one by one (rosbag2's compression mode `message`)."""

from __future__ import annotations

import io

import zstandard

from perf_inference.errors import RecordingError

_MOST_BYTES = 1 << 28  # of one message
_MAGIC = b"\x28\xb5\x2f\xfd"  # as the first bytes of CDR, no known encapsulation


def unpacked(data: bytes, encoding: str, packed: bool | None) -> bytes:
    """Return the message; `packed` is whether it is packed, None: not known, so it is looked at.

    Raises:
        RecordingError: it unpacks to more than a message can be.
    """
    if packed is None:
        packed = encoding == "cdr" and data[:4] == _MAGIC
    if not packed:
        return data
    try:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as stream:
            made = stream.read(_MOST_BYTES + 1)
    except zstandard.ZstdError:  # kept as it came
        return data
    if len(made) > _MOST_BYTES:
        raise RecordingError(f"a message unpacks to more than {_MOST_BYTES >> 20} MiB")
    return made
