"""What of a recording was packed with zstd: a file as a whole, or its messages one by one (rosbag2's modes)."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import zstandard

from perf_inference.errors import RecordingError
from perf_inference.recording.message import Attachment, BagFile, BagMessage, Note

_MOST_MESSAGE_BYTES = 1 << 28  # of one message
_MAGIC = b"\x28\xb5\x2f\xfd"  # as the first bytes of CDR, no known encapsulation
_MOST_BYTES, _MOST_TIMES = 1 << 28, 1000  # that it unpacks to, and of its own size: more is made to fill a disk


class PackedFile:
    """One `.mcap.zstd` or `.db3.zstd`, unpacked into a temporary copy as long as it is read."""

    def __init__(self, path: Path, open_file: Callable[[Path, Path], BagFile]) -> None:
        """Look into it; `open_file` is called with the path and a temporary copy, each time that it is read.

        Raises:
            RecordingError: it is damaged before anything can be read, or there is no room for the copy.
        """
        self.path = path
        self._open_file = open_file
        self._open: list[ExitStack] = []
        self._remarks: list[str] = []
        with self._unpacked() as (file, _):
            self.topics, self.start_ns, self.about = file.topics, file.start_ns, file.about
            self._has_extras = next(file.extras(), None) is not None

    def messages(self) -> Iterator[BagMessage]:
        """Yield the messages in the order of their log times."""
        with self._unpacked() as (file, damage):
            yield from file.messages()
            self._end(file, damage)

    def stored(self) -> Iterator[BagMessage]:
        """Yield the messages as they were written."""
        with self._unpacked() as (file, damage):
            yield from file.stored()
            self._end(file, damage)

    def extras(self) -> Iterator[Note | Attachment]:
        """Yield what is in the file beside the messages."""
        if self._has_extras:
            with self._unpacked() as (file, _):
                yield from file.extras()

    def remarks(self) -> list[str]:
        """Return what is odd about it though nothing is lost, once it has been read."""
        return self._remarks

    def close(self) -> None:
        """Remove the copies of readings that were not brought to their end."""
        for opened in list(self._open):
            opened.close()

    @contextmanager
    def _unpacked(self) -> Iterator[tuple[BagFile, str]]:
        """Open a copy of what is within; yield it, and why it is not all, if so."""
        with ExitStack() as opened:
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="perf_inference_"))
            self._open.append(opened)
            opened.callback(self._open.remove, opened)
            file, damage = self._copied(Path(folder, self.path.stem))
            opened.callback(file.close)
            yield file, damage

    def _copied(self, copy: Path) -> tuple[BagFile, str]:
        damage = ""
        try:
            with open(self.path, "rb") as source, open(copy, "wb") as sink:
                try:
                    damage = _unpack(source, sink)
                except zstandard.ZstdError as error:
                    damage = str(error)
            return self._open_file(self.path, copy), damage
        except OSError as error:
            where = tempfile.gettempdir()
            raise RecordingError(f"{self.path} cannot be unpacked into {where}: {error.strerror}") from error
        except RecordingError as error:
            if damage:
                raise RecordingError(f"{self.path} must be packed with zstd, but: {damage}") from error
            raise

    def _end(self, file: BagFile, damage: str) -> None:
        self._remarks = file.remarks()
        if damage:
            raise RecordingError(f"{self.path} is damaged or was cut off: {damage}")


def _unpack(source: IO[bytes], sink: IO[bytes]) -> str:
    """Copy what is within; return why not all of it, if so."""
    left = max(_MOST_BYTES, _MOST_TIMES * os.fstat(source.fileno()).st_size)
    for chunk in zstandard.ZstdDecompressor().read_to_iter(source):
        left -= len(chunk)
        if left < 0:
            return f"it unpacks to more than {_MOST_TIMES} times its own size"
        sink.write(chunk)
    return ""


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
            made = stream.read(_MOST_MESSAGE_BYTES + 1)
    except zstandard.ZstdError:  # kept as it came
        return data
    if len(made) > _MOST_MESSAGE_BYTES:
        raise RecordingError(f"a message unpacks to more than {_MOST_MESSAGE_BYTES >> 20} MiB")
    return made
