"""How many numbers lie at a path of a message type, by the definitions that rosbags knows: no ROS is needed."""

from __future__ import annotations

import re
from functools import lru_cache

from perf_inference.errors import ConfigError, RecordingError
from perf_inference.recording.cdr.declared import DefinitionError
from perf_inference.recording.cdr.fields import Array, Kind, Message, Number, Sequence, Text
from perf_inference.recording.cdr.message_tree import message_tree
from perf_inference.recording.cdr.versions import builtin_definition

_STEP = re.compile(r"(\w+)(?:\[(-?\d*)(:?)(-?\d*)\])?")
_LEFT_OUT = ("header", "layout", "stamp", "name", "joint_names", "covariance")


def width_at(kind: str, path: str) -> int | None:
    """Return how many numbers a path leads to; None: the type is not known, or the message decides.

    Raises:
        ConfigError: a known type has no such field.
    """
    root = _root(kind)
    if root is None:
        return None
    at: Kind = root
    for step in path.split(".") if path else ():
        match = _STEP.fullmatch(step)
        assert match is not None
        name, first, colon, last = match.groups()
        inner = dict(at.fields) if isinstance(at, Message) else {}
        if name not in inner:
            raise ConfigError(f"{kind} has no field '{path}': '{name}' is none of {', '.join(inner) or 'its numbers'}")
        at = inner[name]
        if first is None:
            continue
        if not isinstance(at, Array | Sequence):
            raise ConfigError(f"{kind} has no field '{path}': '{name}' is no list")
        if not colon:
            at = at.item
        elif isinstance(at, Array):
            at = Array(at.item, len(range(at.length)[slice(int(first or 0), int(last) if last else None)]))
        elif last and int(first or 0) >= 0 and int(last) >= 0:
            at = Array(at.item, int(last) - int(first or 0))
        else:
            return None
    return _count(at)


@lru_cache(None)
def _root(kind: str) -> Message | None:
    definition = builtin_definition(kind)
    if definition is None:
        return None
    try:
        return message_tree(definition.type, definition.encoding, definition.text)
    except (DefinitionError, RecordingError):
        return None


def _count(kind: Kind) -> int | None:
    if isinstance(kind, Number):
        return 1
    if isinstance(kind, Text):
        return 0
    if isinstance(kind, Array):
        each = _count(kind.item)
        return None if each is None else each * kind.length
    if isinstance(kind, Sequence):
        return None
    counts = [_count(inner) for name, inner in kind.fields if not name.endswith(_LEFT_OUT)]
    return None if None in counts else sum(n for n in counts if n is not None)
