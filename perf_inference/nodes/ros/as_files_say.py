"""Whether a node has the parameters that its parameters files say: one that has not must not start.

rcl gives a node the sections that its full name matches, and says nothing of a section that is for another namespace;
of two that match, it takes the one that it met last. So a file can be read without an error and change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rclpy.node import Node
from rclpy.parameter import Parameter

from perf_inference.bringup.parameters_file import exactness, is_pattern, reaches, read_sections, short
from perf_inference.errors import ConfigError

_FILE, _PARAMETER, _ROS, _END = "--params-file", ("-p", "--param"), "--ros-args", "--"
_TRUE, _FALSE = ("y", "yes", "true", "on"), ("n", "no", "false", "off")  # rcl_yaml_param_parser, parse.cpp

_LISTS = (Parameter.Type.STRING_ARRAY, Parameter.Type.INTEGER_ARRAY, Parameter.Type.DOUBLE_ARRAY)


class Given(NamedTuple):
    """What the command line gives."""

    files: tuple[Path, ...]
    single: frozenset[str]  # names of parameters that were given one by one


class _Said(NamedTuple):
    value: Any
    place: tuple[int, int]  # number of the file, and of the value
    key: str
    path: Path


def given_on(command_line: Sequence[str]) -> Given:
    """Return the parameters files and single parameters among a command line's ROS arguments."""
    files, single, ros, before = [], set(), False, ""
    for word in command_line:
        if word in (_ROS, _END):
            ros, before = word == _ROS, ""
            continue
        if ros and before == _FILE:
            files.append(Path(word))
        elif ros and before in _PARAMETER:
            single.add(word.partition(":=")[0].rpartition(":")[2])
        before = word
    return Given(tuple(files), frozenset(single))


def check(full_name: str, given: Given, values: Mapping[str, Any]) -> list[str]:
    """Return what is to be warned of.

    Args:
        full_name: of the node, with its namespace.
        values: the parameters that it has.

    Raises:
        ConfigError: a file has sections for a node of this name and none that reaches it, or a parameter has not the
            value that the file says.
    """
    warnings: list[str] = []
    said: list[tuple[str, _Said]] = []
    missed: list[tuple[str, Path]] = []
    reached = named = False
    for number, path in enumerate(given.files):
        try:
            sections = read_sections(path)
        except ConfigError as error:  # rcl has read it
            warnings.append(f"whether this node has what its parameters file says cannot be told: {error}")
            reached = named = True
            continue
        for key, parameters in sections.items():
            by_name = not is_pattern(key) and key.rpartition("/")[2] == full_name.rpartition("/")[2]
            if reaches(key, full_name):
                reached, named = True, named or by_name
                said += [(name, _Said(value, (number, len(said)), key, path)) for name, value in _flat(parameters)]
            elif by_name:
                missed.append((key, path))
    if missed and not named:
        key, path = missed[0]
        raise ConfigError(
            f"section '{key}' of {path} is not for {full_name}, as which this node runs, and no other is: it would run "
            f"with its defaults; call it /**/{full_name.rpartition('/')[2]} or {full_name}"
        )
    if given.files and not reached:
        listed = ", ".join(map(str, given.files))
        warnings.append(f"no section of {listed} is for {full_name}, which runs with its defaults")
    for name in {name: None for name, _ in said}:
        if name in values and name not in given.single:
            _compare(full_name, name, values[name], [one for other, one in said if other == name])
    return warnings


def _compare(full_name: str, name: str, value: Any, said: Sequence[_Said]) -> None:
    """Raise ConfigError unless the value is what the last file says, or the section that is the most exact."""
    last = max(said, key=lambda one: (one.place[0], exactness(one.key), one.place))
    most_exact = max(said, key=lambda one: (exactness(one.key), one.place))
    if not (same(last.value, value) or same(most_exact.value, value)):
        others = sorted({f"'{one.key}'" for one in said if one.key != most_exact.key and same(one.value, value)})
        hint = (
            f"{', '.join(others)} comes later and wins; write it first" if others else "name the node's namespace in it"
        )
        raise ConfigError(
            f"parameter '{name}' of {full_name} is {short(value)}, but section '{most_exact.key}' of "
            f"{most_exact.path} says {short(most_exact.value)}: {hint}"
        )


def same(said: Any, have: Any) -> bool:
    """Return whether rcl makes this value of what YAML says: it takes some words for numbers that YAML does not."""
    if isinstance(said, list | tuple):
        have = [] if have is None else have
        return not isinstance(have, str) and len(said) == len(have) and all(map(same, said, have))
    if isinstance(have, bool):
        return said is have or (isinstance(said, str) and said.lower() in (_TRUE if have else _FALSE))
    if isinstance(have, int | float):
        if isinstance(said, bool) or not isinstance(said, int | float | str):
            return False
        try:
            number = float(said)
        except (ValueError, OverflowError):
            return False
        return number == have or (math.isnan(number) and math.isnan(have))
    if isinstance(have, str):
        return said == have or not isinstance(said, str)  # a number of YAML's alone (1_000) stays text
    return False


def _flat(parameters: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield names with dots and their values."""
    for key, value in parameters.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def give_empty_lists_a_type(node: Node) -> None:
    """Take an empty list for one of the type that its parameter has: a file, or `ros2 param load`, cannot say which.

    Up to Humble rclpy does not ask first: such a list is refused there.
    """

    def typed(parameters: list[Parameter]) -> list[Parameter]:
        return [_typed(node, one) for one in parameters]

    if hasattr(node, "add_pre_set_parameters_callback"):
        node.add_pre_set_parameters_callback(typed)


def _typed(node: Node, given: Parameter) -> Parameter:
    is_list = hasattr(given.value, "__len__") and not isinstance(given.value, str)
    if not is_list or len(given.value) or not node.has_parameter(given.name):
        return given
    kind = Parameter.Type(node.describe_parameter(given.name).type)
    return Parameter(given.name, kind, []) if kind in _LISTS else given
