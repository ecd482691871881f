"""The words of a captioner: which of them begin, end and fill a sentence."""

from __future__ import annotations

from collections.abc import Sequence

_START = ("<start>", "<sos>", "<bos>", "<s>", "[cls]", "startseq", "<begin>", "<go>")
_END = ("<end>", "<eos>", "</s>", "[sep]", "endseq", "<|endoftext|>", "<stop>")
_UNSAID = ("<pad>", "[pad]", "<null>")


def start_of(words: Sequence[str]) -> int:
    """Return the token that a sentence begins with; where no word is known as such, the end also begins."""
    found = _first(words, _START)
    return end_of(words) if found is None else found


def end_of(words: Sequence[str]) -> int:
    """Return the token that ends a sentence; 0 where no word is known as such."""
    return _first(words, _END) or 0


def unsaid(words: Sequence[str]) -> frozenset[int]:
    """Return the tokens that no sentence shows: those that begin, end and fill it."""
    special = {*_START, *_END, *_UNSAID}
    return frozenset(number for number, word in enumerate(words) if word.lower() in special)


def _first(words: Sequence[str], names: Sequence[str]) -> int | None:
    lowered = {word.lower(): number for number, word in reversed(list(enumerate(words)))}
    return next((lowered[name] for name in names if name in lowered), None)
