"""From the YAML of a contract, or the metadata of a model, to its value."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from perf_inference.errors import ConfigError
from perf_inference.files.bounded_yaml import YamlError, read_yaml
from perf_inference.files.draft import refuse_left_open
from perf_inference.tasks.policy.contract.actions import actions_of
from perf_inference.tasks.policy.contract.contract import (
    DURABILITIES,
    EXECUTIONS,
    FILLS,
    FLATTENS,
    IMAGE_TYPES,
    MERGES,
    RELIABILITIES,
    SOURCES,
    Contract,
    Qos,
    Ranges,
    Recurrent,
    Term,
    WindowSpec,
)
from perf_inference.tasks.policy.contract.reading import Section, finite
from perf_inference.tasks.policy.contract.scalings import clip_of, normalize_of
from perf_inference.tasks.policy.observing.fields import PATH
from perf_inference.tasks.policy.observing.transforms import transform_names
from perf_inference.tasks.vision.image_block import ImageBlock

METADATA = "perf_inference.contract"
VERSION = 1
MOST_BYTES = 1 << 20
_TYPE = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*/(?:msg/)?[a-zA-Z][a-zA-Z0-9_]*")
_TOPIC = re.compile(r"[~/]?/?[a-zA-Z_][a-zA-Z0-9_]*(?:/[a-zA-Z_][a-zA-Z0-9_]*)*")
_ONLY = {  # keys that mean something for some sources alone
    "type": ("topic",), "topic": ("topic",), "fields": ("topic",), "names": ("topic",), "qos": ("topic",),
    "image": ("topic",), "ranges": ("topic",), "max_age_s": ("topic", "tf"), "optional": ("topic", "tf"),
    "window": ("topic", "tf"), "value": ("constant", "previous_action"), "period_s": ("phase",), "frames": ("tf",),
}  # fmt: skip


def read_contract(path: Path) -> Contract:
    """Return the contract of a YAML file.

    Raises:
        ConfigError: it cannot be read, or says something that is not allowed: one sentence with file, key and what is.
    """
    try:
        text = path.read_bytes()[: MOST_BYTES + 1].decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"contract must be a YAML file, '{path}' cannot be read: {why}") from error
    return parse_contract(text, str(path))


def contract_of_metadata(metadata: Mapping[str, str], model: str) -> Contract | None:
    """Return the contract that a model carries; None: it has none.

    Raises:
        ConfigError: what it carries is no contract.
    """
    text = metadata.get(METADATA)
    return parse_contract(text, f"metadata '{METADATA}' of '{model}'") if text else None


def parse_contract(text: str, where: str) -> Contract:
    """Return the contract that a YAML text says.

    Args:
        where: the file, for messages.

    Raises:
        ConfigError: one sentence with file, key and what is allowed.
    """
    try:
        root = read_yaml(text, MOST_BYTES)
    except YamlError as error:
        raise ConfigError(f"{where}: a contract must be YAML: {error}") from error
    refuse_left_open(root, where)
    if _has_parameters(root):
        raise ConfigError(
            f"{where} is a ROS parameters file, which `perf-inference run --config` takes; "
            "a contract has `observations` and `actions`"
        )
    top = Section(where, "", root)
    top.whole("version", VERSION, VERSION, VERSION)
    contract = Contract(
        observations=tuple(_term(section) for section in top.sections("observations", True)),
        actions=actions_of(top.sections("actions", True)),
        where=where,
        rate_hz=top.number("rate_hz", None, above=0, most=1000),
        max_skew_s=top.number("max_skew_s", None, above=0, most=60),
        task=top.text("task", ""),
        state=tuple(_recurrent(section) for section in top.sections("state", False)),
        execution=top.choice("execution", EXECUTIONS, "async"),
        merge=top.choice("merge", MERGES, "align"),
        align_fade_s=top.number("align_fade_s", 0.2, above=0, most=60),
        margin=top.whole("margin", 1, 0, 1000),
        text=text,
    )
    top.end()
    _check(contract, top)
    return contract


def _has_parameters(part: object) -> bool:
    """Return whether a node's parameters are in it, below whatever namespaces."""
    return isinstance(part, dict) and ("ros__parameters" in part or any(map(_has_parameters, part.values())))


def _term(section: Section) -> Term:
    source = section.choice("source", SOURCES, "topic")
    for key, sources in _ONLY.items():
        if section.has(key) and source not in sources:
            raise section.refused(
                key, f"goes with source {' or '.join(sources)} alone, not with {source}; leave it out"
            )
    window = section.section("window")
    term = Term(
        input=section.text("input", allowed="the name of an engine's input"),
        source=source,
        topic=section.take("topic", "a topic's name", _topic, *([] if source == "topic" else [""])),
        type=section.take("type", "a message type like sensor_msgs/msg/Imu", _type,
                          *([] if source == "topic" else [""])),
        fields=_paths(section),
        names=section.texts("names", ()),
        qos=_qos(section),
        transform=section.choice("transform", transform_names(), ""),
        ranges=_ranges(section.section("ranges")),
        offset=section.numbers("offset", (0.0,)),
        scale=section.numbers("scale", (1.0,)),
        clip=clip_of(section),
        normalize=normalize_of(section.section("normalize")),
        window=None if window is None else _window(window),
        **_image(section),
        max_age_s=section.number("max_age_s", None, above=0, most=3600),
        stand_in=_stand_in(section),
        **_of_source(section, source),
    )  # fmt: skip
    section.end()
    _check_term(term, section)
    return term


def _check_term(term: Term, section: Section) -> None:
    if (term.transform == "ranges") != (term.ranges is not None):
        raise section.refused("ranges", "must be {count, max, inf} with transform ranges, and there alone")
    if term.normalize and (section.has("offset") or section.has("scale") or section.has("clip")):
        raise section.refused("normalize", "goes without offset, scale and clip; write one or the other")
    if term.is_image:
        for key in ("names", "transform", "normalize", "offset", "scale", "clip", "fields"):
            if section.has(key):
                raise section.refused(key, "does not go with an image; what becomes of it is said under image")
        if term.window and term.window.fill == "linear":
            raise section.refused("window.fill", "must be hold or nearest for images, got 'linear'")
        if term.stand_in not in (None, (0.0,)):
            raise section.refused("optional", "must be true or false for an image (a black one stands in)")
    elif term.image is not None:
        raise section.refused("image", f"goes with types {' and '.join(IMAGE_TYPES)} alone, not with {term.type}")


def _of_source(section: Section, source: str) -> dict[str, Any]:
    """Return the values of the sources that are no topics."""
    said: dict[str, Any] = {}
    if source == "constant":
        said["value"] = section.numbers("value")
    elif source == "previous_action":
        said["sent"] = section.choice("value", ("raw", "sent"), "raw") == "sent"
    else:
        section.raw("value")
    said["period_s"] = section.number("period_s", 1.0, above=0, most=3600)
    said["frames"] = section.texts("frames") if source == "tf" else section.texts("frames", ())
    if source == "tf" and len(said["frames"]) != 2:
        raise section.fail("frames", "two frames, [target, source]", said["frames"])
    return said


def _paths(section: Section) -> tuple[str, ...]:
    paths: tuple[str, ...] = section.texts("fields", ())
    for path in paths:
        if not PATH.fullmatch(path):
            raise section.fail("fields", "paths like position, wrench.force.x or data[0:7]", path)
    return paths


def _qos(section: Section) -> Qos:
    qos = section.section("qos")
    if qos is None:
        return Qos()
    said = Qos(
        qos.choice("reliability", RELIABILITIES, "best_effort"),
        qos.choice("durability", DURABILITIES, "volatile"),
        qos.whole("depth", 5, 1, 10_000),
    )
    qos.end()
    return said


def _ranges(section: Section | None) -> Ranges | None:
    if section is None:
        return None
    most_m = section.number("max", above=0)
    said = Ranges(section.whole("count", least=1, most=100_000), most_m, section.number("inf", most_m))
    section.end()
    return said


def _window(section: Section) -> WindowSpec:
    said = WindowSpec(
        section.whole("length", least=1, most=10_000),
        section.number("rate_hz", above=0, most=100_000),
        section.choice("fill", FILLS, "hold"),
        section.choice("flatten", FLATTENS, "none"),
    )
    section.end()
    return said


def _stand_in(section: Section) -> tuple[float, ...] | None:
    def converted(value: object) -> tuple[float, ...] | None:
        if isinstance(value, bool):
            return (0.0,) if value else None
        items = value if isinstance(value, list) else [value]
        if not items:
            raise ValueError
        return tuple(finite(item) for item in items)

    said: tuple[float, ...] | None = section.take(
        "optional", "true (zeros stand in), false, or the numbers that stand in", converted, None
    )
    return said


def _image(section: Section) -> dict[str, Any]:
    block = section.raw("image")
    if block is None:
        return {}
    if not isinstance(block, Mapping):
        raise section.fail("image", "a mapping of keys to values", block)
    try:
        return {"image": ImageBlock.of(block), "image_keys": tuple(block)}
    except ConfigError as error:
        raise ConfigError(f"{section.where}: {section.path}.{error}") from error


def _recurrent(section: Section) -> Recurrent:
    def converted(value: object) -> float:
        return 0.0 if value == "zeros" else finite(value)

    said = Recurrent(section.text("input"), section.text("output"), section.take(
        "initial", "zeros, or a number", converted, 0.0
    ))  # fmt: skip
    section.end()
    return said


def _check(contract: Contract, top: Section) -> None:
    """Refuse what no single entry can tell."""
    taken: Collection[str] = contract.inputs
    inputs = [entry.input for entry in contract.state]
    for name in inputs:
        if name in taken or inputs.count(name) > 1:
            raise top.refused("state", f"gives the input '{name}', which something else gives too; each is given once")
    for i, term in enumerate(contract.observations):
        if len(contract.terms(term.input)) > 1 and term.is_image:
            raise top.refused(
                f"observations[{i}].input", f"'{term.input}' is an image and cannot be joined with others"
            )
        if term.source == "text" and not contract.task:
            raise top.refused("task", "must be a text where an observation has source text")


def _type(value: object) -> str:
    if not isinstance(value, str) or not _TYPE.fullmatch(value) or len(value) > 255:
        raise ValueError
    package, _, name = value.partition("/")
    return f"{package}/msg/{name.removeprefix('msg/')}"


def _topic(value: object) -> str:
    if not isinstance(value, str) or not _TOPIC.fullmatch(value) or len(value) > 255:
        raise ValueError
    return value
