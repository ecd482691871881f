"""From CDR to fields and back, without loss."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from perf_inference.errors import InputError, RecordingError
from perf_inference.recording.cdr.checker import CdrChecker
from perf_inference.recording.cdr.codec_source import GIVES_UP, Decode, TooBigError, decoder
from perf_inference.recording.cdr.declared import DefinitionError
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.cdr.fields import FieldError, has_header, has_wide_text
from perf_inference.recording.cdr.message_tree import message_tree
from perf_inference.recording.cdr.reader import read_message, read_whole
from perf_inference.recording.cdr.writer import CdrWriter

_STAMP_BYTES = 12  # header, sec, nanosec
_little_stamp, _big_stamp = struct.Struct("<iI").unpack_from, struct.Struct(">iI").unpack_from

_pack_little, _pack_big = struct.Struct("<iI").pack, struct.Struct(">iI").pack


class Decoded(NamedTuple):
    """A message's fields, ready for JSON."""

    message: dict[str, Any]
    exact: bool  # encoding the fields gives the same bytes
    stamp_ns: int | None  # of the header; None: has none, or it was never set


class Codec:
    """Decodes and encodes the messages of one type."""

    def __init__(self, definition: Definition) -> None:
        """Make the decoder.

        Raises:
            RecordingError: the definition cannot be used.
        """
        self.type = definition.type
        try:
            self.root = message_tree(definition.type, definition.encoding, definition.text)
        except DefinitionError as error:
            raise RecordingError(f"the definition of {definition.type[:100]} cannot be used: {error}") from error
        self._has_header, self._wide = has_header(self.root), has_wide_text(self.root)
        self._writer = CdrWriter(self.root)
        self._checker = CdrChecker(self.root)
        self._fast: Decode = self._careful
        if not self._wide:
            with suppress(TooBigError):
                self._fast = decoder(self.root)

    def decode(self, data: bytes) -> Decoded:
        """Return the fields of a message.

        Raises:
            InputError: it is not a message of this type, or was cut off.
        """
        try:
            return Decoded._make(self._fast(data))
        except GIVES_UP:
            return Decoded._make(self._careful(data))

    def encode(self, message: Mapping[str, Any]) -> bytes:
        """Return the message as little-endian CDR with header 00 01 00 00 and zero padding.

        Raises:
            InputError: the fields do not fit the type.
        """
        try:
            return self._writer.write(message)
        except FieldError as error:
            raise InputError(f"not a {self.type}: {error}") from error

    def spare_bytes(self, data: bytes) -> int:
        """Return how many bytes a message has beyond its last field.

        Raises:
            InputError: it is not a message of this type, or was cut off.
        """
        try:
            return read_whole(self.root, data, self._wide)[1]
        except FieldError as error:
            raise InputError(f"not a {self.type} in CDR: {error}") from error

    def check(self, data: bytes) -> None:
        """Accept a message that those who read this type can read.

        Raises:
            InputError: it is not a message of this type, or was cut off.
        """
        try:
            if self._wide:
                read_message(self.root, data, self._wide)
            else:
                self._checker.check(data)
        except FieldError as error:
            raise InputError(f"not a {self.type} in CDR: {error}") from error

    def stamped(self, data: bytes, sec: int, nanosec: int) -> bytes | None:
        """Return a message with another stamp in its header, and all else as it is; None: it begins with no header."""
        if not self._has_header or len(data) < _STAMP_BYTES:
            return None
        pack = _pack_little if data[1] else _pack_big
        return b"%b%b%b" % (data[:4], pack(sec, nanosec), data[_STAMP_BYTES:])

    def stamp_ns(self, data: bytes) -> int | None:
        """Return the stamp of the header without decoding the rest; None: has none, or it was never set."""
        if not self._has_header or len(data) < _STAMP_BYTES:
            return None
        sec, nanosec = (_little_stamp if data[1] else _big_stamp)(data, 4)
        return (sec * 1_000_000_000 + nanosec) or None

    def _careful(self, data: bytes) -> tuple[dict[str, Any], bool, int | None]:
        try:
            message = read_message(self.root, data, self._wide)
        except FieldError as error:
            raise InputError(f"not a {self.type} in CDR: {error}") from error
        try:
            exact = self._writer.write(message) == data
        except FieldError:  # more elements than its bound allows
            exact = False
        return message, exact, self.stamp_ns(data)
