"""Makes a fast decoder for one message type: writes its Python source and compiles it.

Of a definition nothing gets into the source but the names of fields, as string constants, and sizes, as numbers. Where
a message is odd (big endian, text that is no text, sizes beyond the end) the decoder gives up with an exception, and
the slow `CdrReader` takes over. Whatever else could not be got back from the fields clears `ok`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeAlias

from perf_inference.recording.cdr.fields import NUMBERS, Array, Kind, Message, Number, Sequence, Text, has_header
from perf_inference.recording.cdr.fixed_run import Run
from perf_inference.recording.cdr.json_values import (
    MAX_LISTED,
    are_bools,
    is_packed,
    packed,
    to_json_checked,
    unpackers,
)
from perf_inference.recording.cdr.phase import Phase, Phases

Decode: TypeAlias = "Callable[[bytes], tuple[dict[str, Any], bool, int | None]]"
_MAX_VALUES = 20_000  # variables of the function
_MAX_LINES = 10_000  # which take half a second to compile
_MAX_REMEMBERED_BYTES = 4096


class GiveUpError(Exception):
    """The fast decoder gives up on a message."""


class TooBigError(Exception):
    """The type is too big for a decoder of its own."""


GIVES_UP = (GiveUpError, struct.error, IndexError, UnicodeDecodeError)


def decoder(root: Message) -> Decode:
    """Return a function from CDR to (fields, whether they give the same bytes, header stamp [ns]).

    It raises one of GIVES_UP where it gives up. Texts are remembered from one message to the next: one thread at a
    time gains most, more are safe.

    Raises:
        TooBigError: there is none for this type.
    """
    source, names = _Source(root).text()
    try:
        exec(compile(source, f"<decoder of {root.type}>", "exec"), names)
    except (SyntaxError, RecursionError, MemoryError) as error:  # limits of Python's compiler
        raise TooBigError from error
    decode: Decode = names["make"]()
    return decode


class _Source:
    """The lines of a decoder while they are written. The variable `p` is the position; the run begins there."""

    def __init__(self, root: Message) -> None:
        self._root = root
        self._lines: list[str] = []
        self._indent, self._loops, self._values = 2, 0, 0
        self._phase, self._phases, self._run = Phase(), Phases(), Run()  # the phase is that of the run's end
        self._memories: list[str] = []
        self._names: dict[str, Any] = {
            "GiveUp": GiveUpError,
            "Z": b"\0" * 8,  # greater than fewer zeros, and less than anything else
            "u32": struct.Struct("<I").unpack_from,
            "packed": packed,
            "are_bools": are_bools,
            "checked": to_json_checked,
        }

    def text(self) -> tuple[str, dict[str, Any]]:
        """Return the source of `make`, which makes the decoder, and the names that it uses."""
        fields = self._message(self._root)
        self._settle()
        self._add("if p != end:", "    if p > end: raise GiveUp", "    ok = False")
        stamp = "(v0 * 1000000000 + v1) or None" if has_header(self._root) else "None"
        head = ["def make():", *(f"    {name} = (b'?', 0, None, True)" for name in self._memories)]
        head += ["    def decode(data):"]
        head += [f"        nonlocal {', '.join(self._memories)}"] if self._memories else []
        head += ["        if data[:4] != b'\\0\\1\\0\\0': raise GiveUp", "        p, end, ok = 4, len(data), True"]
        tail = [f"        return {fields}, ok, {stamp}", "    return decode", ""]
        return "\n".join([*head, *self._lines, *tail]), self._names

    def _value(self, kind: Kind) -> str:
        """Add the lines that decode a value; return its expression."""
        if isinstance(kind, Number):
            value = self._number(kind)
            self._run.scalar(kind, value)
            return f"{value} != 0" if kind.is_bool else value
        if isinstance(kind, Message):
            return self._message(kind)
        value = self._variable("w")
        if isinstance(kind, Text):
            self._remembered(value, value, lambda: self._text(kind, value))
        elif isinstance(kind.item, Number):
            self._numbers(kind, kind.item, value)
        elif isinstance(kind, Sequence) and isinstance(kind.item, Text):
            self._remembered(value, f"{value}.copy()", lambda: self._items(kind, value))
        else:
            self._items(kind, value)
        return value

    def _message(self, message: Message) -> str:
        if not message.fields:
            value = self._number(NUMBERS["uint8"])
            self._run.zero(value)
        return "{" + ", ".join(f"{name!r}: {self._value(kind)}" for name, kind in message.fields) + "}"

    def _number(self, kind: Number) -> str:
        """Put a number into the run; return its variable."""
        if not self._phase.knows(kind.size_bytes):
            self._align(kind.size_bytes)
        if padding := self._phase.padding(kind.size_bytes):
            self._run.padding(self._variable("k"), padding)
        self._phase = self._phase.aligned(kind.size_bytes).moved(kind.size_bytes)
        value = self._variable("v")
        self._run.number(kind, value)
        return value

    def _text(self, kind: Text, value: str) -> None:
        self._add("n, = u32(data, p)", "p += 4 + n")
        self._add("if not n or data[p - 1]: raise GiveUp")  # no end within the data: IndexError
        if kind.bound:
            self._add(f"if n > {kind.bound + 1}: raise GiveUp")
        self._add(f"{value} = data[p - n:p - 1].decode()")
        self._phase = Phase(1, 0)

    def _numbers(self, kind: Array | Sequence, item: Number, value: str) -> None:
        size = item.size_bytes
        if isinstance(kind, Sequence):
            self._sequence(kind, item, value)
        elif is_packed(item, kind.length):
            self._align(size)
            self._packed(item, value, str(kind.length * size))
            self._phase = self._phase.moved(kind.length * size)
        else:
            elements = [self._number(item) for _ in range(kind.length)]  # the first may begin another run
            self._run.list_of(item, value, elements)

    def _sequence(self, kind: Sequence, item: Number, value: str) -> None:
        size = item.size_bytes
        self._count(kind)
        empty = self._phase
        if is_packed(item, 0):
            self._packed(item, value, "n")
        else:
            self._add("if not n:", f"    {value} = []", "else:")
            self._indent += 1
            self._align(size)  # an empty one is not aligned
            self._add(f"if n > {MAX_LISTED}:")
            self._indent += 1
            self._packed(item, value, f"n * {size}")
            self._indent -= 1
            self._add("else:", *(f"    {line}" for line in self._listed(item, value)))
            self._indent -= 1
        self._phase = empty.common(Phase(size, 0))

    def _listed(self, item: Number, value: str) -> list[str]:
        unpack = f"U{len(self._names)}"
        self._names[unpack] = unpackers(item.code)
        lines = [f"{value} = [*{unpack}[n](data, p)]", f"p += n * {item.size_bytes}"]
        if item.is_bool:
            lines += [f"if max({value}) > 1: ok = False", f"{value} = [v != 0 for v in {value}]"]
        if item.is_float:
            places = f"[(at, {item.size_bytes}) for at in range(p - n * {item.size_bytes}, p, {item.size_bytes})]"
            lines += [f"f = sum({value})", "if f - f != 0:"]
            lines += [f"    {value}, good = checked({value}, data, {places})", "    ok = ok and good"]
        return lines

    def _packed(self, item: Number, value: str, size: str) -> None:
        kind = f"K{len(self._names)}"
        self._names[kind] = item
        self._add(f"e = p + {size}", "if e > end: raise GiveUp", f"{value} = packed({kind}, data, p, e)")
        if item.is_bool:
            self._add("if not are_bools(data, p, e): ok = False")
        self._add("p = e")

    def _items(self, kind: Array | Sequence, value: str) -> None:
        item = kind.item
        if isinstance(kind, Sequence):
            self._count(kind)
        else:
            self._settle()
            self._add(f"n = {kind.length}")
        self._add(f"if n * {item.min_bytes} > end - p: raise GiveUp", f"{value} = []", "for _ in range(n):")
        self._phase = phase = self._phases.in_loop(item, self._phase)
        self._indent, self._loops = self._indent + 1, self._loops + 1
        expression = self._value(item)
        self._settle()
        self._add(f"{value}.append({expression})")
        self._indent, self._loops = self._indent - 1, self._loops - 1
        self._phase = phase

    def _count(self, kind: Sequence) -> None:
        self._align(4)
        self._add("n, = u32(data, p)", "p += 4")
        if kind.bound:
            self._add(f"if n > {kind.bound}: raise GiveUp")
        self._phase = self._phase.moved(4)

    def _remembered(self, value: str, copy: str, decode: Callable[[], None]) -> None:
        """Add what takes the value from the message before where the bytes (from a count on) are the same."""
        self._align(4)
        if self._loops:  # one after the other, seldom the same
            decode()
            return
        memory = self._variable("m")
        self._memories.append(memory)
        self._add(f"seen, size, {value}, good = {memory}", "if data[p:p + size] == seen:", "    p += size")
        self._add("    ok = ok and good")
        self._add(*([f"    {value} = {copy}"] if copy != value else []), "else:")
        self._indent += 1
        self._add("start, before, ok = p, ok, True")
        decode()
        self._add(f"if p - start <= {_MAX_REMEMBERED_BYTES}: {memory} = data[start:p], p - start, {copy}, ok")
        self._add("ok = ok and before")
        self._indent -= 1

    def _align(self, size_bytes: int) -> None:
        """Go on to a multiple of the size, after the run."""
        self._settle()
        if not self._phase.knows(size_bytes):
            # the position counts the encapsulation header's 4 bytes, alignment does not
            self._add("q = (p + 3 & -8) + 4" if size_bytes == 8 else f"q = p + {size_bytes - 1} & -{size_bytes}")
            self._add("if q != p:", "    if data[p:q] > Z: ok = False", "    p = q")
        elif padding := self._phase.padding(size_bytes):
            self._add(f"if data[p:p + {padding}] > Z: ok = False", f"p += {padding}")
        self._phase = self._phase.aligned(size_bytes)

    def _settle(self) -> None:
        """Add the lines of the run, so that it is over."""
        self._add(*self._run.lines(self._names))
        self._run = Run()

    def _add(self, *lines: str) -> None:
        self._lines += ["    " * self._indent + line for line in lines]
        if len(self._lines) > _MAX_LINES:
            raise TooBigError

    def _variable(self, letter: str) -> str:
        self._values += 1
        if self._values > _MAX_VALUES:
            raise TooBigError
        return f"{letter}{self._values - 1}"
