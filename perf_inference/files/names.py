"""Names of files: which are images, and the order in which 2 comes before 10."""

from __future__ import annotations

import re
from pathlib import Path

NaturalKey = list[tuple[str, int, str]]
_NUMBER = re.compile(r"([0-9]+)")  # others that Unicode takes for digits, such as superscripts, are letters here
_MOST_DIGITS = 255  # of a file's name

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")  # of the files that `images` decodes


def natural_key(name: str) -> NaturalKey:
    """Return what names are to be sorted by: words as they are, the numbers between them by their value."""
    words_and_numbers = [*_NUMBER.split(name[: 16 * _MOST_DIGITS]), ""]
    pairs = zip(words_and_numbers[::2], words_and_numbers[1::2], strict=True)
    return [(word, int(number[:_MOST_DIGITS] or -1), number) for word, number in pairs]


def natural_order(path: Path) -> NaturalKey:
    """Return what paths of one folder are to be sorted by."""
    return natural_key(path.name)
