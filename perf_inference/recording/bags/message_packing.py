"""Messages that are packed with zstd one by one (rosbag2's compression mode `message`)."""

from __future__ import annotations

import zstandard

_MAGIC = b"\x28\xb5\x2f\xfd"  # as the first bytes of CDR, no known encapsulation


def unpacked(data: bytes, encoding: str, packed: bool | None) -> bytes:
    """Return the message; `packed` is whether it is packed, None: not known, so it is looked at."""
    if packed is None:
        packed = encoding == "cdr" and data[:4] == _MAGIC
    if not packed:
        return data
    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except zstandard.ZstdError:  # kept as it came
        return data
