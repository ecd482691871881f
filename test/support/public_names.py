"""The names that users' scripts rely on, as this checkout has them: `python -m support.public_names` prints
them, with `test` in PYTHONPATH.

`public_names.json` is the list that was agreed on. A test compares the two, so that moving code cannot change a name.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from perf_inference.bringup.executables import NODES

AGREED = Path(__file__).with_name("public_names.json")

MANAGED = ("policy_node", "yolo_node", "caption_node", "recorder_node")
OF_RCLPY = ("parameter", "type_description", "start_type_description_service", "/rosout")  # differ from ROS to ROS


def flags(parser: argparse.ArgumentParser, command: str) -> Iterator[str]:
    """Yield `COMMAND --flag` for the flags and arguments of a parser and of those under it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                getattr(below, "fill", lambda: None)()
                yield from flags(below, f"{command} {name}")
        elif action.option_strings:
            yield f"{command} {'/'.join(action.option_strings)}"
        else:
            yield f"{command} {action.dest.upper()}"


def commands() -> list[str]:
    """Return every command with its flags."""
    from perf_inference.cli import COMMANDS

    found = []
    for name in COMMANDS:
        parser = argparse.ArgumentParser(add_help=False)
        importlib.import_module(f"perf_inference.commands.{name}").add_arguments(parser)
        found += [name, *flags(parser, name)]
    return sorted(found)


def keys_of(value: Any, prefix: str = "") -> Iterator[str]:
    """Yield the keys of a JSON value, `a.b` for one within another; `*` for names that are data."""
    if isinstance(value, dict):
        data = prefix in ("nodes.", "nodes.*.ledger.", "nodes.*.stages_ms.") or prefix.endswith("parameters.")
        for key, inner in value.items():
            name = prefix + ("*" if data else key)
            yield name
            yield from keys_of(inner, name + ".")


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the JSON objects of a file of lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def file_fields(run: Path) -> dict[str, list[str]]:
    """Return the fields of a run's files, by file."""
    timings = [record for file in run.glob("performance_timings_*.jsonl") for record in lines(file)]
    by_node: dict[str, set[str]] = {}
    for record in timings:
        by_node.setdefault(f"timings of {record['node']}", set()).update(record)
    topics = {key for file in run.glob("topics_*.jsonl") for record in lines(file) for key in record}
    summary = [json.loads(file.read_text()) for file in run.glob("performance_summary_*.json")]
    session = json.loads((run / "session.json").read_text())
    found = {**by_node, "topics": topics, "session": set(session), "summary": {k for s in summary for k in keys_of(s)}}
    return {name: sorted(fields) for name, fields in found.items()}


def of_node(ros: Any, name: str) -> dict[str, Any]:
    """Return the topics, services and parameters with their defaults of a running node."""
    from rcl_interfaces.srv import GetParameters, ListParameters
    from rclpy.parameter import parameter_value_to_python

    listed = ros.call(ListParameters, f"{name}/list_parameters", ListParameters.Request()).result.names
    defaults: dict[str, Any] = {}
    for key in sorted(set(listed) - set(OF_RCLPY)):  # one by one: one that has no value would leave the others out
        values = ros.call(GetParameters, f"{name}/get_parameters", GetParameters.Request(names=[key])).values
        plain = parameter_value_to_python(values[0]) if values else None
        if key == "engine_state":  # ends with figures of this machine
            plain = plain.partition(" {")[0]
        defaults[key] = list(plain) if hasattr(plain, "__len__") and not isinstance(plain, str) else plain
    return {**graph_of(ros, name), "parameters": defaults}


def graph_of(ros: Any, name: str) -> dict[str, Any]:
    """Return the topics and services of a running node."""
    graph = ros.node
    assert ros.spin_until(lambda: name in graph.get_node_names()), f"{name} was not discovered"

    def named(kind: str) -> list[str]:
        found = getattr(graph, f"get_{kind}_names_and_types_by_node")(name, "/")
        names = (f"{topic} {types[0]}" for topic, types in found)
        return sorted(text for text in names if not any(part in text for part in OF_RCLPY))

    return {
        "publishes": named("publisher"),
        "subscribes": named("subscriber"),
        "serves": named("service"),
    }


def nodes(ros: Any, start_node: Callable[..., Any], folder: Path) -> dict[str, Any]:
    """Return what each node has, started with its defaults; a recording and a source are named where one is needed."""
    needed = {
        "recorder_node": ("-p", f"output_dir:={folder}/runs", "-p", "session:=run"),
        "replay_node": ("-p", f"source:={folder}/images", "-p", "loop:=true"),
    }
    found = {}
    for name in NODES:
        node = start_node(name, *needed.get(name, ()))
        if name in MANAGED:
            ros.wait_until_active(name)
        found[name] = of_node(ros, name)
        if name == "policy_node":  # its gate is a node of its own, without parameters
            found["policy_node_gate"] = graph_of(ros, "policy_node_gate")
        node.stop()
    return json.loads(json.dumps(found).replace(str(folder), "FOLDER"))


if __name__ == "__main__":
    json.dump({"commands": commands()}, sys.stdout, indent=1)
