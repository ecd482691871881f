"""Neighbouring fixed-size values of a CDR message, unpacked at once."""

from __future__ import annotations

import struct
from typing import Any

from perf_inference.recording.cdr.fields import Number

_FEW = 8


class Run:
    """Collects variables and their format; makes the lines that unpack and check them."""

    def __init__(self) -> None:
        self._format, self._size_bytes = "<", 0
        self._variables: list[str] = []
        self._paddings: list[str] = []
        self._zeros: list[str] = []
        self._bools: list[str] = []
        self._floats: list[tuple[str, int, int]] = []  # variable, offset, size
        self._lists: list[tuple[str, list[str], Number]] = []
        self._offsets: dict[str, int] = {}

    def padding(self, variable: str, size_bytes: int) -> None:
        """Add bytes that should be zero."""
        if size_bytes:
            self._put(variable, f"{size_bytes}s", size_bytes)
            self._paddings.append(variable)

    def number(self, kind: Number, variable: str) -> None:
        """Add a number; it is one of `scalar`, `zero` or `list_of`."""
        self._put(variable, kind.code, kind.size_bytes)
        if kind.is_bool:
            self._bools.append(variable)

    def zero(self, variable: str) -> None:
        """The number should be zero."""
        self._zeros.append(variable)

    def scalar(self, kind: Number, variable: str) -> None:
        """The number is a value."""
        if kind.is_float:
            self._floats.append((variable, self._offsets[variable], kind.size_bytes))

    def list_of(self, kind: Number, variable: str, variables: list[str]) -> None:
        """The numbers are the elements of a list."""
        self._lists.append((variable, variables, kind))

    def lines(self, names: dict[str, Any]) -> list[str]:
        """Return the lines that unpack and check; add what they use to the names."""
        if not self._variables:
            return []
        unpack = f"S{len(names)}"
        names[unpack] = struct.Struct(self._format).unpack_from
        lines = [f"{', '.join(self._variables)}, = {unpack}(data, p)"]
        if self._paddings:
            lines.append(f"if {' or '.join(f'{name} > Z' for name in self._paddings)}: ok = False")
        if self._zeros:
            lines.append(f"if {' or '.join(self._zeros)}: ok = False")
        if self._bools:
            lines.append(f"if {_joined(self._bools, ' | ', 'max')} > 1: ok = False")
        for name, elements, kind in self._lists:
            values = [f"{element} != 0" for element in elements] if kind.is_bool else elements
            lines.append(f"{name} = [{', '.join(values)}]")
        return [*lines, *self._float_lines(names), f"p += {self._size_bytes}"]

    def _float_lines(self, names: dict[str, Any]) -> list[str]:
        """Return the check for NaN and infinities: any of them makes the sum one of them."""
        lists = [(name, elements, kind.size_bytes) for name, elements, kind in self._lists if kind.is_float]
        if not self._floats and not lists:
            return []
        scalars = [name for name, _, _ in self._floats]
        places = [(offset, size) for _, offset, size in self._floats]
        places += [(self._offsets[element], size) for _, elements, size in lists for element in elements]
        constant = f"P{len(names)}"
        names[constant] = places
        lines = [f"f = {_joined(scalars + [f'sum({name})' for name, _, _ in lists], ' + ', 'sum')}", "if f - f != 0:"]
        values = ", ".join(scalars + [f"*{name}" for name, _, _ in lists])
        lines.append(f"    c, good = checked(({values},), data, [(p + at, size) for at, size in {constant}])")
        lines.append("    ok = ok and good")
        if scalars:
            lines.append(f"    {', '.join(scalars)}, = c[:{len(scalars)}]")
        at = len(scalars)
        for name, elements, _ in lists:
            lines.append(f"    {name} = c[{at}:{at + len(elements)}]")
            at += len(elements)
        return lines

    def _put(self, variable: str, code: str, size_bytes: int) -> None:
        self._offsets[variable] = self._size_bytes
        self._variables.append(variable)
        self._format += code
        self._size_bytes += size_bytes


def _joined(terms: list[str], operator: str, function: str) -> str:
    """Return the expression of few terms, which is faster, or of many, which Python compiles however many they are."""
    return operator.join(terms) if len(terms) <= _FEW else f"{function}(({', '.join(terms)}))"
