"""A ROS parameters file as the starters read it: its sections, which node each is for, and what it says of the start.

    /robot1/yolo_node:          robot1:               /**/yolo_node:       in any namespace
      ros__parameters: {...}      yolo_node:          /robot1/**:          all nodes below it
                                    ros__parameters:  yolo_node:           in no namespace

The first two are the same. Patterns: https://docs.ros.org/en/rolling/p/rcl_yaml_param_parser/ (`*` is one part of a
name, `**` any number of them).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf_inference.bringup.executables import CONTAINER, NODES
from perf_inference.errors import ConfigError
from perf_inference.files.bounded_yaml import MOST_BYTES, YamlError, read_yaml
from perf_inference.files.private import open_to_everybody
from perf_inference.printable import without_secrets

_REMAPPING = re.compile(r"[^\s:=\0]+(:[^\s:=\0]+)?:=[^\s\0]+")
_PARAMETERS = "ros__parameters"
_ONE, _ANY = "*", "**"
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST = 240  # a name with its namespace; DDS topics have 255 letters at most
_PARTS = {"policy_node": "engine", "yolo_node": "engine", "caption_node": "engine", "recorder_node": "recorder"}


def sections_of(config: Path) -> dict[str, dict[str, Any]]:
    """Return the parameters of each section of a file that says what is started.

    Raises:
        ConfigError: no such file, one that everybody can change, or no ROS parameters file.
    """
    _check_owner(config)
    return read_sections(config)


def read_sections(config: Path) -> dict[str, dict[str, Any]]:
    """Return the parameters of each section; a section within others has their names before its own.

    Raises:
        ConfigError: no such file, or no ROS parameters file.
    """
    try:
        with config.open("rb") as file:
            content = read_yaml(file.read(MOST_BYTES + 1))
    except OSError as error:
        raise ConfigError(f"config must be a readable file, got {config}: {error.strerror}") from error
    except YamlError as error:
        raise ConfigError(f"config {config} is no YAML: {error}") from error
    sections: dict[str, dict[str, Any]] = {}
    try:
        for key, parameters in _sections(content, ""):
            sections.setdefault(key, {}).update(parameters)  # as rcl does
    except ValueError as error:
        raise ConfigError(
            f"config {config} must be a ROS parameters file, sections with `ros__parameters:` in each and names and "
            f"values below it; got {error}"
        ) from error
    return sections


def _sections(content: Any, within: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the parameters of each section; ValueError, with what is there, where they are none."""
    if not isinstance(content, dict) or (not content and within):
        raise ValueError(f"{type(content).__name__}{f' in {short(within)}' if within else ''}")
    for key, section in content.items():
        name = f"{within}/{key}" if within else str(key)
        if not isinstance(section, dict) or not isinstance(section.get(_PARAMETERS, {}), dict | None):
            raise ValueError(", ".join(map(short, list(content)[:10])))
        if _PARAMETERS in section:
            yield name, dict(section[_PARAMETERS] or {})
        inner = {key: value for key, value in section.items() if key != _PARAMETERS}
        if inner or _PARAMETERS not in section:
            yield from _sections(inner, name)


def _check_owner(config: Path) -> None:
    """Refuse a file that everybody can change: it says what is started, and what runs as this user."""
    try:
        why = open_to_everybody(config)
        if not why and not config.is_file():
            why = "it is no regular file: the nodes read it again"
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        what = getattr(error, "strerror", None) or "its links lead in a circle"
        raise ConfigError(f"config must be a readable file, got {config}: {what}") from error
    if why:
        raise ConfigError(f"config {config} says what is started, but {why}")


def start_of(parameters: Mapping[str, Any], section: str, config: Path) -> Mapping[str, Any]:
    """Return what the starter reads of a section."""
    start = parameters.get("start", {})
    remap = start.get("remap", []) if isinstance(start, dict) else None
    if not isinstance(remap, list) or not all(isinstance(rule, str) and _REMAPPING.fullmatch(rule) for rule in remap):
        raise ConfigError(
            f"start in section '{section}' of {config} must be like {{remap: ['image:=/camera/image_raw']}}, "
            f"got {short(start)}"
        )
    enclave = start.get("enclave", "")
    if not isinstance(enclave, str) or not re.fullmatch(r"((/\w+)+)?", enclave):
        raise ConfigError(
            f"start.enclave in section '{section}' of {config} must be like /robot1/yolo, got {enclave!r}"
        )
    process = start.get("process", "")
    if not isinstance(process, str) or not re.fullmatch(r"\w*", process) or process == CONTAINER:
        raise ConfigError(f"start.process in section '{section}' of {config} must be a name, got {short(process)}")
    return dict(start)


def short(value: Any) -> str:
    """Return a value in at most a hundred letters, without a password in an address."""
    text = without_secrets(repr(value), 1000)
    return text if len(text) <= 100 else f"{text[:100]}..."


def absolute(namespace: str) -> str:
    """Return the namespace with its leading slash; of the root, nothing."""
    inner = namespace.strip("/")
    return f"/{inner}" if inner else ""


def parts_of(name: str) -> list[str]:
    """Return the words of a name with its namespaces; of the root, none."""
    return name.strip("/").split("/") if name.strip("/") else []


def is_pattern(key: str) -> bool:
    """Return whether a section is for nodes of any name (`/**`, `/robot1/*`)."""
    return key.rpartition("/")[2] in (_ONE, _ANY)


def reaches(key: str, full_name: str) -> bool:
    """Return whether a node of this name, with its namespace, gets a section's parameters."""
    return _matches(parts_of(key), parts_of(full_name))


def exactness(key: str) -> tuple[bool, int]:
    """Return what is larger for the section that says more exactly which node it is for."""
    return not is_pattern(key), -sum(part in (_ONE, _ANY) for part in parts_of(key))


def namespace_of(key: str, wanted: str) -> str:
    """Return the namespace in which a section's node must start for the section to reach it; empty: the root.

    Args:
        key: `/**/yolo_node`, `yolo_node`, `/robot1/yolo_node`.
        wanted: namespace of all nodes; empty: none was asked for.

    Raises:
        ConfigError: started as it was asked for, the node would not get the section's parameters.
    """
    *parts, name = key.strip("/").split("/")
    for text, words in ((key, [part for part in parts if part not in (_ONE, _ANY)]), (wanted, parts_of(wanted))):
        if len(text) > _LONGEST or not all(map(_WORD.fullmatch, words)):
            raise ConfigError(
                f"a namespace must be words of letters, digits and '_' with '/' between them, {_LONGEST} letters at "
                f"most; got {short(text)}"
            )
    if not wanted and not {_ONE, _ANY} & set(parts):
        return absolute("/".join(parts))
    namespace = absolute(wanted)
    if not _matches(parts, parts_of(wanted)):
        hint = "" if {_ONE, _ANY} & set(parts) else f", or start without a namespace as {absolute(key)}"
        raise ConfigError(
            f"section '{key}' is not for {namespace}/{name}, as which its node would start: its parameters would not "
            f"reach it; call it /**/{name}{hint}"
        )
    return namespace


def _matches(pattern: Sequence[str], namespace: Sequence[str]) -> bool:
    count = len(namespace)
    ends = {0}  # how much of the namespace the pattern so far can stand for
    for part in pattern:
        if part == _ANY:
            ends = set(range(min(ends, default=count + 1), count + 1))
        else:
            ends = {end + 1 for end in ends if end < count and part in (_ONE, namespace[end])}
    return count in ends


@dataclass(frozen=True)
class Common:
    """A section for nodes of any name, such as `/**`."""

    key: str
    parameters: Mapping[str, Any]
    start: Mapping[str, Any]  # what the starter reads of it


@dataclass(frozen=True)
class Section(Common):
    """A section that starts one node of ours."""

    name: str  # of the node
    executable: str


@dataclass(frozen=True)
class Sections:
    """All sections of a file, in its order."""

    ours: tuple[Section, ...]
    common: tuple[Common, ...]
    others: tuple[str, ...]  # keys of what other packages' nodes are given

    def common_of(self, full_name: str) -> list[Common]:
        """Return the sections for nodes of any name that this node gets too."""
        return [section for section in self.common if reaches(section.key, full_name)]


def sort_sections(sections: Mapping[str, Mapping[str, Any]], config: Path) -> Sections:
    """Return the sections by whose they are; a section is ours if it is named after a node of ours or starts one.

    Raises:
        ConfigError: a section that can be neither, or is ours but for one letter.
    """
    ours, common, others = [], [], []
    for key, parameters in sections.items():
        if is_pattern(key):
            common.append(Common(key, parameters, start_of(parameters, key, config)))
            continue
        name = key.rpartition("/")[2]
        if not _WORD.fullmatch(name):
            raise ConfigError(f"section {short(key)} of {config} must end in the name of a node, such as /**/yolo_node")
        start = start_of(parameters, key, config) if "start" in parameters or name in NODES else {}
        executable = start.get("executable", name)
        if isinstance(executable, str) and executable in NODES:
            ours.append(Section(key, parameters, start, name, executable))
        elif start or any(_one_slip(name, node) for node in NODES):
            raise ConfigError(
                f"section '{key}' of {config} must be named after a node or have start.executable, one of "
                f"{', '.join(NODES)}; got {short(executable)}"
            )
        else:
            others.append(key)
    return Sections(tuple(ours), tuple(common), tuple(others))


def check_reach(sections: Sections, chosen: Sequence[Section], spaces: Sequence[str], config: Path) -> None:
    """Raise ConfigError where two sections are for one node, or one for nodes of any name is for none."""
    names = [f"{space}/{section.name}" for section, space in zip(chosen, spaces, strict=True)]
    if twice := {name.lstrip("/") for name in names if names.count(name) > 1}:
        raise ConfigError(f"two sections of {config} start the node {', '.join(sorted(twice))}; give one another name")
    for section, name in zip(chosen, names, strict=True):
        for other in chosen:
            if other is not section and reaches(other.key, name):
                raise ConfigError(
                    f"section '{other.key}' of {config} is for {name} too, which has a section of its own; name its "
                    "node's namespace, and put what several nodes have in common under /**"
                )
    for one in sections.common:
        if not sections.others and not any(reaches(one.key, name) for name in names):
            raise ConfigError(
                f"section '{one.key}' of {config} reaches none of the nodes that start, {', '.join(names)}; correct "
                "its namespace, or remove it"
            )


def _one_slip(name: str, wanted: str) -> bool:
    """Return whether one letter is wrong, missing or too many, or two have changed places."""
    before = 0
    while before < min(len(name), len(wanted)) and name[before] == wanted[before]:
        before += 1
    left, meant = name[before:], wanted[before:]
    while left and meant and left[-1] == meant[-1]:
        left, meant = left[:-1], meant[:-1]
    return max(len(left), len(meant)) <= 1 or (len(left) == 2 and left == meant[::-1])


def expected_nodes(chosen: Sequence[Section], spaces: Sequence[str], space: str) -> list[str]:
    """Return the nodes that a monitor in this namespace should hear, with the part of each in /diagnostics."""
    return [
        f"{other}/{section.name}/{_PARTS.get(section.executable, 'node')}".lstrip("/")
        for section, other in zip(chosen, spaces, strict=True)
        if other == space and section.executable != "monitor_node"
    ]


def assigned_in(assignments: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the parameters by node of `NODE.PARAMETER=VALUE`; values are read as YAML."""
    assigned: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        target, equals, text = assignment.partition("=")
        node, _, parameter = target.partition(".")
        if not equals or not parameter or node not in names:
            raise ConfigError(f"--set must be NODE.PARAMETER=VALUE with a node of {', '.join(names)}, got "
                              f"'{without_secrets(assignment)}'")  # fmt: skip
        try:
            assigned.setdefault(node, {})[parameter] = read_yaml(text)
        except YamlError as error:
            raise ConfigError(f"--set {without_secrets(assignment)}: the value is no YAML: {error}") from error
    return assigned
