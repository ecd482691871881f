"""What is different about two definitions of one type, as far as messages tell it."""

from __future__ import annotations

from itertools import zip_longest

from perf_inference.recording.cdr.declared import DefinitionError
from perf_inference.recording.cdr.definition import Definition
from perf_inference.recording.cdr.fields import Array, Kind, Message, Number, Sequence, Text
from perf_inference.recording.cdr.message_tree import message_tree

_NONE = "nothing"


def first_difference(one: Definition, other: Definition) -> tuple[str, str, str] | None:
    """Return the first field that the two do not share: its path, and what it is in each; None: they are the same.

    Names of fields and what they hold count; constants, defaults and comments do not.

    Raises:
        DefinitionError: one of them cannot be used.
    """
    trees = [message_tree(each.type, each.encoding, each.text) for each in (one, other)]
    return _messages(trees[0], trees[1], "", set())


def described(recorded: Definition, installed: Definition) -> str:
    """Return in words how a recorded definition differs from the installed one; empty: it does not."""
    try:
        found = first_difference(recorded, installed)
    except DefinitionError as error:
        return f"the recorded definition of {recorded.type[:100]} cannot be compared with the installed one: {error}"
    if found is None:
        return ""
    path, theirs, ours = found
    return (
        f"{recorded.type[:100]} is another type in the recording than the one installed here: "
        f"field {path} is {theirs} there, {ours} here"
    )


def _messages(one: Message, other: Message, path: str, seen: set[tuple[str, str]]) -> tuple[str, str, str] | None:
    if (one.type, other.type) in seen:
        return None
    seen.add((one.type, other.type))
    for mine, others in zip_longest(one.fields, other.fields):
        if mine is None or others is None or mine[0] != others[0]:
            name = (mine or others)[0]
            theirs, ours = (dict(each.fields).get(name) for each in (one, other))
            places = ["" if mine is None or others is None else " (in another place)" for _ in range(2)]
            words = [_word(each) + place if each else _NONE for each, place in zip((theirs, ours), places, strict=True)]
            return path + name, words[0], words[1]
        if found := _kinds(mine[1], others[1], f"{path}{mine[0]}", seen):
            return found
    return None


def _kinds(one: Kind, other: Kind, path: str, seen: set[tuple[str, str]]) -> tuple[str, str, str] | None:
    if isinstance(one, Message) and isinstance(other, Message):
        return _messages(one, other, f"{path}.", seen)
    if isinstance(one, (Array, Sequence)) and isinstance(other, (Array, Sequence)) and _size(one) == _size(other):
        return _kinds(one.item, other.item, path, seen)
    alike = _word(one) == _word(other)
    return None if alike else (path, _word(one), _word(other))


def _size(kind: Array | Sequence) -> tuple[bool, int]:
    return isinstance(kind, Array), kind.length if isinstance(kind, Array) else kind.bound


def _word(kind: Kind) -> str:
    """Return a field's type as `.msg` files have it; those of one byte without sign are one."""
    if isinstance(kind, Number):
        return "uint8" if kind.dtype == "|u1" else kind.name
    if isinstance(kind, Text):
        return ("wstring" if kind.wide else "string") + (f"<={kind.bound}" if kind.bound else "")
    if isinstance(kind, Message):
        return kind.type
    if isinstance(kind, Array):
        return f"{_word(kind.item)}[{kind.length}]"
    return f"{_word(kind.item)}[{f'<={kind.bound}' if kind.bound else ''}]"
