"""The definitions that ROS 2 distributions had of a type, for recordings that carry none."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from perf_inference.errors import InputError, RecordingError
from perf_inference.recording.cdr.codec import Codec
from perf_inference.recording.cdr.declared import full_name
from perf_inference.recording.cdr.definition import Definition

_STORE = "ROS2_"


@cache
def known_definitions(type_name: str) -> dict[Definition, tuple[str, ...]]:
    """Return what rosbags knows of a type, the newest first, each with the distributions (`humble`) that have it."""
    from rosbags.typesys import Stores, get_typestore  # the import takes its time

    name = full_name(type_name)
    found: dict[Definition, tuple[str, ...]] = {}
    for store in reversed(Stores):
        if not store.name.startswith(_STORE):
            continue
        types = get_typestore(store)
        if name in types.fielddefs:
            definition = Definition(name, "ros2msg", types.generate_msgdef(name, ros_version=2)[0])
            found[definition] = (*found.get(definition, ()), store.name.removeprefix(_STORE).lower())
    return found


def builtin_definition(type_name: str) -> Definition | None:
    """Return the newest definition that is known of a type; None: none is."""
    return next(iter(known_definitions(type_name)), None)


def is_ambiguous(type_name: str) -> bool:
    """Return whether distributions have different definitions of a type."""
    return len(known_definitions(type_name)) > 1


def fitting_definition(type_name: str, messages: Iterable[bytes], ros_distro: str = "") -> Definition | None:
    """Return the definition of a type by which a recording was made that carries none.

    That of its distribution, if messages say nothing else; then the newest that most of them fit; None: none is known.

    Args:
        messages: some of this type, in CDR.
        ros_distro: of the recording; empty: not known.
    """
    known = known_definitions(type_name)
    if len(known) < 2:
        return next(iter(known), None)
    looked_at = list(messages)
    fits = {definition: _fitting(definition, looked_at) for definition in known}
    most = max(fits.values())
    best = [definition for definition in known if fits[definition] == most]
    return next((one for one in best if ros_distro.lower() in known[one]), best[0])


def _fitting(definition: Definition, messages: Iterable[bytes]) -> int:
    """Return how many messages are whole by a definition, with nothing left over."""
    try:
        codec = Codec(definition)
    except RecordingError:
        return 0
    return sum(_fits(codec, data) for data in messages)


def _fits(codec: Codec, data: bytes) -> bool:
    try:
        return codec.spare_bytes(data) < 4  # fewer are padding
    except InputError:
        return False
