"""What is spoken of a text that anybody may have sent: one line of bounded length, without control characters.

An engine takes some control characters for commands of its own (espeak-ng: Ctrl-A), and a newline for the end of one
text and the begin of another (piper).
"""

from __future__ import annotations

import unicodedata

from perf_inference.errors import InputError

_LEFT_OUT = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # Unicode's categories: controls, halves of letters, no letters


def spoken(text: str, most_characters: int) -> tuple[str, bool]:
    """Return the text to speak, and whether it was cut to its first whole words.

    Raises:
        InputError: nothing in it can be spoken.
    """
    begin = text[: 4 * most_characters]  # more than that is looked at by nobody
    plain = "".join(" " if unicodedata.category(letter) in _LEFT_OUT else letter for letter in begin)
    line = " ".join(plain.split())
    if not any(unicodedata.category(letter)[0] in "LNS" for letter in line):
        raise InputError(f"a text to speak must have a letter, digit or sign, got {len(text)} characters without one")
    if len(line) <= most_characters and len(begin) == len(text):
        return line, False
    cut = line[:most_characters]
    whole = cut.rpartition(" ")[0] if line[most_characters : most_characters + 1] not in ("", " ") else cut
    return whole or cut, True
