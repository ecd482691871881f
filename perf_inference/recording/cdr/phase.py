"""What is known of a position within a CDR message while a decoder for it is written."""

from __future__ import annotations

from typing import NamedTuple

from perf_inference.recording.cdr.fields import Array, Kind, Message, Number, Sequence, Text


class Phase(NamedTuple):
    """The position's remainder by a power of two (8 at most), counted from the end of the encapsulation header."""

    modulus: int = 8
    remainder: int = 0

    def knows(self, size_bytes: int) -> bool:
        """Return whether it is known how far it is to the next multiple of the size."""
        return self.modulus >= size_bytes

    def padding(self, size_bytes: int) -> int:
        """Return how far that is."""
        return -self.remainder % size_bytes

    def moved(self, size_bytes: int) -> Phase:
        """Return what is known after so many bytes."""
        return Phase(self.modulus, (self.remainder + size_bytes) % self.modulus)

    def aligned(self, size_bytes: int) -> Phase:
        """Return what is known at the next multiple of the size."""
        return self.moved(self.padding(size_bytes)) if self.knows(size_bytes) else Phase(size_bytes, 0)

    def common(self, other: Phase) -> Phase:
        """Return what is known of a position that is one of the two."""
        modulus = min(self.modulus, other.modulus)
        while (self.remainder - other.remainder) % modulus:
            modulus //= 2
        return Phase(modulus, self.remainder % modulus)


class Phases:
    """What is known after values; each question is worked out once."""

    def __init__(self) -> None:
        self._after: dict[tuple[Kind, Phase], Phase] = {}

    def in_loop(self, item: Kind, entry: Phase) -> Phase:
        """Return what is known before (and after) each of any number of items."""
        phase = entry
        while (common := phase.common(self.after(item, phase))) != phase:
            phase = common
        return phase

    def after(self, kind: Kind, phase: Phase) -> Phase:
        """Return what is known after a value."""
        if (kind, phase) not in self._after:
            self._after[kind, phase] = self._work_out(kind, phase)
        return self._after[kind, phase]

    def _work_out(self, kind: Kind, phase: Phase) -> Phase:
        if isinstance(kind, Number):
            return phase.aligned(kind.size_bytes).moved(kind.size_bytes)
        if isinstance(kind, Text):
            return Phase(1, 0)
        if isinstance(kind, Message):
            for _, field in kind.fields:
                phase = self.after(field, phase)
            return phase if kind.fields else phase.moved(1)
        if isinstance(kind, Sequence):
            phase = phase.aligned(4).moved(4)
        elif isinstance(kind, Array) and isinstance(kind.item, Number):
            return phase.aligned(kind.item.size_bytes).moved(kind.length * kind.item.size_bytes)
        return self.in_loop(kind.item, phase)
