"""Text from outside, made fit to be shown.

A message, a file, a model or a server can hold what a terminal obeys (escape sequences), what forges a line (a newline,
a carriage return) or what shows other text than there is (bidirectional controls, letters without a width). Each of
these becomes a visible escape where the text is shown. What is stored or sent on stays as it is.
"""

from __future__ import annotations

import io
import logging
import re
import shutil
import sys
import textwrap
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType

LINE = 2000
"""Characters of a line that is shown, at most: a sentence with a path in it has room."""

OUTSIDE = 200
"""Characters of a text that somebody else wrote, as part of a line of ours, at most."""

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Letters that Python calls printable and that have no width of their own (Default_Ignorable_Code_Point of Unicode).
_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_CHAIN = 5  # errors that led to one another, of which a traceback is shown
_HIDDEN = "***"
# Up to the last @ of the word: a password may hold one, or a slash, unescaped.
_USER_INFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)\S*@")
_SECRET = re.compile(
    r"([\w.-]*(?:pass|pwd|pw|token|key|secret|auth|sig|credential|user)[\w.-]*\s*=\s*)"
    r"(\"[^\"]*\"?|'[^']*'?|[^\s&;!,\"']+)",
    re.IGNORECASE,
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def printable(value: object, most: int = LINE) -> str:
    """Return the text in one line, without what a terminal or a log obeys: ESC becomes the four letters `\\x1b`.

    Args:
        value: anything that `str` takes.
        most: characters of the text that are shown; of a longer one its length is said.
    """
    text = str(value)
    shown = text[:most]
    if not shown.isprintable() or (not shown.isascii() and _INVISIBLE.search(shown)):
        shown = "".join(map(_letter, shown))
    return shown if len(text) <= most else f"{shown}... ({len(text)} characters)"


def columns() -> int | None:
    """Return the width of the terminal that the standard output is; None: it is a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def folded(line: str, width: int | None) -> list[str]:
    """Return a sentence in lines of so many columns, the further ones indented by two more; no word or path is cut.

    Args:
        width: None leaves it one line, which `grep` finds whole.
    """
    if width is None or len(line) <= width:
        return [line]
    words = line.lstrip()
    indent = line[: len(line) - len(words)]
    return textwrap.wrap(
        words,
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def without_secrets(text: object, most: int = LINE) -> str:
    """Return a text with addresses in it, printable and without their users, passwords, keys and tokens."""
    hidden = _USER_INFO.sub(rf"\1{_HIDDEN}@", str(text))
    return printable(_SECRET.sub(rf"\1{_HIDDEN}", hidden), most)


def shown(text: object, most: int = OUTSIDE) -> str:
    """Return a text that somebody else wrote, as part of a line of ours: printable, and not longer than it may be."""
    return printable(text, most)


def without_colours(line: str) -> str:
    """Return a line that a process of ours printed without the colours that its log may give it."""
    return _COLOUR.sub("", line)


def guard_this_process() -> None:
    """From now on tracebacks and what goes through Python's `logging` are printable, a line for a line."""
    sys.excepthook = _show
    threading.excepthook = _show_of_a_thread
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # letters that the terminal's encoding does not have
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Formatter())


def _letter(letter: str) -> str:
    if letter in _NAMED:
        return _NAMED[letter]
    if letter.isprintable() and not _INVISIBLE.match(letter):
        return letter
    number = ord(letter)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _show(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    lines = [f"{kind.__name__}: "] if error is None else list(_told(error))
    print("\n".join(map(printable, lines)), file=sys.stderr, flush=True)


def _told(error: BaseException, most: int = _CHAIN) -> Iterator[str]:
    """Yield the lines of a traceback; what the error says is one of them, however many it has itself."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and most > 1:
        yield from _told(before, most - 1)
        yield "which led to:"
    yield "Traceback (most recent call last):"
    for place in traceback.format_tb(error.__traceback__):
        yield from place.splitlines()
    yield f"{type(error).__name__}: {error}"


def _show_of_a_thread(given: threading.ExceptHookArgs) -> None:
    if given.exc_type is not SystemExit:
        print(f"in thread {printable(given.thread.name if given.thread else '?')}:", file=sys.stderr)
        _show(given.exc_type, given.exc_value, given.exc_traceback)
